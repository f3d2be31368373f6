"""Language models on disk decide roles end to end; decoding again with other constraints costs no forward pass."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.core.settings import Settings
from benchmarks.passages import Passage
from zeroshot.predict import Predictor, PredictSettings
from zeroshot.scorers import Request
from zeroshot.scorers.cache import Cached
from zeroshot.scorers.causal import Causal
from zeroshot.scorers.masked import Masked
from zeroshot.testing_models import CAUSAL, MASKED

TEXT = "Gunmen fired at {two} officers near the bridge on Monday."
PLACES = {"A": "Gunmen", "B": "{two} officers", "C": "the bridge", "D": "Monday"}


@pytest.fixture
def passage() -> Passage:
    torch.set_num_threads(1)
    spans = {name: (TEXT.index(words), TEXT.index(words) + len(words)) for name, words in PLACES.items()}
    entities = [{"id": name, "start": start, "end": end} for name, (start, end) in spans.items()]
    fired = TEXT.index("fired")
    event = {
        "id": "E1",
        "type": "Conflict:Attack",
        "trigger": {"start": fired, "end": fired + 5},
        "arguments": [{"entity": name} for name in PLACES],
    }
    return Passage.model_validate({"doc_id": "d1", "text": TEXT, "entities": entities, "events": [event]})


def count_passes(model: Any) -> list[int]:
    passes: list[int] = []
    model.module.register_forward_hook(lambda *_: passes.append(1))
    return passes


@pytest.mark.parametrize("kind", [Masked, Causal])
def test_any_model_on_disk(kind: Any, passage: Passage, tmp_path: Path) -> None:
    for name, make in (MASKED if kind is Masked else CAUSAL).items():
        scorer = kind(lm=str(make(tmp_path / name)))
        assert isinstance(scorer, Settings)
        result = Predictor(scorer, "ace").predict(passage)
        roles = {argument.role for argument in result.events[0].arguments}
        assert len(result.events[0].arguments) == len(PLACES) and None not in roles


def test_decoding_again_costs_no_pass(passage: Passage, tmp_path: Path) -> None:
    scorer = Masked(lm=str(MASKED["bert"](tmp_path / "bert")))
    passes = count_passes(scorer.model)
    cached = Cached(scorer, tmp_path / "scores.sqlite")
    first = Predictor(cached, "ace").predict(passage)
    asked = len(passes)
    assert asked
    for without in (("types",), ("types", "multiplicity"), ()):
        again = Predictor(cached, "ace", PredictSettings(without=without)).predict(passage)
    assert len(passes) == asked
    assert again.events == first.events
    later = Predictor(Cached(scorer, tmp_path / "scores.sqlite"), "ace").predict(passage)
    assert len(passes) == asked and later.events == first.events


def test_the_encoder_of_minilm_with_a_random_head_runs_and_says_what_it_is_worth(passage: Passage) -> None:
    scorer = Masked(lm="minilm", allow_missing_head=True, device="cpu")
    result = Predictor(scorer, "ace").predict(passage)
    assert len(result.events[0].arguments) == len(PLACES)
    assert any("scores mean nothing" in note for note in result.notes)


class Slow:
    """A scorer that takes its time, and tells of its progress."""

    def fingerprint(self) -> str:
        return "slow"

    def notes(self) -> tuple[str, ...]:
        return ()

    def score(self, requests: Sequence[Request], progress: Progress = silent) -> NDArray[np.float64]:
        for done in range(len(requests)):
            time.sleep(0.01)
            progress("scoring", done + 1, len(requests))
        return np.array([float(len(request.label)) for request in requests])


def test_a_time_limit_bounds_the_whole_passage() -> None:
    names = [f"unit {number}" for number in range(100, 250)]
    text = ", ".join(names) + " attacked the port."
    starts = [text.index(name) for name in names]
    attack = text.index("attacked")
    document = {
        "doc_id": "many",
        "text": text,
        "entities": [
            {"id": f"T{at}", "start": start, "end": start + 8, "type": "PER"} for at, start in enumerate(starts)
        ],
        "events": [
            {
                "id": "E1",
                "type": "Conflict:Attack",
                "trigger": {"start": attack, "end": attack + 8},
                "arguments": [{"entity": f"T{at}"} for at in range(len(starts))],
            }
        ],
    }
    predictor = Predictor(Slow(), "ace", PredictSettings(time_limit=1.0))
    passage = Passage.model_validate(document)
    prepared = predictor.prepare(passage)
    assert 0.9 < prepared.seconds < 4.0
    began = time.monotonic()
    result = predictor.finish(prepared)
    assert time.monotonic() - began < 4.0, "no time is left: what is at hand is taken"
    assert len(result.events[0].arguments) == len(names)
    assert any("time ran out while scoring" in note and "--time-limit" in note for note in result.notes)
    with pytest.raises(FrostlineError, match="time_limit"):
        PredictSettings.parse({"time_limit": 0}, "the prediction")
