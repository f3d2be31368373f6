"""Language models on disk decide roles end to end; decoding again with other constraints costs no forward pass."""

from pathlib import Path
from typing import Any

import pytest
import torch

from backbones.core.settings import Settings
from benchmarks.passages import Passage
from zeroshot.predict import Predictor, PredictSettings
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
