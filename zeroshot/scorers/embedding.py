"""The offline default: similarity of a mention to names and descriptions of roles under a sentence encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from backbones.core.artifacts import digest_json
from backbones.core.samples import Progress, silent
from backbones.core.settings import Settings
from backbones.lm import load_language_model
from zeroshot.scorers.base import Request
from zeroshot.scorers.vectors import Vectors


class Embedding(Settings):
    """Scores labels by cosine similarity of sentence embeddings.

    Args:
        lm: a text encoder: ``minilm``, a folder or a hub name.
        device, precision: see backbones.lm.load_language_model.
        chunk: tokens of one forward pass; None for a good number.
        temperature: cosine similarity that is worth one nat.
    """

    lm: str = "minilm"
    device: str = "auto"
    precision: str = "fp32"
    chunk: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=0.05, gt=0)
    _vectors: Vectors | None = PrivateAttr(default=None)

    def fingerprint(self) -> str:
        return digest_json(
            {
                "scorer": "embedding",
                "version": 1,
                "model": self._encoder().model.fingerprint,
                "settings": self.model_dump(exclude={"lm", "device", "chunk"}),
            }
        )

    def score(self, requests: Sequence[Request], progress: Progress = silent) -> NDArray[np.float64]:
        """Return log-scores: float64, shape (len(requests),)."""
        if not requests:
            return np.zeros(0)
        vectors = self._encoder()
        spans = vectors.of([(request.text[slice(*request.span)], None) for request in requests], progress)
        names = vectors.of([(request.label, None) for request in requests], progress)
        said = vectors.of([(request.description or request.label, None) for request in requests], progress)
        closeness = np.sum(spans * (0.5 * names + 0.5 * said), axis=1, dtype=np.float64)
        return np.asarray(closeness / self.temperature)

    def notes(self) -> tuple[str, ...]:
        return ()

    def _encoder(self) -> Vectors:
        if self._vectors is None:
            model = load_language_model(self.lm, "encoder", device=self.device, precision=self.precision)
            self._vectors = Vectors(model, self.chunk)
        return self._vectors
