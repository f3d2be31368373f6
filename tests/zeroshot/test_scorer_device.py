"""Every batch of every scorer goes to the device of its model: another one, without data, stands in for a GPU."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from backbones.lm import LanguageModel, load_language_model
from zeroshot.scorers import Request, forward
from zeroshot.scorers.causal import Causal
from zeroshot.scorers.masked import Masked
from zeroshot.scorers.routes import ROUTES
from zeroshot.scorers.vectors import Vectors
from zeroshot.testing_models import CAUSAL, tiny_bert

TEXT = "Two soldiers fired at the police near the bridge."
ASKED = [
    Request(TEXT, span, (13, 18), "attack", label)
    for span in ((0, 12), (22, 32))
    for label in ("attacker", "job title")
]


def tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from (each for item in value.values() for each in tensors(item))
    elif hasattr(value, "layers"):  # a cache
        yield from (each for layer in value.layers for each in tensors(vars(layer)) if each.ndim)


class SeenError(Exception):
    """A pass whose inputs were looked at, and that need not run."""


def elsewhere(model: LanguageModel, *, run: bool = True) -> tuple[LanguageModel, list[int]]:
    """Return the model on the device ``meta``, and where its passes are counted."""
    if not hasattr(model.module, "set_attn_implementation"):
        pytest.skip("this transformers cannot change how a model attends")
    module, passes = copy.deepcopy(model.module).to("meta"), []
    module.set_attn_implementation("eager")  # the other one looks into masks

    def check(_: Any, args: Any, kwargs: dict[str, Any]) -> None:
        passes.append(1)
        assert all(each.device.type == "meta" for each in (*tensors(list(args)), *tensors(kwargs))), "left behind"
        if not run:  # encoders look into masks, which have no values here
            raise SeenError

    module.register_forward_pre_hook(check, with_kwargs=True)
    moved = replace(model, module=module)
    moved.__dict__["head_is_last"] = True  # what is computed has no values to compare
    return moved, passes


@pytest.fixture
def no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    def values(logits: torch.Tensor, wanted: list[Any], start: int) -> list[float]:
        assert logits.device.type == "meta"
        return [0.0] * len(wanted)

    monkeypatch.setattr(forward, "_values", values)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", ["gpt2", "neox"])
def test_causal(name: str, route: str, tmp_path: Path, no_values: None) -> None:
    model, passes = elsewhere(load_language_model(str(CAUSAL[name](tmp_path)), "causal", device="cpu"))
    scorer = Causal(route=route).with_model(model)
    scorer.score(ASKED)
    assert passes and scorer.notes() == ()


def test_masked(tmp_path: Path) -> None:
    model, passes = elsewhere(load_language_model(str(tiny_bert(tmp_path)), "masked", device="cpu"), run=False)
    with pytest.raises(SeenError):
        Masked(mode="label+suffix").with_model(model).score(ASKED)
    assert passes


def test_embedding(tmp_path: Path) -> None:
    model, passes = elsewhere(load_language_model(str(tiny_bert(tmp_path)), "encoder", device="cpu"), run=False)
    with pytest.raises(SeenError):
        Vectors(model).of([(TEXT, None), (TEXT, (0, 12))])
    assert passes
