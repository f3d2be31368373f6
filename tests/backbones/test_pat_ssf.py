"""SSF: a model with scaling modules put in by hand as the reference, folding, counts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pat_checks import (
    SMALL,
    bert_large,
    check_gradients_are_its_own,
    check_identity_in_bf16,
    check_merged,
    features,
    nudged,
    vit_base,
)
from torch import nn

from backbones.core.errors import FrostlineError
from backbones.core.preprocess import Preprocessing
from backbones.pat.sites import UnfitError
from backbones.pat.ssf import Ssf
from backbones.pat.stack import make_pat
from backbones.testing import check_pat, raw_batch, tiny_bert, tiny_vit
from backbones.vit import from_timm

WIDTHS = {"qkv": 72, "proj": 24, "fc1": 96, "fc2": 24, "norm": 48}  # outputs in one block of tiny_vit


def test_counts_follow_from_the_widths():
    # scale and shift after norm1, qkv, proj, norm2, fc1, fc2
    assert Ssf().parameter_count(vit_base()) == 12 * 2 * (768 + 2304 + 768 + 768 + 3072 + 768) == 202_752
    assert Ssf().parameter_count(bert_large()) == 24 * 2 * (3 * 1024 + 1024 + 1024 + 4096 + 1024 + 1024)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(list(WIDTHS)), min_size=1, max_size=7),
    st.sampled_from(["all", "1", "0,2", "1-2"]),
    st.booleans(),
)
def test_the_formula_counts_what_is_grown(roles, layers, as_words):
    backbone = tiny_vit()
    pat = Ssf.parse({"roles": ",".join(roles) if as_words else roles, "layers": layers}, "PAT 'ssf'")
    blocks = {"all": 3, "1": 1, "0,2": 2, "1-2": 2}[layers]
    delta = pat.grow(backbone, 0)
    wanted = 2 * blocks * sum(WIDTHS[role] for role in set(roles))
    assert delta.parameter_count == pat.parameter_count(backbone) == wanted
    assert delta.first_layer == {"all": 0, "1": 1, "0,2": 0, "1-2": 1}[layers]


@pytest.mark.parametrize("values", [{"roles": "norm"}, {"roles": ["qkv", "fc2"], "layers": "1-2"}], ids=str)
@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_settings_meet_the_contract(kind, values):
    backbone = SMALL[kind]()
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
    backbone, other = SMALL[kind](), SMALL[kind]()
    delta = nudged(Ssf().grow(backbone, 0))
    for key in delta.scale:
        path, _, leaf = key.replace("/", ".").rpartition(".")
        holder = other.module.get_submodule(path)
        setattr(holder, leaf, ScaleShift(getattr(holder, leaf), delta.scale[key].detach(), delta.shift[key].detach()))
    put_in = sum(isinstance(part, ScaleShift) for part in other.module.modules())
    assert put_in == len(delta.scale) == len(delta.shift) == 3 * (6 if kind == "vit" else 8)
    assert torch.allclose(features(backbone), features(other), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", SMALL)
def test_a_plain_model_with_the_folded_weights_gives_the_same_features(kind):
    check_merged(Ssf(), SMALL[kind])
    check_merged(Ssf(roles=("norm", "fc1"), layers="1-2"), SMALL[kind])


@pytest.mark.parametrize("name", ["ssf+layernorm", "layernorm+ssf", "bitfit+ssf", "ssf+lora", "lora+ssf"])
@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_stacks_fold_in_the_order_of_the_forward_pass(name, kind):
    check_merged(make_pat(name, {}), SMALL[kind])


@pytest.mark.parametrize("kind", SMALL)
def test_gradients_reach_scales_and_shifts_alone(kind):
    delta = check_gradients_are_its_own(Ssf(roles=("proj", "fc1", "fc2", "norm")), SMALL[kind]())
    assert all(parameter.grad.abs().sum() > 0 for parameter in delta.parameters())


def without_bias():
    """A ViT whose fused qkv has no bias."""
    from timm.models.vision_transformer import VisionTransformer

    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 2, "num_classes": 0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return from_timm(VisionTransformer(qkv_bias=False, **sizes), "bare", Preprocessing(16))


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
    for call in (lambda: Ssf().grow(backbone, 0), lambda: Ssf().parameter_count(backbone)):
        with pytest.raises(UnfitError, match=r"'ssf' needs a linear layer at blocks\.1\.mlp\.fc1; .* has a Sequential"):
            call()
    assert not any(module._forward_hooks for module in backbone.module.modules())


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
    for call in (lambda: Ssf(layers="3").grow(tiny_bert(), 0), lambda: Ssf(layers="3").parameter_count(tiny_bert())):
        with pytest.raises(FrostlineError, match="layers '3'"):
            call()


@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_half_precision_starts_as_the_identity_too(kind):
    check_identity_in_bf16(Ssf(), SMALL[kind]())
