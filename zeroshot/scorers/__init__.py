"""Scorers: what a frozen language model says of roles and entity types."""

from backbones.core.registry import Registry
from zeroshot.scorers.base import Request, Scorer

SCORERS = Registry(
    "scorer",
    "zeroshot.scorers",
    {
        "embedding": ("zeroshot.scorers.embedding:Embedding", "similarity of sentence embeddings (offline default)"),
        "masked": ("zeroshot.scorers.masked:Masked", "cloze prompt under a masked language model"),
        "causal": ("zeroshot.scorers.causal:Causal", "cloze prompt under a causal language model"),
    },
)

__all__ = ["SCORERS", "Request", "Scorer"]
