"""A scorer from outside: the letters that a label and the mention's surroundings share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backbones.core.samples import Progress, silent
from backbones.core.settings import Settings
from zeroshot import Request


class SharedLetters(Settings):
    """Scores a label by the share of its letters that stand near the mention; ``near`` is in characters."""

    near: int = 20

    def fingerprint(self) -> str:
        """Return what decides the scores."""
        return f"shared-letters {self.near}"

    def score(self, requests: Sequence[Request], progress: Progress = silent) -> NDArray[np.float64]:
        """Return one log-score for each request."""
        return np.array([self._one(each) for each in requests], dtype=np.float64)

    def _one(self, request: Request) -> float:
        start, end = request.span
        around = request.text[max(0, start - self.near) : end + self.near].casefold()
        letters = [letter for letter in request.label.casefold() if letter.isalpha()]
        return float(np.log1p(sum(letter in around for letter in letters)) - np.log1p(len(letters)))

    def notes(self) -> tuple[str, ...]:
        """Return nothing: there is nothing to say."""
        return ()
