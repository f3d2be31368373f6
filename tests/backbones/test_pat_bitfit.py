"""BitFit: published counts, which biases, and weights written by hand as the reference."""

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
from backbones.pat.bitfit import BitFit
from backbones.pat.sites import UnfitError
from backbones.testing import check_pat, raw_batch, tiny_bert, tiny_vit
from backbones.vit import from_timm

WIDTHS = {"qkv": 72, "proj": 24, "fc1": 96, "fc2": 24, "norm": 48}  # biases in one block of tiny_vit


def test_counts_are_those_published():
    bert = bert_large()
    # 24 blocks of query, key, value, output, the two of the MLP and two norms; the paper says 0.08 %
    assert BitFit().parameter_count(bert) == 24 * (3 * 1024 + 1024 + 4096 + 1024 + 2 * 1024)
    assert round(100 * BitFit().parameter_count(bert) / bert.parameter_count, 2) == 0.08
    assert BitFit().parameter_count(vit_base()) == 12 * (2304 + 768 + 3072 + 768 + 2 * 768)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(list(WIDTHS)), min_size=1, max_size=7),
    st.sampled_from(["all", "1", "0,2", "1-2"]),
    st.booleans(),
)
def test_the_formula_counts_what_is_grown(roles, layers, as_words):
    backbone = tiny_vit()
    pat = BitFit.parse({"roles": ",".join(roles) if as_words else roles, "layers": layers}, "PAT 'bitfit'")
    blocks = {"all": 3, "1": 1, "0,2": 2, "1-2": 2}[layers]
    delta = pat.grow(backbone, 0)
    assert delta.parameter_count == pat.parameter_count(backbone) == blocks * sum(WIDTHS[role] for role in set(roles))
    assert all(name.endswith(".bias") for name in delta.values)


def test_every_bias_inside_the_blocks_is_trained_and_none_outside():
    backbone = tiny_bert()
    wanted = [n for n, _ in backbone.module.named_parameters() if n.endswith(".bias") and n.startswith("encoder.")]
    assert sorted(BitFit().grow(backbone, 0).values) == sorted(wanted)


@pytest.mark.parametrize("values", [{"roles": "fc1,fc2"}, {"roles": ["norm"], "layers": "1-2"}], ids=str)
@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_settings_meet_the_contract(kind, values):
    backbone = SMALL[kind]()
    check_pat(BitFit.parse(values, "PAT 'bitfit'"), backbone, raw_batch(backbone))


@pytest.mark.parametrize("kind", SMALL)
def test_a_plain_model_with_the_folded_weights_gives_the_same_features(kind):
    check_merged(BitFit(), SMALL[kind])
    check_merged(BitFit(roles=("proj", "fc1"), layers="1-2"), SMALL[kind])


def test_trained_biases_stand_in_for_those_of_the_model_by_their_own_names():
    backbone, plain = tiny_bert(), tiny_bert()
    delta = nudged(BitFit().grow(backbone, 0))
    with torch.no_grad():
        for name, value in delta.values.items():
            plain.module.get_parameter(name).copy_(value)
    assert torch.equal(features(plain), features(backbone))


@pytest.mark.parametrize("kind", SMALL)
def test_gradients_reach_biases_alone(kind):
    delta = check_gradients_are_its_own(BitFit(roles=("proj", "fc1", "fc2", "norm")), SMALL[kind]())
    assert all(parameter.grad.abs().sum() > 0 for parameter in delta.parameters())


def test_attention_does_not_depend_on_the_biases_of_keys():
    backbone = tiny_bert()
    base = features(backbone)
    delta = BitFit(roles=("qkv",)).grow(backbone, 0)
    keys = {name: value for name, value in delta.values.items() if "key" in name}
    assert len(keys) == 3
    with torch.no_grad():
        for value in keys.values():
            value.add_(1.0)
    assert torch.allclose(features(backbone), base, rtol=0, atol=1e-5)


def without_biases(*, at_all):
    """A ViT whose fused qkv has no bias; without any at all, none of its linear layers and norms has."""
    from timm.models.vision_transformer import VisionTransformer

    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 2, "num_classes": 0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = VisionTransformer(qkv_bias=False, **sizes)
    if at_all:
        for part in module.blocks.modules():
            if isinstance(part, nn.Linear | nn.LayerNorm):
                part.register_parameter("bias", None)
    return from_timm(module, "bare", Preprocessing(16))


def test_layers_without_bias_are_left_alone():
    backbone = without_biases(at_all=False)
    assert BitFit().parameter_count(backbone) == 3 * (24 + 96 + 24 + 48)
    check_pat(BitFit(), backbone, raw_batch(backbone))


def test_a_backbone_without_biases_is_refused():
    backbone = without_biases(at_all=True)
    for call in (lambda: BitFit().grow(backbone, 0), lambda: BitFit().parameter_count(backbone)):
        with pytest.raises(UnfitError, match=r"'bitfit' needs biases; in backbone 'bare' no qkv or .* has one"):
            call()
    only = without_biases(at_all=False)
    with pytest.raises(UnfitError, match=r"backbone 'bare' no qkv in layers 1 has one"):
        BitFit(roles=("qkv",), layers="1").grow(only, 0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"roles": "fc1,attn"}, "roles.1 = 'attn': input should be 'qkv', 'proj', 'fc1', 'fc2' or 'norm'"),
        ({"roles": ""}, "roles = "),
        ({"role": "fc1"}, "Did you mean 'roles'"),
    ],
)
def test_wrong_settings_are_named(values, words):
    with pytest.raises(FrostlineError) as caught:
        BitFit.parse(values, "PAT 'bitfit'")
    assert words in str(caught.value)


def test_layers_out_of_range_are_refused():
    for call in (
        lambda: BitFit(layers="3").grow(tiny_vit(), 0),
        lambda: BitFit(roles=("norm",), layers="3").parameter_count(tiny_vit()),
    ):
        with pytest.raises(FrostlineError, match="layers '3'"):
            call()


@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_half_precision_starts_as_the_identity_too(kind):
    check_identity_in_bf16(BitFit(), SMALL[kind]())
