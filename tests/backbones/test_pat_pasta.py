"""PASTA: published counts, a written-out forward pass, and which tokens change."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pat_checks import (
    BLOCKS,
    MINIATURES,
    batch_of,
    bert_large,
    check_gradients_are_its_own,
    check_identity_in_bf16,
    check_refused,
    entering_block,
    features,
    nudged,
    odd_vit,
    vit_base,
)

from backbones.core.errors import FrostlineError
from backbones.pat.pasta import Pasta
from backbones.pat.sites import UnfitError, fitting
from backbones.pat.stack import make_pat
from backbones.testing import check_pat, raw_batch, tiny_bert, tiny_roberta, tiny_vit

SPECIALS = {"vit": 1, "vit with registers": 3, "transformers vit": 1, "clip": 1}
SPECIALS |= {"bert": 2, "bert, cls": 2, "roberta": 3, "distilbert": 2}


def test_counts_are_those_published():
    bert, vit = bert_large(), vit_base()
    assert [Pasta(special=number).parameter_count(bert) for number in (2, 3, 4)] == [49_152, 73_728, 98_304]
    assert Pasta().parameter_count(bert) == 49_152  # [CLS] and [SEP], as the tokenizer says
    assert round(100 * 98_304 / bert.parameter_count, 3) == 0.029
    assert Pasta().parameter_count(vit) == 12 * 768


@pytest.mark.parametrize("kind", MINIATURES)
def test_there_are_as_many_vectors_as_one_input_has_special_tokens(kind):
    backbone = MINIATURES[kind]()
    assert backbone.special_tokens == SPECIALS[kind]
    assert Pasta().grow(backbone, 0).vectors.shape == (3, SPECIALS[kind], 24)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(list(MINIATURES)), st.none() | st.integers(1, 6), st.sampled_from(list(BLOCKS)))
def test_the_formula_counts_what_is_grown(kind, special, layers):
    backbone = MINIATURES[kind]()
    pat = Pasta(special=special, layers=layers)
    delta = pat.grow(backbone, 0)
    blocks = BLOCKS[layers]
    assert pat.parameter_count(backbone) == delta.parameter_count == len(blocks) * (special or SPECIALS[kind]) * 24
    assert delta.first_layer == blocks[0]


@pytest.mark.parametrize("kind", MINIATURES)
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_only_special_tokens_change_each_by_the_vector_of_its_occurrence(kind, layer):
    backbone = MINIATURES[kind]()
    base = entering_block(backbone, layer)
    delta = nudged(Pasta(layers=str(layer)).grow(backbone, 0))
    change = entering_block(backbone, layer) - base
    batch = batch_of(backbone)
    for row in range(len(batch)):
        if backbone.modality == "text":
            places = batch[row, 2].nonzero().flatten().tolist()
        else:
            places = list(range(backbone.prefix_tokens))
        others = [place for place in range(base.shape[1]) if place not in places]
        assert len(places) == SPECIALS[kind] and others
        assert not change[row, others].any()
        assert torch.allclose(change[row, places], delta.vectors[0], atol=1e-5)


def test_features_are_those_of_the_written_out_forward_pass():
    backbone = tiny_vit(registers=2, average=True)
    batch, module = batch_of(backbone), backbone.module
    pat = Pasta(layers="0,2")
    delta = nudged(pat.grow(backbone, 0))
    found = features(backbone)
    delta.detach()
    with torch.no_grad():
        tokens = module.norm_pre(module.patch_drop(module._pos_embed(module.patch_embed(batch))))
        for layer, block in enumerate(module.blocks):
            if layer != 1:
                added = delta.vectors[0 if layer == 0 else 1].expand(len(batch), -1, -1)
                tokens = torch.cat([tokens[:, :3] + added, tokens[:, 3:]], dim=1)
            tokens = block(tokens)
        wanted = module.norm(tokens)[:, 3:].mean(dim=1)
    assert torch.allclose(found, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", MINIATURES)
def test_zero_vectors_equal_the_base_bit_for_bit_and_others_do_not(kind):
    backbone = MINIATURES[kind]()
    base = features(backbone)
    delta = Pasta(special=5).grow(backbone, 0)
    assert torch.equal(features(backbone), base)
    nudged(delta)
    assert not torch.allclose(features(backbone), base, atol=1e-3)


def test_occurrences_beyond_the_last_share_its_vector():
    shared = tiny_roberta()
    fewer = nudged(Pasta(special=2).grow(shared, 0))
    own = tiny_roberta()
    all_three = Pasta().grow(own, 0)
    with torch.no_grad():
        all_three.vectors.copy_(fewer.vectors[:, [0, 1, 1]])
    assert torch.equal(features(shared), features(own))


def test_vectors_without_an_occurrence_have_no_effect_and_no_gradient():
    backbone = tiny_bert()
    delta = check_gradients_are_its_own(Pasta(special=4), backbone)
    assert delta.vectors.grad[:, :2].abs().sum(dim=2).min() > 0
    assert not delta.vectors.grad[:, 2:].any()
    before = features(backbone)
    with torch.no_grad():
        delta.vectors[:, 2:] += 1.0
    assert torch.equal(features(backbone), before)


def test_the_text_itself_cannot_spell_a_special_token():
    backbone = tiny_bert()
    nudged(Pasta().grow(backbone, 0))
    batch = backbone.preprocessing(["the [SEP] cat", "the cat"])
    assert batch[:, 2].sum(dim=1).tolist() == [2, 2]


@pytest.mark.parametrize("name", ["vpt+pasta", "pasta+vpt"])
@pytest.mark.parametrize("kind", ["vit", "vit with registers"])
@pytest.mark.parametrize("depth", ["deep", "shallow"])
def test_it_stacks_with_prompts_that_lengthen_the_sequence(name, kind, depth):
    backbone = MINIATURES[kind]()
    pat = make_pat(name, {"vpt.length": 3, "vpt.depth": depth, "vpt.layers": "1-2"})
    check_pat(pat, backbone, raw_batch(backbone))
    prompts = make_pat("vpt", {"length": 3, "depth": depth, "layers": "1-2"}).grow(backbone, 0)
    base = entering_block(backbone, 1)
    delta = nudged(Pasta().grow(backbone, 0))
    with torch.no_grad():
        delta.vectors[0] = 0.0  # what enters block 1 then differs by its own vectors alone
    change = (entering_block(backbone, 1) - base)[0]
    start = backbone.prefix_tokens
    assert len(change) == backbone.tokens + 3
    assert torch.allclose(change[:start], delta.vectors[1], atol=1e-5) and not change[start:].any()
    delta.detach()
    prompts.detach()


def test_a_backbone_without_special_tokens_is_refused():
    backbone = odd_vit("bare", class_token=False, global_pool="avg")
    assert backbone.special_tokens == 0
    for pat in (Pasta(special=1), Pasta()):
        check_refused(pat, backbone, "'pasta' needs special tokens .*backbone 'bare' have none.*'vpt'", UnfitError)
    assert "pasta" not in fitting(backbone) and "vpt" in fitting(backbone)


@pytest.mark.parametrize("layers", ["3", "0-3", "two"])
def test_layers_that_the_backbone_does_not_have_are_refused(layers):
    check_refused(Pasta(layers=layers), tiny_vit(), f"layers '{layers}'")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"special": 0}, "special = 0"),
        ({"special": "two"}, "special = 'two'"),
        ({"specials": 2}, "Did you mean 'special'"),
    ],
)
def test_settings_out_of_range_are_named(values, words):
    with pytest.raises(FrostlineError) as caught:
        Pasta.parse(values, "PAT 'pasta'")
    assert words in str(caught.value)


def test_a_delta_cannot_be_folded():
    delta = Pasta().grow(tiny_vit(), 0)
    assert not delta.mergeable and not Pasta.mergeable
    with pytest.raises(FrostlineError, match="Pasta cannot be folded into weights"):
        delta.merged()


@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_half_precision_starts_as_the_identity_too(kind):
    check_identity_in_bf16(Pasta(), MINIATURES[kind]())
