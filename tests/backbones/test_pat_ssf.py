"""SSF: a model with scaling modules put in by hand as the reference, folding, counts."""

import pytest
import torch
from pat_checks import (
    MINIATURES,
    bert_large,
    check_count_of_roles,
    check_gradients_are_its_own,
    check_identity_in_bf16,
    check_merged,
    check_refused,
    each_choice_of_roles,
    features,
    nudged,
    odd_vit,
    vit_base,
)
from torch import nn

from backbones.core.errors import FrostlineError
from backbones.pat.sites import UnfitError
from backbones.pat.ssf import Ssf
from backbones.pat.stack import make_pat
from backbones.testing import check_pat, raw_batch, tiny_bert, tiny_vit


def test_counts_follow_from_the_widths():
    # scale and shift after norm1, qkv, proj, norm2, fc1, fc2
    assert Ssf().parameter_count(vit_base()) == 12 * 2 * (768 + 2304 + 768 + 768 + 3072 + 768) == 202_752
    assert Ssf().parameter_count(bert_large()) == 24 * 2 * (3 * 1024 + 1024 + 1024 + 4096 + 1024 + 1024)


@each_choice_of_roles
def test_the_formula_counts_what_is_grown(roles, layers, as_words):
    delta = check_count_of_roles(Ssf, 2, roles, layers, as_words)
    assert delta.scale.keys() == delta.shift.keys()


@pytest.mark.parametrize("values", [{"roles": "norm"}, {"roles": ["qkv", "fc2"], "layers": "1-2"}], ids=str)
@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_settings_meet_the_contract(kind, values):
    backbone = MINIATURES[kind]()
    check_pat(Ssf.parse(values, "PAT 'ssf'"), backbone, raw_batch(backbone))


class ScaleShift(nn.Module):
    """The formula of the paper as a module."""

    def __init__(self, inner, gamma, beta):
        super().__init__()
        self.inner, self.gamma, self.beta = inner, gamma, beta

    def forward(self, tokens):
        return self.gamma * self.inner(tokens) + self.beta


@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_features_are_those_of_a_model_with_modules_put_in(kind):
    backbone, other = MINIATURES[kind](), MINIATURES[kind]()
    delta = nudged(Ssf().grow(backbone, 0))
    for key in delta.scale:
        path, _, leaf = key.replace("/", ".").rpartition(".")
        holder = other.module.get_submodule(path)
        setattr(holder, leaf, ScaleShift(getattr(holder, leaf), delta.scale[key].detach(), delta.shift[key].detach()))
    put_in = sum(isinstance(part, ScaleShift) for part in other.module.modules())
    assert put_in == len(delta.scale) == len(delta.shift) == 3 * (6 if kind == "vit" else 8)
    assert torch.allclose(features(backbone), features(other), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", MINIATURES)
def test_a_plain_model_with_the_folded_weights_gives_the_same_features(kind):
    check_merged(Ssf(), MINIATURES[kind])
    check_merged(Ssf(roles=("norm", "fc1"), layers="1-2"), MINIATURES[kind])


@pytest.mark.parametrize("name", ["ssf+layernorm", "layernorm+ssf", "bitfit+ssf", "ssf+lora", "lora+ssf"])
@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_stacks_fold_in_the_order_of_the_forward_pass(name, kind):
    check_merged(make_pat(name, {}), MINIATURES[kind])


@pytest.mark.parametrize("kind", MINIATURES)
def test_gradients_reach_scales_and_shifts_alone(kind):
    delta = check_gradients_are_its_own(Ssf(roles=("proj", "fc1", "fc2", "norm")), MINIATURES[kind]())
    assert all(parameter.grad.abs().sum() > 0 for parameter in delta.parameters())


def without_bias():
    """A ViT whose fused qkv has no bias."""
    return odd_vit("bare", qkv_bias=False)


def test_where_no_bias_can_take_the_shift_nothing_is_folded():
    backbone = without_bias()
    check_pat(Ssf(), backbone, raw_batch(backbone))
    delta = Ssf().grow(backbone, 0)
    assert not delta.mergeable
    with pytest.raises(FrostlineError, match="Ssf cannot be folded into weights"):
        delta.merged()
    delta.detach()
    check_merged(Ssf(roles=("proj", "fc1", "fc2", "norm")), without_bias)


def test_norms_without_gain_and_bias_are_scaled_all_the_same():
    backbone = tiny_vit()
    for site in backbone.sites("norm"):
        parent, _, leaf = site.path.rpartition(".")
        setattr(backbone.module.get_submodule(parent), leaf, nn.LayerNorm(24, elementwise_affine=False))
    check_pat(Ssf(), backbone, raw_batch(backbone))
    assert not Ssf().grow(backbone, 0).mergeable


def test_a_site_that_is_not_linear_is_refused():
    backbone = tiny_vit()
    site = backbone.sites("fc1", 1)[0]
    backbone.module.get_submodule("blocks.1.mlp").fc1 = nn.Sequential(backbone.module.get_submodule(site.path))
    words = r"'ssf' needs a linear layer at blocks\.1\.mlp\.fc1; .* has a Sequential"
    check_refused(Ssf(), backbone, words, UnfitError)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"roles": "fc1,attn"}, "roles.1 = 'attn': input should be 'qkv', 'proj', 'fc1', 'fc2' or 'norm'"),
        ({"roles": []}, "roles = []"),
        ({"layer": "1"}, "Did you mean 'layers'"),
    ],
)
def test_wrong_settings_are_named(values, words):
    with pytest.raises(FrostlineError) as caught:
        Ssf.parse(values, "PAT 'ssf'")
    assert words in str(caught.value)


def test_layers_out_of_range_are_refused():
    check_refused(Ssf(layers="3"), tiny_bert(), "layers '3'")


@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_half_precision_starts_as_the_identity_too(kind):
    check_identity_in_bf16(Ssf(), MINIATURES[kind]())
