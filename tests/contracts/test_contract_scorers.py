"""Every registered scorer keeps the public contract; language-model scorers do so on miniatures of several kinds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from zeroshot.scorers import SCORERS, Request
from zeroshot.scorers.cache import Cached
from zeroshot.testing_models import CAUSAL, MASKED
from zeroshot.testing_scorer import check_scorer

MINIATURES: dict[str, dict[str, Callable[..., Path]]] = {"masked": MASKED, "causal": CAUSAL}
CASES = [
    (name, miniature, mode)
    for name in SCORERS.names()
    for miniature in MINIATURES.get(name, [""])
    for mode in (("paper", "label", "label+suffix") if name in MINIATURES else ("",))
]


@pytest.mark.parametrize(("name", "miniature", "mode"), CASES)
def test_scorer_keeps_the_contract(name: str, miniature: str, mode: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    settings = {"mode": mode, "lm": str(MINIATURES[name][miniature](tmp_path))} if miniature else {}
    check_scorer(SCORERS.load(name).parse(settings, f"scorer {name!r}"))


@pytest.mark.parametrize("name", SCORERS.names())
def test_unknown_settings_are_refused_with_the_nearest(name: str) -> None:
    with pytest.raises(FrostlineError, match=f"scorer '{name}'.*'devise'.*'device'"):
        SCORERS.load(name).parse({"devise": "cpu"}, f"scorer {name!r}")


class Broken:
    """A scorer that breaks one rule."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.calls = 0

    def fingerprint(self) -> str:
        return str(self.calls) if self.fault == "fingerprint" else "x"

    def notes(self) -> tuple[str, ...]:
        return ("a", "a") if self.fault == "notes" else ()

    def score(self, requests: list[Request], progress: Progress = silent) -> np.ndarray:
        self.calls += 1
        scores = np.array([float(len(request.label)) for request in requests])
        if self.fault == "batch":
            scores += len(requests)
        if self.fault == "again":
            scores += self.calls
        if self.fault == "order":
            scores += np.arange(len(requests))
        if self.fault == "infinite" and len(scores):
            scores[0] = np.inf
        if self.fault == "generator":
            torch.rand(1)
        if self.fault == "progress":
            progress("x", 1, 2)
        return scores.astype(np.float32) if self.fault == "dtype" else scores


WORDS = {
    "fingerprint": "fingerprint changes", "notes": "repeated", "batch": "alone", "again": "same call", "order": "alone",
    "infinite": "finite", "generator": "generator", "progress": "progress", "dtype": "float64",
}  # fmt: skip


def test_the_check_passes_a_sound_scorer_and_its_cache(tmp_path: Path) -> None:
    check_scorer(Broken(""))
    check_scorer(Cached(Broken(""), tmp_path / "scores.sqlite"))


@pytest.mark.parametrize("fault", sorted(WORDS))
def test_the_check_finds_each_fault(fault: str) -> None:
    with pytest.raises(AssertionError, match=WORDS[fault]):
        check_scorer(Broken(fault))
