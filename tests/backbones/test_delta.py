"""Deltas: four verbs, each undone exactly, on a timm and on a transformers ViT."""

import gc

import pytest
import torch
from torch import nn

from backbones.core.artifacts import digest_tensors
from backbones.core.errors import FrostlineError
from backbones.core.settings import Settings
from backbones.delta import Delta
from backbones.pat.vpt import Vpt
from backbones.testing import image_batch, tiny_transformers_vit, tiny_vit

KINDS = {"timm": tiny_vit, "transformers": tiny_transformers_vit}


class Nothing(Settings):
    """No settings."""


class Other(Settings):
    """No settings either."""

    size: int = 1


class Scaled(nn.Module):
    """A rule: the frozen tensor times a learnt factor for each row."""

    def __init__(self, rows):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(rows))

    def forward(self, weight):
        return weight * self.factor.view(-1, *[1] * (weight.ndim - 1))


class Composite(Delta):
    """All four verbs on one block."""

    def __init__(self, backbone, layer=1):
        super().__init__(backbone, Nothing())
        width = backbone.width
        block = backbone.sites("block", layer)[0]
        qkv = backbone.sites("qkv", layer)[0]
        self.shift = nn.Parameter(torch.full((width,), 0.1))
        self.scale = nn.Parameter(torch.full((width,), 1.5))
        self.rule = Scaled(len(backbone.module.get_submodule(qkv.path).weight))
        self.beside = nn.ModuleList()
        self.before(block, lambda tokens: tokens + self.shift)
        self.after(block, lambda tokens: tokens * self.scale)
        self.reparam(qkv, "weight", self.rule)
        self.swap(backbone.sites("fc1", layer)[0], self._beside)
        self.before(block, lambda tokens: tokens * 2)

    def _beside(self, old):
        new = nn.Sequential(old, nn.Softsign())
        self.beside.append(new[1])
        return new


@pytest.fixture(params=KINDS)
def backbone(request):
    return KINDS[request.param]()


def outputs(backbone):
    with torch.no_grad():
        return backbone.features(backbone.preprocessing(image_batch(backbone)))


def hooks(module):
    held = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs")
    return sum(len(getattr(each, name)) for each in module.modules() for name in held)


def snapshot(backbone):
    """All that may not change: modules, classes, order and identity of parameters, hooks, weights."""
    module = backbone.module
    return (
        [(name, type(each), id(each)) for name, each in module.named_modules()],
        [(name, id(p), p.requires_grad) for name, p in module.named_parameters()],
        list(module.state_dict()),
        hooks(module),
        repr(module),
        digest_tensors(module.state_dict()),
        backbone.fingerprint(),
    )


VERBS = {
    "before": lambda delta, b: delta.before(b.sites("block", 1)[0], lambda tokens: tokens + 1),
    "after": lambda delta, b: delta.after(b.sites("attn", 1)[0], lambda tokens: tokens * 3),
    "reparam weight": lambda delta, b: delta.reparam(b.sites("fc2", 1)[0], "weight", Doubled()),
    "reparam bias": lambda delta, b: delta.reparam(b.sites("norm", 1)[0], "bias", Doubled()),
    "swap": lambda delta, b: delta.swap(b.sites("fc1", 1)[0], lambda old: nn.Sequential(old, nn.Tanh())),
}


class Doubled(nn.Module):
    replaces = False

    def forward(self, weight):
        return 2 * weight


class Zero(nn.Module):
    replaces = True

    def forward(self, weight):
        return torch.zeros_like(weight)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_acts_and_is_undone_exactly(backbone, verb):
    before, base = snapshot(backbone), outputs(backbone)
    delta = Delta(backbone, Nothing())
    assert not delta.attached and delta.first_layer == backbone.depth and delta.fingerprint() == ""
    VERBS[verb](delta, backbone)
    assert delta.attached and delta.first_layer == 1 and delta.fingerprint() != ""
    assert not torch.equal(outputs(backbone), base)
    delta.detach()
    assert snapshot(backbone) == before
    assert torch.equal(outputs(backbone), base)
    assert not delta.attached and delta.fingerprint() == ""
    delta.detach()
    assert torch.equal(outputs(backbone), base)


def test_all_four_verbs_on_one_block_are_undone_exactly(backbone):
    before, base = snapshot(backbone), outputs(backbone)
    delta = Composite(backbone)
    moved = outputs(backbone)
    assert not torch.allclose(moved, base, atol=1e-3)
    delta.detach()
    assert snapshot(backbone) == before
    assert torch.equal(outputs(backbone), base)
    again = Composite(backbone)
    assert torch.equal(outputs(backbone), moved)
    again.detach()
    assert snapshot(backbone) == before


def test_changes_are_undone_last_first():
    backbone, seen = tiny_vit(), []
    delta = Delta(backbone, Nothing())
    site = backbone.sites("fc1", 0)[0]
    first = backbone.module.get_submodule(site.path)
    delta.swap(site, lambda old: nn.Sequential(old))
    second = backbone.module.get_submodule(site.path)
    delta.swap(site, lambda old: nn.Sequential(old))
    delta._undo.append(lambda: seen.append(backbone.module.get_submodule(site.path)))
    delta._undo.insert(1, lambda: seen.append(backbone.module.get_submodule(site.path)))
    delta.detach()
    assert seen[0] is not second and seen[1] is second
    assert backbone.module.get_submodule(site.path) is first


def test_two_deltas_on_one_block_leave_in_any_order(backbone):
    base = outputs(backbone)
    one, two = Delta(backbone, Nothing()), Delta(backbone, Nothing())
    site = backbone.sites("block", 1)[0]
    one.before(site, lambda tokens: tokens + 1)
    alone = outputs(backbone)
    two.after(site, lambda tokens: tokens * 2)
    both = outputs(backbone)
    one.detach()
    assert not torch.equal(outputs(backbone), both)
    two.detach()
    assert torch.equal(outputs(backbone), base)
    one.before(site, lambda tokens: tokens + 1)
    assert torch.equal(outputs(backbone), alone)
    one.detach()


def test_rewritings_run_in_the_order_they_came_unless_first(backbone):
    seen = []

    def note(word):
        return lambda tokens: seen.append(word) or tokens

    delta = Delta(backbone, Nothing())
    site = backbone.sites("block", 1)[0]
    delta.before(site, note("a"))
    delta.before(site, note("b"))
    delta.before(site, note("first"), first=True)
    delta.after(site, note("after"))
    base = outputs(backbone)
    assert seen == ["first", "a", "b", "after"]
    delta.detach()
    assert torch.equal(outputs(backbone), base)


def test_rewritings_see_tokens_whether_passed_by_place_or_by_name():
    class Inner(nn.Module):
        def forward(self, mask, tokens=None):
            return (tokens * 1.0, "more")

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, tokens):
            return self.inner(mask=None, tokens=tokens)

    backbone = tiny_vit()
    backbone.module = Whole()
    delta = Delta(backbone, Nothing())
    site = backbone.sites("norm")[0].__class__("block", 0, "inner")
    delta.before(site, lambda tokens: tokens + 1)
    delta.after(site, lambda tokens: tokens * 10)
    out = backbone.module(torch.ones(1, 2, 3))
    assert torch.equal(out[0], torch.full((1, 2, 3), 20.0)) and out[1] == "more"
    delta.detach()
    assert torch.equal(backbone.module(torch.ones(1, 2, 3))[0], torch.ones(1, 2, 3))


def test_rules_on_one_tensor_compose_and_come_off_in_any_order(backbone):
    base = outputs(backbone)
    one, two = Delta(backbone, Nothing()), Delta(backbone, Nothing())
    site = backbone.sites("fc1", 1)[0]
    frozen = backbone.module.get_submodule(site.path).weight.clone()
    one.reparam(site, "weight", Doubled())
    once = outputs(backbone)
    two.reparam(site, "weight", Doubled())
    assert torch.equal(backbone.module.get_submodule(site.path).weight, 4 * frozen)
    one.detach()
    assert torch.equal(outputs(backbone), once)
    two.detach()
    assert torch.equal(outputs(backbone), base)


@pytest.mark.parametrize("first, second", [(Zero, Doubled), (Doubled, Zero), (Zero, Zero)])
def test_a_rule_that_replaces_a_tensor_shares_it_with_none(backbone, first, second):
    base = outputs(backbone)
    one, two = Delta(backbone, Nothing()), Delta(backbone, Nothing())
    site = backbone.sites("fc1", 1)[0]
    one.reparam(site, "weight", first())
    ruled = outputs(backbone)
    two.reparam(backbone.sites("fc1", 0)[0], "weight", Doubled())
    with pytest.raises(FrostlineError) as caught:
        two.reparam(site, "weight", second())
    assert f"two rules on the tensor {site.path}.weight" in str(caught.value) and "overlap" in str(caught.value)
    assert torch.equal(outputs(backbone), ruled), "what was refused must be off whole"
    one.detach()
    assert torch.equal(outputs(backbone), base)


def test_wraps_nest_and_come_off_in_any_order(backbone):
    base = outputs(backbone)
    one, two = Delta(backbone, Nothing()), Delta(backbone, Nothing())
    site = backbone.sites("fc1", 1)[0]
    one.around(site, lambda call, x: 2 * call(x))
    once = outputs(backbone)
    two.around(site, lambda call, x: call(x) + 1)
    both = backbone.module.get_submodule(site.path)
    x = torch.ones(1, both.in_features)
    assert torch.equal(both(x), 2 * nn.functional.linear(x, both.weight, both.bias) + 1)
    two.detach()
    assert torch.equal(outputs(backbone), once)
    two = Delta(backbone, Nothing())
    two.around(site, lambda call, x: call(x) + 1)
    one.detach()
    two.detach()
    assert torch.equal(outputs(backbone), base) and "forward" not in both.__dict__


@pytest.mark.parametrize("name", ["wieght", "in_features", "forward"])
def test_a_rule_on_a_missing_tensor_is_refused(backbone, name):
    site = backbone.sites("fc1", 1)[0]
    with pytest.raises(FrostlineError) as caught:
        Delta(backbone, Nothing()).reparam(site, name, Doubled())
    assert f"{site.path} (Linear) has no tensor {name!r}" in str(caught.value)


def test_the_first_layer_is_the_lowest_touched():
    backbone = tiny_vit()

    def lowest(*sites):
        delta = Delta(backbone, Nothing())
        for site in sites:
            delta.before(site, lambda tokens: tokens)
        found = delta.first_layer
        delta.detach()
        return found

    assert lowest() == 3
    assert lowest(backbone.sites("block", 2)[0], backbone.sites("fc1", 1)[0]) == 1
    assert lowest(backbone.sites("embed")[0], backbone.sites("block", 2)[0]) == 0
    assert lowest(backbone.sites("norm")[-1]) == 3
    assert lowest(backbone.sites("qkv", 0)[0]) == 0


def test_the_backbone_owns_none_of_the_delta_unless_a_rule_or_module_is_in_it(backbone):
    frozen = {id(p) for p in backbone.module.parameters()}
    count = backbone.parameter_count
    prompts = Vpt(length=2).grow(backbone, 0)
    assert {id(p) for p in backbone.module.parameters()} == frozen
    assert prompts.parameter_count == 3 * 2 * 24 and backbone.parameter_count == count
    prompts.detach()
    delta = Delta(backbone, Nothing())
    delta.rule = Scaled(24)
    delta.reparam(backbone.sites("proj", 0)[0], "weight", delta.rule)
    held = {id(p) for p in backbone.module.parameters()}
    assert held - frozen == {id(delta.rule.factor)}
    assert {id(p) for p in delta.parameters()} == {id(delta.rule.factor)}
    assert backbone.parameter_count == count and delta.parameter_count == 24
    delta.detach()
    assert {id(p) for p in backbone.module.parameters()} == frozen
    assert not any(p.requires_grad for p in backbone.module.parameters())


def test_gradients_flow_into_a_rule_and_not_into_the_frozen_weight(backbone):
    delta = Composite(backbone)
    batch = backbone.preprocessing(image_batch(backbone))
    probe = torch.randn(batch.shape[0], backbone.width, generator=torch.Generator().manual_seed(0))
    (backbone.features(batch) * probe).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in delta.parameters())
    own = {id(p) for p in delta.parameters()}
    assert all(p.grad is None for p in backbone.module.parameters() if id(p) not in own)
    delta.detach()


def test_fingerprints_follow_settings_class_and_state():
    backbone = tiny_vit()

    def grown(settings, value):
        delta = Delta(backbone, settings)
        delta.weight = nn.Parameter(torch.tensor([value]))
        delta.before(backbone.sites("block", 0)[0], lambda tokens: tokens)
        found = delta.fingerprint()
        delta.detach()
        return found

    one = grown(Nothing(), 1.0)
    assert one == grown(Nothing(), 1.0)
    assert len({one, grown(Nothing(), 2.0), grown(Other(), 1.0), grown(Other(size=2), 1.0)}) == 4


@pytest.mark.slow  # the contract of PATs does forty in the default run
def test_200_rounds_leave_nothing_behind(backbone):
    def tensors():
        gc.collect()
        return sum(isinstance(each, torch.Tensor) for each in gc.get_objects())

    before, base = snapshot(backbone), outputs(backbone)
    for grow in (Composite, lambda b: Vpt(length=2).grow(b, 0)):
        grow(backbone).detach()
        alive = tensors()
        for _ in range(200):
            grow(backbone).detach()
        assert tensors() == alive
    assert snapshot(backbone) == before
    assert torch.equal(outputs(backbone), base)


def test_a_delta_that_is_refused_half_way_leaves_the_backbone_as_it_was(backbone):
    class Failing(Delta):
        def __init__(self):
            super().__init__(backbone, Nothing())
            self.before(backbone.sites("block", 0)[0], lambda tokens: tokens + 1)
            self.reparam(backbone.sites("fc1", 0)[0], "weight", Doubled())
            self.reparam(backbone.sites("fc1", 1)[0], "weihgt", Doubled())

    before, base = snapshot(backbone), outputs(backbone)
    with pytest.raises(FrostlineError, match="weihgt"):
        Failing()
    assert snapshot(backbone) == before
    assert torch.equal(outputs(backbone), base)
