"""How roles are decided, as settings that are checked before anything heavy is imported."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from backbones.core.settings import Settings
from benchmarks.passages.types import Candidates


class PredictSettings(Settings):
    """How roles are decided.

    Args:
        candidates: overrides what the events say: ``arguments``, ``entities`` or ``auto``.
        finder: what finds mentions in raw text: ``auto``, ``rules`` or ``spacy``; spacy_model: name of its pipeline.
        extent: how much of a noun group is a mention: ``full``, ``bare`` (no determiners) or its ``head``.
        types: take entity types as ``given``, or ``infer`` them all.
        reach: sentences before and after the trigger's own in which candidates that are not given may lie, None for
            all. 0 by default: more than four arguments of five stand in the trigger's sentence even in a corpus made to
            look beyond it (RAMS, Ebner et al. 2020, arXiv 1911.03766).
        type_weight: factor on the scores of entity types against those of roles.
        none_bias: log-odds added to "no role", in nats.
        rules: settings of constraints by name.
        without: constraints that are switched off.
        best: number of assignments to give; margins: whether to prove what each role is worth.
        time_limit: seconds for one passage: scoring, decoding and explaining. None: scoring takes what it takes, and
            the others 10 seconds each at most.
    """

    candidates: Candidates | None = None
    finder: Literal["auto", "rules", "spacy"] = "auto"
    spacy_model: str | None = None
    extent: Literal["full", "bare", "head"] = "bare"
    types: Literal["given", "infer"] = "given"
    reach: int | None = Field(default=0, ge=0)
    type_weight: float = Field(default=1.0, ge=0)
    none_bias: float = 0.0
    rules: dict[str, dict[str, Any]] = Field(default_factory=dict)
    without: tuple[str, ...] = ()
    best: int = Field(default=1, ge=1, le=1000)
    margins: bool = True
    time_limit: float | None = Field(default=None, gt=0)
