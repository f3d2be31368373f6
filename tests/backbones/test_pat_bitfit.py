"""BitFit: published counts, which biases, and weights written by hand as the reference."""

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
    written_into,
)
from torch import nn

from backbones.core.errors import FrostlineError
from backbones.pat.bitfit import BitFit
from backbones.pat.sites import UnfitError
from backbones.testing import check_pat, raw_batch, tiny_bert, tiny_vit


def test_counts_are_those_published():
    bert = bert_large()
    # 24 blocks of query, key, value, output, the two of the MLP and two norms; the paper says 0.08 %
    assert BitFit().parameter_count(bert) == 24 * (3 * 1024 + 1024 + 4096 + 1024 + 2 * 1024)
    assert round(100 * BitFit().parameter_count(bert) / bert.parameter_count, 2) == 0.08
    assert BitFit().parameter_count(vit_base()) == 12 * (2304 + 768 + 3072 + 768 + 2 * 768)


@each_choice_of_roles
def test_the_formula_counts_what_is_grown(roles, layers, as_words):
    delta = check_count_of_roles(BitFit, 1, roles, layers, as_words)  # the widths are as many biases
    assert all(name.endswith(".bias") for name in delta.values)


def test_every_bias_inside_the_blocks_is_trained_and_none_outside():
    backbone = tiny_bert()
    wanted = [n for n, _ in backbone.module.named_parameters() if n.endswith(".bias") and n.startswith("encoder.")]
    assert sorted(BitFit().grow(backbone, 0).values) == sorted(wanted)


@pytest.mark.parametrize("values", [{"roles": "fc1,fc2"}, {"roles": ["norm"], "layers": "1-2"}], ids=str)
@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_settings_meet_the_contract(kind, values):
    backbone = MINIATURES[kind]()
    check_pat(BitFit.parse(values, "PAT 'bitfit'"), backbone, raw_batch(backbone))


@pytest.mark.parametrize("kind", MINIATURES)
def test_a_plain_model_with_the_folded_weights_gives_the_same_features(kind):
    check_merged(BitFit(), MINIATURES[kind])
    check_merged(BitFit(roles=("proj", "fc1"), layers="1-2"), MINIATURES[kind])


def test_trained_biases_stand_in_for_those_of_the_model_by_their_own_names():
    backbone, plain = tiny_bert(), tiny_bert()
    delta = nudged(BitFit().grow(backbone, 0))
    assert torch.equal(features(written_into(plain, delta)), features(backbone))


@pytest.mark.parametrize("kind", MINIATURES)
def test_gradients_reach_biases_alone(kind):
    delta = check_gradients_are_its_own(BitFit(roles=("proj", "fc1", "fc2", "norm")), MINIATURES[kind]())
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

    def bare(module):
        for part in module.blocks.modules():
            if at_all and isinstance(part, nn.Linear | nn.LayerNorm):
                part.register_parameter("bias", None)

    return odd_vit("bare", bare, qkv_bias=False)


def test_layers_without_bias_are_left_alone():
    backbone = without_biases(at_all=False)
    assert BitFit().parameter_count(backbone) == 3 * (24 + 96 + 24 + 48)
    check_pat(BitFit(), backbone, raw_batch(backbone))


def test_a_backbone_without_biases_is_refused():
    backbone = without_biases(at_all=True)
    check_refused(BitFit(), backbone, r"'bitfit' needs biases; in backbone 'bare' no qkv or .* has one", UnfitError)
    only = without_biases(at_all=False)
    check_refused(BitFit(roles=("qkv",), layers="1"), only, "backbone 'bare' no qkv in layers 1 has one", UnfitError)


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
    for pat in (BitFit(layers="3"), BitFit(roles=("norm",), layers="3")):
        check_refused(pat, tiny_vit(), "layers '3'")


@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_half_precision_starts_as_the_identity_too(kind):
    check_identity_in_bf16(BitFit(), MINIATURES[kind]())
