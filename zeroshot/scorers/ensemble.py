"""Ensembles: several scorers as one, by a weighted sum of their log-scores (a logarithmic opinion pool)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backbones.core.artifacts import digest_json
from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from zeroshot.scorers.base import Request, Scorer


class Ensemble:
    """A logarithmic opinion pool (Genest and Zidek 1986): the product of the members' powers of probabilities.

    Members need not be on one scale of constants: what a member adds to all labels of a cell changes nothing, so the
    weighted sum of raw log-scores ranks and spreads labels exactly as that of log-probabilities. Weights are divided by
    their sum: an ensemble of equal members equals one of them. A member of weight 0 is never asked.

    Args:
        members: (scorer, weight) pairs, at least one of weight above 0; their order does not matter.
    """

    def __init__(self, members: Sequence[tuple[Scorer, float]]) -> None:
        for scorer, weight in members:
            if not (math.isfinite(weight) and weight >= 0):
                raise FrostlineError(
                    f"ensemble: the weight {weight} of {type(scorer).__name__} must be a number of 0 or more."
                )
        total = sum(weight for _, weight in members)
        if total <= 0:
            raise FrostlineError("ensemble: no member has a weight above 0; give one a weight, such as embedding*1.")
        self.members = tuple((scorer, weight / total) for scorer, weight in members if weight > 0)

    @property
    def scores_none(self) -> bool:
        """Whether every member answers about "no role at all"; else ``zeroshot.scoring.score`` asks those that do."""
        return all(bool(getattr(scorer, "scores_none", False)) for scorer, _ in self.members)

    def fingerprint(self) -> str:
        """Return a digest of the members' digests and weights; equal members count as one of their joint weight."""
        weights: dict[str, float] = {}
        for scorer, weight in self.members:
            name = scorer.fingerprint()
            weights[name] = weights.get(name, 0.0) + weight
        return digest_json({"ensemble": sorted((name, round(weight, 12)) for name, weight in weights.items())})

    def score(self, requests: Sequence[Request], progress: Progress = silent) -> NDArray[np.float64]:
        """Return log-scores: float64, shape (len(requests),)."""
        parts = [weight * np.asarray(scorer.score(requests, progress)) for scorer, weight in self.members]
        # Added from the least to the greatest, so that not even rounding knows the order of members.
        return np.asarray(np.sort(np.stack(parts), axis=0).sum(axis=0), dtype=np.float64)

    def notes(self) -> tuple[str, ...]:
        """Return the notes of all members, without repetition."""
        return tuple(dict.fromkeys(note for scorer, _ in self.members for note in scorer.notes()))
