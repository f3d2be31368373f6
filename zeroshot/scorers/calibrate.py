"""Calibration: take out of a label's score what the label gets whatever the passage says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from backbones.core.artifacts import digest_json
from backbones.core.errors import FrostlineError, unknown
from backbones.core.samples import Progress, silent
from zeroshot.scorers.base import Request, Scorer

How = Literal["none", "pmi", "corpus"]

HOWS = {
    "none": "scores as they are",
    "pmi": "minus the label's score in the same prompt without passage, mention and trigger",
    "corpus": "minus the label's mean log-probability over a corpus (see fit)",
}
DOUBT = 4.0  # a mean over n cells is believed by n / (n + DOUBT): few cells tell of themselves, not of the label


class Calibrated:
    """Another scorer's scores, minus what each label gets for nothing.

    ``"pmi"`` follows the pointwise mutual information of Holtzman et al. 2021 (arXiv 2104.08315) and the content-free
    input of Zhao et al. 2021 (arXiv 2102.09690): the prompt keeps the event type and loses the words of the passage.
    ``"corpus"`` subtracts means over the cells that ``fit`` was given; no gold role is read. It says nothing of
    "no role at all", whose balance with the roles it keeps.

    Args:
        scorer: what answers.
        how: one of HOWS.
        strength: share of the correction, 0 (none of it) or more.

    Raises:
        FrostlineError: unknown ``how``, or a strength that is below 0 or no number.
    """

    def __init__(self, scorer: Scorer, how: str = "pmi", strength: float = 1.0) -> None:
        if how not in HOWS:
            raise unknown("calibration", how, HOWS)
        if not 0 <= strength < float("inf"):
            raise FrostlineError(f"calibration: strength {strength} must be 0 or more.")
        self.scorer = scorer
        self.how = how
        self.strength = strength
        self._means: dict[tuple[object, ...], float] | None = None

    @property
    def scores_none(self) -> bool:
        """Whether the scorer answers about "no role at all"."""
        return bool(getattr(self.scorer, "scores_none", False))

    def fingerprint(self) -> str:
        """Return a digest of the scorer, the correction and what it was fitted to."""
        means = None if self._means is None else sorted((repr(key), value) for key, value in self._means.items())
        return digest_json([self.scorer.fingerprint(), self.how, self.strength, means])

    def fit(self, requests: Sequence[Request], progress: Progress = silent) -> None:
        """Take each label's mean log-probability over the cells of ``requests``; for ``"corpus"`` alone.

        Args:
            requests: cells of a corpus, each with all of its labels; the order does not matter.
            progress: told by the scorer of requests answered.
        """
        if self.how != "corpus":
            raise FrostlineError(f"calibration {self.how!r} is not fitted; only 'corpus' is.")
        asked = [request for request in dict.fromkeys(requests) if request.label]
        answers = self.scorer.score(asked, progress) if asked else np.zeros(0)
        cells: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for number, request in enumerate(asked):
            cells[request.text, request.span, request.trigger, request.event, request.kind].append(number)
        found: dict[tuple[object, ...], list[float]] = defaultdict(list)
        for numbers in cells.values():
            # Against an even guess, so that 0 means "no more than its share" and roles stay balanced with NONE.
            shares = log_softmax(answers[numbers]) + np.log(len(numbers))
            for number, share in zip(numbers, shares - shares.mean(), strict=True):
                found[_identity(asked[number])].append(float(share))
        self._means = {key: sum(sorted(row)) / (len(row) + DOUBT) for key, row in found.items()}

    def score(self, requests: Sequence[Request], progress: Progress = silent) -> NDArray[np.float64]:
        """Return corrected log-scores: float64, shape (len(requests),).

        Raises:
            FrostlineError: a calibration on a corpus was not fitted, or not to a label that is asked for.
        """
        if self.how == "none" or not self.strength:
            return self.scorer.score(requests, progress)
        offsets = self._offsets(requests, progress)
        return np.asarray(self.scorer.score(requests, progress) - self.strength * offsets, dtype=np.float64)

    def notes(self) -> tuple[str, ...]:
        """Return the scorer's notes on the last call."""
        return self.scorer.notes()

    def _offsets(self, requests: Sequence[Request], progress: Progress) -> NDArray[np.float64]:
        if self.how == "pmi":
            return self.scorer.score([replace(each, text="", span=(0, 0), trigger=None) for each in requests], progress)
        if self._means is None:
            raise FrostlineError("calibration 'corpus' has no corpus yet: call fit(requests) first, or use 'pmi'.")
        means = self._means
        missing = next((each for each in requests if each.label and _identity(each) not in means), None)
        if missing is not None:
            raise FrostlineError(
                f"calibration 'corpus': the {missing.kind} {missing.label!r} of {missing.event!r} was not in the "
                f"corpus that it was fitted to ({len(means)} labels); fit it to such events too, or use 'pmi'."
            )
        return np.array([means[_identity(each)] if each.label else 0.0 for each in requests])


def fit_corpus(scorer: Scorer, requests: Sequence[Request], progress: Progress = silent) -> None:
    """Fit every calibration on a corpus that is in ``scorer``: itself, what it wraps, the members of an ensemble."""
    if isinstance(scorer, Calibrated) and scorer.how == "corpus":
        scorer.fit(requests, progress)
    for inner in (getattr(scorer, "scorer", None), *(member for member, _ in getattr(scorer, "members", ()))):
        if inner is not None:
            fit_corpus(inner, requests, progress)


def _identity(request: Request) -> tuple[object, ...]:
    """Return what makes two requests ask about one label of one event type."""
    return request.kind, request.event, request.label, request.description, request.hypothesis, request.language


__all__ = ["DOUBT", "HOWS", "Calibrated", "How", "fit_corpus"]
