"""A delta that cannot be built leaves nothing behind, and one that is built goes where its backbone goes."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from backbones import Backbone, Delta, FrostlineError, Settings, check_pat
from backbones.pat import PATS
from backbones.pat.attention import check_reachable
from backbones.pat.stack import Stack, make_pat
from backbones.testing import raw_batch, tiny_bert, tiny_vit

MODELS = {"vit": tiny_vit, "bert": tiny_bert}


def traces(backbone: Backbone) -> int:
    """Hooks, wraps, rules and inserted tokens that are on a backbone."""
    modules = list(backbone.module.modules())
    hooks = sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)
    wraps = sum("forward" in vars(module) for module in modules)
    rules = sum(type(module).__name__ == "_Chain" for module in modules)
    return hooks + wraps + rules + len(backbone._inserted) + len(backbone.deltas)


class Broken(Settings):
    """Shifts every block, and fails at the last."""

    starts_as_identity: ClassVar[bool] = True
    mergeable: ClassVar[bool] = False
    touches: ClassVar[str] = "what leaves a block"

    late: bool = False

    def grow(self, backbone: Backbone, seed: int) -> Delta:
        if not self.late:
            return BrokenDelta(backbone, self)
        delta = Delta(backbone, self)
        delta.offset = nn.Parameter(torch.zeros(backbone.width))
        for layer in range(backbone.depth):
            delta.after(backbone.sites("block", layer)[0], lambda tokens: tokens + delta.offset)
        return delta

    def parameter_count(self, backbone: Backbone) -> int:
        return backbone.width


class BrokenDelta(Delta):
    failure: ClassVar[type[BaseException]] = RuntimeError

    def __init__(self, backbone: Backbone, settings: Settings) -> None:
        super().__init__(backbone, settings)
        for layer in range(backbone.depth):
            self.before(backbone.sites("block", layer)[0], lambda tokens: tokens)
            self.around(backbone.sites("attn", layer)[0], lambda call, *args, **named: call(*args, **named))
            self.after(backbone.sites("fc2", layer)[0], lambda tokens: tokens)
        raise self.failure("the last block")


@pytest.mark.parametrize("failure", [RuntimeError, FrostlineError, KeyboardInterrupt])
@pytest.mark.parametrize("make", MODELS.values(), ids=list(MODELS))
def test_a_constructor_that_fails_leaves_nothing(make: Any, failure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BrokenDelta, "failure", failure)
    backbone = make()
    with pytest.raises(failure, match="the last block"):
        Broken().grow(backbone, 0)
    assert traces(backbone) == 0


@pytest.mark.parametrize("first", ["adapter", "lora", "layernorm", "vpt", "prefix", "ssf"])
def test_a_stack_that_fails_in_its_second_member_leaves_nothing(first: str) -> None:
    backbone = tiny_vit()
    with pytest.raises(RuntimeError, match="the last block"):
        Stack(parts={first: make_pat(first, {}), "broken": Broken()}).grow(backbone, 0)
    assert traces(backbone) == 0


def test_a_look_at_attention_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_vit()

    def fails(_: Any) -> Tensor:
        raise MemoryError

    monkeypatch.setattr(backbone, "features", fails)
    with pytest.raises(MemoryError):
        check_reachable("prefix", backbone, backbone.sites("attn"), backbone.width)
    assert traces(backbone) == 0


def test_the_contract_finds_what_is_left_behind() -> None:
    """A guest that uses the verbs outside of a constructor has nobody who undoes them."""
    backbone = tiny_vit()
    with pytest.raises(AssertionError, match="growing that fails leaves changes on the backbone"):
        check_pat(Broken(late=True), backbone, raw_batch(backbone))


@pytest.mark.parametrize("name", [*PATS.names(), "lora+layernorm", "vpt+adapter"])
@pytest.mark.parametrize("make", MODELS.values(), ids=list(MODELS))
def test_a_delta_goes_where_its_backbone_goes(make: Any, name: str) -> None:
    backbone = make()
    try:
        delta = make_pat(name, {}).grow(backbone, 0).eval()
    except FrostlineError:
        pytest.skip("does not fit")
    assert backbone.to("meta") is backbone
    assert {tensor.device.type for tensor in [*delta.parameters(), *delta.buffers()]} <= {"meta"}
    if name in ("adapter", "prefix", "vpt", "vpt+adapter"):  # nothing in them depends on the data
        batch = backbone.preprocessing(raw_batch(backbone)).to("meta")
        assert backbone.features(batch).device.type == "meta"
    delta.detach()
    assert traces(backbone) == 0


def test_a_delta_that_was_taken_off_stays_where_it_is() -> None:
    backbone = tiny_vit()
    delta = make_pat("lora", {}).grow(backbone, 0)
    delta.detach()
    backbone.to("meta")
    assert {parameter.device.type for parameter in delta.parameters()} == {"cpu"}
