"""LN-tuning: published counts, which norms, and weights written by hand as the reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pat_checks import (
    MINIATURES,
    bert_large,
    check_gradients_are_its_own,
    check_identity_in_bf16,
    check_merged,
    check_refused,
    features,
    nudged,
    odd_vit,
    vit_base,
    written_into,
)
from torch import nn

from backbones.core.errors import FrostlineError
from backbones.pat.layernorm import LayerNorm
from backbones.pat.sites import UnfitError
from backbones.pat.stack import make_pat
from backbones.testing import check_pat, raw_batch, tiny_bert, tiny_vit


def test_counts_are_those_published():
    assert LayerNorm().parameter_count(bert_large()) == 98_304
    assert LayerNorm().parameter_count(vit_base()) == 38_400


def test_a_grown_delta_has_the_published_count():
    backbone = bert_large()
    assert LayerNorm().grow(backbone, 0).parameter_count == 98_304


@pytest.mark.parametrize(
    ("kind", "values", "norms"),
    [
        ("vit", {}, 7),  # two in each of three blocks and the last
        ("vit", {"final_norm": False}, 6),
        ("vit", {"layers": "1-2"}, 4),
        ("vit", {"layers": "2", "final_norm": True}, 3),
        ("bert", {}, 6),
        ("bert", {"final_norm": True}, 6),  # BERT has none
        ("bert", {"embedding_norm": True}, 7),
        ("bert", {"embedding_norm": True, "layers": "2"}, 3),
        ("clip", {}, 7),
        ("clip", {"embedding_norm": True}, 8),
    ],
    ids=str,
)
def test_settings_choose_the_norms_and_meet_the_contract(kind, values, norms):
    backbone, pat = MINIATURES[kind](), LayerNorm.parse(values, "PAT 'layernorm'")
    assert pat.parameter_count(backbone) == norms * 48
    check_pat(pat, backbone, raw_batch(backbone))


def test_what_is_touched_tells_how_far_gradients_must_go():
    assert LayerNorm(layers="1-2").grow(tiny_bert(), 0).first_layer == 1
    assert LayerNorm(layers="2", embedding_norm=True).grow(tiny_bert(), 0).first_layer == 0


@pytest.mark.parametrize("kind", MINIATURES)
@pytest.mark.parametrize("values", [{}, {"embedding_norm": True, "layers": "0,2", "final_norm": True}], ids=str)
def test_a_plain_model_with_the_folded_weights_gives_the_same_features(kind, values):
    check_merged(LayerNorm(**values), MINIATURES[kind])


def test_trained_tensors_stand_in_for_those_of_the_model_by_their_own_names():
    backbone, plain = tiny_vit(), tiny_vit()
    delta = nudged(LayerNorm().grow(backbone, 0))
    norms = {name for name, module in plain.module.named_modules() if isinstance(module, nn.LayerNorm)}
    assert {name.rpartition(".")[0] for name in delta.values} == norms
    assert torch.equal(features(written_into(plain, delta)), features(backbone))


def test_the_start_is_the_frozen_gain_and_bias_themselves():
    backbone = tiny_bert()
    frozen = {name: value.clone() for name, value in backbone.frozen_state().items()}
    delta = LayerNorm(embedding_norm=True).grow(backbone, 0)
    assert all(torch.equal(value, frozen[name]) for name, value in delta.values.items())
    nudged(delta)
    assert all(torch.equal(value, frozen[name]) for name, value in backbone.frozen_state().items())


@pytest.mark.parametrize("kind", MINIATURES)
def test_gradients_reach_gains_and_biases_alone(kind):
    delta = check_gradients_are_its_own(LayerNorm(), MINIATURES[kind]())
    assert all(parameter.grad.abs().sum() > 0 for parameter in delta.parameters())


class RootMeanSquare(nn.Module):
    """A norm with a gain and no bias."""

    def __init__(self, width, **_):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, width))

    def forward(self, tokens):
        return tokens * tokens.pow(2).mean(dim=-1, keepdim=True).add(1e-6).rsqrt() * self.weight


def vit_with_norms(make):
    """A ViT whose norms in blocks are other ones."""
    return odd_vit("odd", norm_layer=make)


def test_norms_without_bias_have_their_gain_trained():
    backbone = vit_with_norms(RootMeanSquare)
    assert LayerNorm().parameter_count(backbone) == 7 * 24
    check_pat(LayerNorm(), backbone, raw_batch(backbone))
    check_merged(LayerNorm(), lambda: vit_with_norms(RootMeanSquare))


def test_norms_with_nothing_to_train_are_refused():
    backbone = vit_with_norms(lambda width, **_: nn.LayerNorm(width, elementwise_affine=False))
    words = "'layernorm' needs norms with a gain or a bias; .*backbone 'odd'.*neither"
    check_refused(LayerNorm(), backbone, words, UnfitError)


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(list(MINIATURES)),
    st.sampled_from(["all", "0", "1-2", "0,2"]),
    st.none() | st.booleans(),
    st.booleans(),
)
def test_the_formula_counts_what_is_grown_and_detaching_gives_all_back(kind, layers, final, below):
    backbone = MINIATURES[kind]()
    names = list(backbone.module.state_dict())
    pat = LayerNorm(layers=layers, final_norm=final, embedding_norm=below)
    delta = pat.grow(backbone, 0)
    assert delta.parameter_count == pat.parameter_count(backbone)
    delta.detach()
    assert list(backbone.module.state_dict()) == names
    assert not any(parameter.requires_grad for parameter in backbone.module.parameters())


def test_two_that_train_the_same_bias_overlap():
    backbone = tiny_vit()
    base = features(backbone)
    with pytest.raises(FrostlineError, match=r"'layernorm\+bitfit', at 'bitfit': two rules on .*norm1\.bias.*overlap"):
        make_pat("layernorm+bitfit", {}).grow(backbone, 0)
    assert torch.equal(features(backbone), base)
    assert not any("parametrizations" in name for name in backbone.module.state_dict())
    make_pat("layernorm+bitfit", {"bitfit.roles": "qkv,proj,fc1,fc2"}).grow(backbone, 0)


def test_a_wrong_choice_is_named():
    check_refused(LayerNorm(layers="3"), tiny_vit(), "layers '3'")
    with pytest.raises(FrostlineError, match="final_norm = 'maybe'"):
        LayerNorm.parse({"final_norm": "maybe"}, "PAT 'layernorm'")
    with pytest.raises(FrostlineError, match="Did you mean 'embedding_norm'"):
        LayerNorm.parse({"embeding_norm": True}, "PAT 'layernorm'")


@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_half_precision_starts_as_the_identity_too(kind):
    check_identity_in_bf16(LayerNorm(), MINIATURES[kind]())
