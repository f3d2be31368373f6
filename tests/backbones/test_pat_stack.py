"""Stacks: members act together, are taken off together, and are refused only where two of them own one tensor."""

import json
from itertools import permutations

import pytest
import torch

from backbones.core.artifacts import digest_tensors
from backbones.core.errors import FrostlineError
from backbones.core.seed import derive
from backbones.pat import PATS
from backbones.pat.sites import UnfitError
from backbones.pat.stack import Stack, make_pat, pat_values
from backbones.testing import check_pat, raw_batch, tiny_bert, tiny_transformers_vit, tiny_vit

STACKS = [
    "layernorm+prefix+adapter",
    "adapter+prefix+layernorm",
    "pasta+vpt+adapter",
    "adapter+vpt+pasta",
    "prefix+vpt",
    "vpt+lora",
    "ssf+prefix+lora",
]
KINDS = {
    "registers and average pooling": lambda: tiny_vit(registers=2, average=True),
    "transformers ViT": tiny_transformers_vit,
    "BERT": tiny_bert,
}
# Pairs that cannot work: both train the same tensors whole, or one adds to a tensor that the other trains whole.
OWN_THE_SAME = {
    frozenset({"bitfit", "layernorm"}): "biases of norms",
    frozenset({"bitfit", "sparse"}): "biases of linear layers",
}


def places(backbone):
    """All that a delta could leave behind: modules, their forwards and hooks, notes on the sequence."""
    modules = [
        (name, type(m).__qualname__, "forward" in m.__dict__, len(m._forward_hooks), len(m._forward_pre_hooks))
        for name, m in backbone.module.named_modules()
    ]
    return modules, list(backbone._inserted), digest_tensors(backbone.module.state_dict())


def features(backbone, batch):
    with torch.no_grad():
        return backbone.features(batch)


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("kind", KINDS)
def test_stacks_meet_the_contract(kind, name):
    backbone = KINDS[kind]()
    check_pat(make_pat(name, {}), backbone, raw_batch(backbone))


def meet(backbone, batch, pat, plain):
    """Grow, run, train, fold in where that is promised, and take off; returns the message if the pair is refused."""
    try:
        delta = pat.grow(backbone, 0)
    except FrostlineError as error:
        return str(error)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in delta.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    found = backbone.features(batch)
    assert torch.isfinite(found).all()
    (found * torch.randn(found.shape, generator=generator)).sum().backward()
    for name, parameter in delta.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert delta.mergeable == pat.mergeable
    if pat.mergeable:
        plain.module.load_state_dict(delta.merged())
        assert torch.allclose(features(plain, batch), found, rtol=1e-4, atol=1e-5)
    delta.detach()
    return ""


@pytest.mark.parametrize("make", [tiny_vit, pytest.param(tiny_bert, marks=pytest.mark.slow)])
def test_any_two_pats_work_together_unless_both_own_a_tensor(make):
    backbone, plain = make(), make()
    batch = backbone.preprocessing(raw_batch(backbone, 3))
    base, before = features(backbone, batch), places(backbone)
    refused = {}
    for first, second in permutations([entry.name for entry in PATS.entries() if entry.origin == "frostline"], 2):
        message = meet(backbone, batch, make_pat(f"{first}+{second}", {}), plain)
        assert places(backbone) == before, f"{first}+{second} leaves something behind"
        if message:
            assert f"stack '{first}+{second}', at '{second}': two rules on the tensor" in message
            assert "overlap" in message
            refused.setdefault(frozenset({first, second}), []).append(first)
    assert torch.equal(features(backbone, batch), base)
    assert set(refused) == set(OWN_THE_SAME)
    assert all(len(orders) == 2 for orders in refused.values()), "the order decides whether a pair is refused"


def test_an_overlap_names_tensor_and_stack_and_leaves_the_backbone_alone():
    backbone = tiny_vit()
    before = places(backbone)
    pat = make_pat("prefix+layernorm+bitfit", {})
    with pytest.raises(FrostlineError) as caught:
        pat.grow(backbone, 0)
    assert "stack 'prefix+layernorm+bitfit', at 'bitfit'" in str(caught.value)
    assert "blocks.0.norm1.bias" in str(caught.value) and "different layers or roles" in str(caught.value)
    assert places(backbone) == before


def test_the_way_out_of_an_overlap_works():
    backbone = tiny_vit()
    pat = make_pat("layernorm+bitfit", {"layernorm.layers": "0", "bitfit.layers": "1-2"})
    delta = pat.grow(backbone, 0)
    assert delta.parameter_count == pat.parameter_count(tiny_vit()) > 0


def test_a_stack_is_its_members_one_after_the_other():
    backbone, other = tiny_bert(), tiny_bert()
    batch = backbone.preprocessing(raw_batch(backbone))
    names = ["vpt", "pasta", "lora"]
    delta = make_pat("+".join(names), {}).grow(backbone, 7)
    members = [PATS.load(name)().grow(other, derive(7, "stack", name)) for name in names]
    assert torch.equal(features(backbone, batch), features(other, batch))
    assert delta.parameter_count == sum(member.parameter_count for member in members)
    assert delta.first_layer == 0 and delta.attached


def test_members_are_taken_off_last_first():
    delta = make_pat("pasta+vpt+adapter", {}).grow(tiny_vit(), 0)
    order = []
    for name, child in delta.parts.items():
        child._undo.append(lambda name=name: order.append(name))
    delta.detach()
    assert order == ["adapter", "vpt", "pasta"]
    assert not delta.attached and not any(child.attached for child in delta.parts.values())


def test_put_on_and_taken_off_many_times_it_leaves_nothing():
    backbone = tiny_bert()
    batch = backbone.preprocessing(raw_batch(backbone, 2))
    base, before = features(backbone, batch), places(backbone)
    pat = make_pat("prefix+vpt+adapter", {"adapter.kind": "parallel"}, "2")
    for _ in range(100):
        pat.grow(backbone, 0).detach()
    assert places(backbone) == before and torch.equal(features(backbone, batch), base)


def test_a_member_that_does_not_fit_names_the_stack_and_stays_an_unfit_error():
    backbone = tiny_vit()
    backbone._sites = tuple(site for site in backbone._sites if site.role != "attn")
    before = places(backbone)
    pat = make_pat("vpt+prefix", {})
    for call in (lambda: pat.grow(backbone, 0), lambda: pat.parameter_count(backbone)):
        with pytest.raises(UnfitError, match=r"stack 'vpt\+prefix', at 'prefix': PAT 'prefix' needs the site 'attn'"):
            call()
        assert places(backbone) == before


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("layernorm+prefix+adapter", {"prefix.length": "4", "adapter": {"where": "proj", "bottleneck": "3"}}),
        ("vpt+lora", {"vpt": {"depth": "shallow"}}),
        ("adapter", {"where": "proj,fc2", "kind": "parallel"}),
    ],
)
@pytest.mark.parametrize("layers", [None, "1-2"])
def test_settings_come_back_from_json(name, values, layers):
    pat = make_pat(name, values, layers)
    again = make_pat(name, json.loads(json.dumps(pat_values(pat))))
    assert again == pat and again.model_dump() == pat.model_dump()
    assert pat != make_pat(name, {}, "0")


def test_layers_reach_every_member_that_is_not_told_otherwise():
    pat = make_pat("layernorm+prefix+adapter", {"prefix.layers": "0"}, "1-2")
    assert {name: part.layers for name, part in pat.parts.items()} == {
        "layernorm": "1-2",
        "prefix": "0",
        "adapter": "1-2",
    }
    delta = make_pat("vpt+adapter", {}, "1-2").grow(tiny_vit(), 0)
    assert delta.first_layer == 1


def test_a_stack_says_what_its_members_say():
    assert make_pat("layernorm+lora", {}).starts_as_identity and make_pat("layernorm+lora", {}).mergeable
    assert not make_pat("layernorm+prefix", {}).starts_as_identity
    assert not make_pat("layernorm+adapter", {}).mergeable
    assert isinstance(make_pat("layernorm + adapter", {}), Stack)


@pytest.mark.parametrize(
    ("name", "values", "layers", "words"),
    [
        ("vpt+vpt", {}, None, "names 'vpt' twice"),
        ("vpt+adaptr", {}, None, "unknown PAT 'adaptr'. Did you mean 'adapter'"),
        ("vpt+", {}, None, "unknown PAT ''"),
        ("vpt+prefix", {"prefix.lenght": 3}, None, "PAT 'prefix': unknown key 'lenght'. Did you mean 'length'"),
        (
            "vpt+prefix",
            {"prefx.length": 3},
            None,
            "'prefx.length' belongs to none of its members. Did you mean 'prefix.l",
        ),
        ("vpt+prefix", {"length": 3}, None, "with one of vpt, prefix in front"),
        ("vpt+prefix", {"prefix": 3}, None, "'prefix' belongs to none of its members"),
        ("vpt+prefix", {"prefix.length": 3, "prefix": {"length": 4}}, None, "prefix.length is given twice (3 and 4)"),
        ("vpt+frozen", {}, "1", "PAT 'frozen' has no setting 'layers'"),
    ],
)
def test_mistakes_are_named(name, values, layers, words):
    with pytest.raises(FrostlineError) as caught:
        make_pat(name, values, layers).grow(tiny_vit(), 0)
    assert words in str(caught.value)


def test_layers_out_of_range_name_the_stack():
    with pytest.raises(FrostlineError, match=r"stack 'vpt\+prefix', at 'vpt': layers '9': '9' does not fit"):
        make_pat("vpt+prefix", {}, "9").parameter_count(tiny_vit())
