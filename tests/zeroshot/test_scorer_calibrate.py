"""Calibration: laws of the corrections, with scorers whose bias is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from zeroshot.scorers import Request
from zeroshot.scorers.calibrate import DOUBT, Calibrated, fit_corpus
from zeroshot.scorers.ensemble import Ensemble
from zeroshot.testing import check_scorer

TEXT = "Gunmen attacked a bus in Egypt"
SPANS = ((0, 6), (16, 21), (25, 30))
LABELS = ("attacker", "target", "place")


class Biased:
    """Knows the answer and likes some labels whatever is asked."""

    scores_none = True

    def __init__(self, bias: dict[str, float], signal: float = 1.0) -> None:
        self.bias, self.signal, self.asked = bias, signal, 0

    def fingerprint(self) -> str:
        return f"biased {sorted(self.bias.items())} {self.signal}"

    def score(self, requests: Sequence[Request], progress: Progress = silent) -> NDArray[np.float64]:
        self.asked += len(requests)
        right = dict(zip(SPANS, LABELS, strict=True))
        return np.array(
            [
                self.bias.get(r.label, 0.0) + self.signal * (bool(r.text) and right.get(r.span) == r.label)
                for r in requests
            ],
            dtype=np.float64,
        )

    def notes(self) -> tuple[str, ...]:
        return ("a note",)


def cells(labels: Sequence[str] = LABELS, event: str = "attack") -> list[Request]:
    return [Request(TEXT, span, (7, 15), event, label) for span in SPANS for label in labels]


def best(scores: NDArray[np.float64]) -> list[str]:
    return [LABELS[index] for index in scores.reshape(len(SPANS), -1).argmax(axis=1)]


def test_pmi_takes_a_label_s_bias_out() -> None:
    scorer = Biased({"attacker": 5.0})
    assert best(scorer.score(cells())) == ["attacker"] * 3
    assert best(Calibrated(scorer, "pmi").score(cells())) == list(LABELS)


def test_pmi_is_the_score_minus_that_of_the_empty_passage() -> None:
    scorer, request = Biased({"target": 2.0}), cells()[4]
    empty = Request("", (0, 0), None, "attack", "target")
    for strength in (0.0, 0.5, 1.0):
        found = Calibrated(scorer, "pmi", strength).score([request])
        assert found == pytest.approx(scorer.score([request]) - strength * scorer.score([empty]))


def test_corpus_takes_a_label_s_bias_out_and_no_more_in_large_corpora() -> None:
    scorer = Biased({"attacker": 1.5})
    calibrated = Calibrated(scorer, "corpus")
    many = [Request(f"{n} {TEXT}", r.span, r.trigger, r.event, r.label) for n in range(300) for r in cells()]
    calibrated.fit(many)
    assert best(scorer.score(cells())) != list(LABELS)
    assert best(calibrated.score(cells())) == list(LABELS)
    raw, corrected = scorer.score(cells()), calibrated.score(cells())
    np.testing.assert_allclose((raw - corrected)[:3], [1.0, -0.5, -0.5], atol=0.02)


def test_few_cells_are_believed_in_part() -> None:
    scorer = Biased({"attacker": 3.0}, signal=0.0)
    calibrated = Calibrated(scorer, "corpus")
    calibrated.fit(cells())
    offsets = scorer.score(cells()) - calibrated.score(cells())
    np.testing.assert_allclose(offsets[:3], np.array([2.0, -1.0, -1.0]) * 3 / (3 + DOUBT))


def test_fitting_knows_no_order_no_repetition_and_no_constants() -> None:
    request = cells()
    one, two, three = (Calibrated(Biased({"attacker": 1.0}), "corpus") for _ in range(3))
    one.fit(request)
    two.fit([*request[::-1], *request[:2]])
    three.scorer = Biased({label: (label == "attacker") + 7.0 for label in LABELS})
    three.fit(request)
    np.testing.assert_array_equal(one.score(request), two.score(request))
    np.testing.assert_allclose(three.score(request) - 7.0, one.score(request), atol=1e-12)
    assert one.fingerprint() == two.fingerprint()


def test_corpus_leaves_no_role_alone() -> None:
    calibrated = Calibrated(Biased({"": 4.0, "attacker": 1.0}), "corpus")
    calibrated.fit(cells([*LABELS, ""]))
    assert calibrated.score([cells([""])[0]]) == pytest.approx([4.0])


def test_none_is_the_scorer_itself() -> None:
    scorer = Biased({"place": 1.0})
    np.testing.assert_array_equal(Calibrated(scorer, "none").score(cells()), scorer.score(cells()))
    assert Calibrated(scorer, "none").notes() == ("a note",) and Calibrated(scorer).scores_none


def test_contract_and_fingerprints() -> None:
    check_scorer(Calibrated(Biased({"attacker": 1.0}), "pmi"))
    fitted = Calibrated(Biased({"attacker": 1.0}), "corpus")
    before = fitted.fingerprint()
    fitted.fit(cells())
    check_scorer(fitted, cells())
    digests = {before, fitted.fingerprint(), Calibrated(Biased({"attacker": 1.0}), "pmi").fingerprint()}
    assert len(digests) == 3


def test_a_corpus_is_fitted_wherever_it_stands() -> None:
    inner = Calibrated(Biased({"attacker": 1.0}), "corpus")
    fit_corpus(Ensemble([(inner, 1.0), (Biased({}), 1.0)]), cells())
    assert np.isfinite(inner.score(cells())).all()


def test_errors_say_what_to_do() -> None:
    scorer = Biased({})
    with pytest.raises(FrostlineError, match="call fit"):
        Calibrated(scorer, "corpus").score(cells())
    with pytest.raises(FrostlineError, match="only 'corpus'"):
        Calibrated(scorer, "pmi").fit(cells())
    with pytest.raises(FrostlineError, match="Did you mean 'corpus'"):
        Calibrated(scorer, "corpsu")
    with pytest.raises(FrostlineError, match="strength -1"):
        Calibrated(scorer, "pmi", -1)
    fitted = Calibrated(scorer, "corpus")
    fitted.fit(cells())
    with pytest.raises(FrostlineError, match="role 'attacker' of 'meeting' was not in the corpus"):
        fitted.score(cells(event="meeting"))
