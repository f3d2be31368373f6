"""Ensembles: the laws of a logarithmic opinion pool."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import log_softmax

from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.core.seed import numpy_generator
from zeroshot.scorers import Request
from zeroshot.scorers.ensemble import Ensemble
from zeroshot.testing import check_scorer

LABELS = ("attacker", "target", "place", "")
CELLS = [Request("a b c", (n, n + 1), (2, 3), "attack", label) for n in (0, 4) for label in LABELS]


class Fixed:
    """Draws a number for each request, on its own scale of constants."""

    def __init__(self, seed: int, constant: float = 0.0, none: bool = True) -> None:
        self.seed, self.constant, self.scores_none = seed, constant, none

    def fingerprint(self) -> str:
        return f"fixed {self.seed} {self.constant}"

    def score(self, requests: Sequence[Request], progress: Progress = silent) -> NDArray[np.float64]:
        drawn = [numpy_generator(self.seed, request).normal(scale=3) for request in requests]
        return np.array(
            [number + self.constant * request.span[0] for number, request in zip(drawn, requests, strict=True)]
        )

    def notes(self) -> tuple[str, ...]:
        return ("shared", f"note {self.seed}")


class Forbidden(Fixed):
    def score(self, requests: Sequence[Request], progress: Progress = silent) -> NDArray[np.float64]:
        raise AssertionError("a member of weight 0 was asked")


def cellwise(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(log_softmax(scores.reshape(-1, len(LABELS)), axis=1))


weights = st.floats(0.01, 100)


@given(st.lists(weights, min_size=1, max_size=4))
def test_equal_members_are_one_of_them(given_weights: list[float]) -> None:
    pool = Ensemble([(Fixed(1), weight) for weight in given_weights])
    np.testing.assert_allclose(pool.score(CELLS), Fixed(1).score(CELLS), atol=1e-9)
    assert pool.fingerprint() == Ensemble([(Fixed(1), 1.0)]).fingerprint()


@given(weights, weights, weights)
def test_order_does_not_matter(a: float, b: float, c: float) -> None:
    members = [(Fixed(1), a), (Fixed(2), b), (Fixed(3), c)]
    one, two = Ensemble(members), Ensemble(members[::-1])
    np.testing.assert_allclose(one.score(CELLS), two.score(CELLS), rtol=1e-12)
    assert one.fingerprint() == two.fingerprint()


@given(weights, weights, st.floats(-50, 50))
def test_it_is_the_pool_of_normalised_scores(a: float, b: float, constant: float) -> None:
    first, second = Fixed(1), Fixed(2, constant)
    found = cellwise(Ensemble([(first, a), (second, b)]).score(CELLS))
    pooled = (a * cellwise(first.score(CELLS)) + b * cellwise(second.score(CELLS))) / (a + b)
    np.testing.assert_allclose(found, log_softmax(pooled, axis=1), atol=1e-8)


def test_weight_nought_is_absence() -> None:
    pool = Ensemble([(Fixed(1), 2.0), (Forbidden(2, none=False), 0.0)])
    np.testing.assert_array_equal(pool.score(CELLS), Fixed(1).score(CELLS))
    assert pool.scores_none and pool.notes() == ("shared", "note 1")


def test_no_role_is_asked_of_all_or_of_none() -> None:
    assert not Ensemble([(Fixed(1), 1.0), (Fixed(2, none=False), 1.0)]).scores_none


def test_notes_are_not_repeated_and_weights_count() -> None:
    pool = Ensemble([(Fixed(1), 1.0), (Fixed(2), 3.0)])
    assert pool.notes() == ("shared", "note 1", "note 2")
    assert pool.fingerprint() != Ensemble([(Fixed(1), 3.0), (Fixed(2), 1.0)]).fingerprint()


def test_contract() -> None:
    check_scorer(Ensemble([(Fixed(1), 1.0), (Fixed(2), 0.5)]))


@pytest.mark.parametrize(
    ("given_weights", "words"),
    [
        ((-1.0, 2.0), "weight -1.0 of Fixed"),
        ((float("nan"), 1.0), "weight nan"),
        ((0.0, 0.0), "no member has a weight"),
    ],
)
def test_errors_name_the_weight(given_weights: tuple[float, float], words: str) -> None:
    with pytest.raises(FrostlineError, match=words):
        Ensemble([(Fixed(number), weight) for number, weight in enumerate(given_weights)])


def test_an_empty_ensemble_is_an_error() -> None:
    with pytest.raises(FrostlineError, match="no member"):
        Ensemble([])
