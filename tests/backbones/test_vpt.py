"""The laws of VPT, against published counts and forward passes written out over the blocks of timm and of BERT."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.core.errors import FrostlineError
from backbones.core.preprocess import Preprocessing
from backbones.delta import Delta
from backbones.pat.attention import lengthen
from backbones.pat.frozen import Frozen
from backbones.pat.vpt import Vpt
from backbones.testing import (
    raw_batch,
    tiny_bert,
    tiny_distilbert,
    tiny_roberta,
    tiny_transformers_vit,
    tiny_vit,
)
from backbones.vit import from_timm

KINDS = {
    "class token": tiny_vit,
    "registers": lambda: tiny_vit(registers=2),
    "registers and average pooling": lambda: tiny_vit(registers=2, average=True),
    "average pooling": lambda: tiny_vit(average=True),
    "transformers": tiny_transformers_vit,
    "BERT": tiny_bert,
    "BERT, [CLS]": lambda: tiny_bert(pooling="cls"),
    "RoBERTa": tiny_roberta,
    "DistilBERT": tiny_distilbert,
}
TIMM = [kind for kind in KINDS if "token" in kind or "registers" in kind or "average" in kind]
TEXT = ["BERT", "BERT, [CLS]", "RoBERTa", "DistilBERT"]


def batch_of(backbone, count=3):
    return backbone.preprocessing(raw_batch(backbone, count))


def features(backbone, batch):
    with torch.no_grad():
        return backbone.features(batch)


def reference(module, batch, prompts, layers):
    """VPT over timm's blocks: prompts (blocks, p, width) enter before ``layers``, after the special tokens."""
    start, length = module.num_prefix_tokens, prompts.shape[1]
    tokens = module.norm_pre(module.patch_drop(module._pos_embed(module.patch_embed(batch))))
    states = []
    for index, block in enumerate(module.blocks):
        if index in layers:
            skip = length if index > layers[0] else 0
            fresh = prompts[layers.index(index)].expand(len(batch), -1, -1)
            tokens = torch.cat([tokens[:, :start], fresh, tokens[:, start + skip :]], dim=1)
        if index >= layers[0]:
            states.append(tokens[:, start : start + length])
        tokens = block(tokens)
    tokens = module.norm(torch.cat([tokens[:, :start], tokens[:, start + length :]], dim=1))
    pooled = tokens[:, module.num_prefix_tokens :].mean(dim=1) if module.global_pool == "avg" else tokens[:, 0]
    return pooled, states


@pytest.mark.parametrize("kind", TIMM)
@pytest.mark.parametrize(
    "pat",
    [
        Vpt(length=3),
        Vpt(length=2, layers="1-2"),
        Vpt(length=2, layers="0,2"),
        Vpt(depth="shallow", length=4, layers="1"),
    ],
    ids=lambda pat: f"{pat.depth} {pat.layers}",
)
def test_features_are_those_of_the_written_out_forward_pass(kind, pat):
    backbone = KINDS[kind]()
    batch, base = batch_of(backbone), features(backbone, batch_of(backbone))
    delta = pat.grow(backbone, 0)
    found = features(backbone, batch)
    delta.detach()
    with torch.no_grad():
        wanted, _ = reference(backbone.module, batch, delta.prompts, pat.chosen(backbone))
    assert torch.allclose(found, wanted, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(found, base, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", ["shallow", "deep"])
def test_no_prompts_equal_the_base_bit_for_bit(kind, depth):
    backbone = KINDS[kind]()
    base = features(backbone, batch_of(backbone))
    delta = Vpt(depth=depth, length=0).grow(backbone, 0)
    assert torch.equal(features(backbone, batch_of(backbone)), base)
    assert delta.parameter_count == 0 and delta.first_layer == backbone.depth


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", ["shallow", "deep"])
def test_permuting_prompts_changes_nothing(kind, depth):
    backbone = KINDS[kind]()
    delta = Vpt(depth=depth, length=5).grow(backbone, 0)
    before = features(backbone, batch_of(backbone))
    with torch.no_grad():
        for slot in range(len(delta.prompts)):
            order = torch.randperm(5, generator=torch.Generator().manual_seed(slot))
            delta.prompts[slot] = delta.prompts[slot][order]
    after = features(backbone, batch_of(backbone))
    assert torch.allclose(after, before, rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        delta.prompts[0, 0] *= -3.0  # adding a constant would vanish in the LayerNorm
    assert not torch.allclose(features(backbone, batch_of(backbone)), before, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_deep_fed_with_the_states_of_the_shallow_run_equals_shallow(kind):
    backbone = KINDS[kind]()
    one = batch_of(backbone, 1)
    length, start = 4, backbone.prefix_tokens
    shallow = Vpt(depth="shallow", length=length).grow(backbone, 0)
    wanted, states = features(backbone, one), []
    watch = Delta(backbone, Frozen())
    for site in backbone.sites("block"):
        watch.before(site, lambda tokens: states.append(tokens[0, start : start + length].clone()) or tokens)
    features(backbone, one)
    watch.detach()
    shallow.detach()
    deep = Vpt(length=length).grow(backbone, 1)
    with torch.no_grad():
        deep.prompts.copy_(torch.stack(states))
    assert torch.allclose(features(backbone, one), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_stand_after_the_special_tokens_and_are_gone_behind_the_last_block(kind):
    backbone = KINDS[kind]()
    length, start, seen = 3, backbone.prefix_tokens, []
    watch = Delta(backbone, Frozen())
    for site in backbone.sites("block"):
        watch.before(site, lambda tokens: seen.append(tokens) or tokens)
    features(backbone, batch_of(backbone))
    bare, seen = seen[0], []
    delta = Vpt(length=length).grow(backbone, 0)
    probe = Delta(backbone, Frozen())
    entering, leaving = [], []
    for site in backbone.sites("block"):
        probe.before(site, lambda tokens: entering.append(tokens) or tokens)
    probe.after(backbone.sites("block")[-1], lambda tokens: leaving.append(tokens) or tokens)
    features(backbone, batch_of(backbone))
    assert [tokens.shape[1] for tokens in entering] == [bare.shape[1] + length] * backbone.depth
    assert torch.equal(entering[0][:, :start], bare[:, :start])
    assert torch.equal(entering[0][:, start + length :], bare[:, start:])
    for layer, tokens in enumerate(entering):
        assert torch.equal(tokens[:, start : start + length], delta.prompts[layer].expand(3, -1, -1))
    assert leaving[0].shape[1] == bare.shape[1]


def padded(backbone, batch, more):
    """The same texts with further padding."""
    blank = torch.zeros(len(batch), 3, more, dtype=torch.int64)
    blank[:, 0] = backbone.preprocessing.tokenizer.pad_token_id
    return torch.cat([batch, blank], dim=2)


@pytest.mark.parametrize("kind", TEXT)
@pytest.mark.parametrize("pat", [None, Vpt(length=3), Vpt(depth="shallow", length=5, layers="1")], ids=repr)
def test_padding_a_text_further_changes_nothing(kind, pat):
    backbone = KINDS[kind]()
    batch = batch_of(backbone, 4)
    base = features(backbone, batch)
    if pat is not None:
        pat.grow(backbone, 0)
        assert not torch.allclose(features(backbone, batch), base, atol=1e-3)
    found = features(backbone, batch)
    for more in (1, 4, 12):
        assert torch.allclose(features(backbone, padded(backbone, batch, more)), found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("precise", [torch.bool, torch.float32])
@pytest.mark.parametrize(("depth", "layers"), [("deep", "all"), ("deep", "0,2"), ("shallow", "1")])
def test_a_text_meets_prompts_as_in_the_written_out_forward_pass(depth, layers, precise):
    backbone, length = tiny_bert(), 3
    batch = batch_of(backbone, 4)
    pat = Vpt(depth=depth, layers=layers, length=length)
    delta = pat.grow(backbone, 0)
    found = features(backbone, batch)
    delta.detach()
    chosen, model = pat.chosen(backbone), backbone.module
    seen = batch[:, 1].bool()
    with torch.no_grad():
        tokens = model.embeddings(input_ids=batch[:, 0])
        for index, block in enumerate(model.encoder.layer):
            if index in chosen:
                fresh = delta.prompts[chosen.index(index)].expand(len(batch), -1, -1)
                rest = tokens[:, 1 + (length if index > chosen[0] else 0) :]
                tokens = torch.cat([tokens[:, :1], fresh, rest], dim=1)
            many = length if index >= chosen[0] else 0
            mask = torch.cat([seen[:, :1], torch.ones(len(batch), many, dtype=torch.bool), seen[:, 1:]], dim=1)
            mask = mask[:, None, None, :].expand(-1, 1, tokens.shape[1], -1)
            if precise == torch.float32:
                mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
            tokens = block(tokens, mask)
            tokens = tokens[0] if isinstance(tokens, tuple) else tokens
        tokens = torch.cat([tokens[:, :1], tokens[:, 1 + length :]], dim=1)
        weights = seen.float()[..., None]
        wanted = (tokens * weights).sum(1) / weights.sum(1)
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("precise", [torch.bool, torch.float32])
def test_a_mask_follows_the_sequence(rows, precise):
    allowed = (
        torch.tensor([[1, 1, 1, 0], [1, 0, 1, 1]], dtype=torch.bool)[:, None, None].expand(-1, 1, rows, -1).clone()
    )
    if rows > 1:
        allowed[:, :, 2] = False
    no = torch.finfo(torch.float32).min
    mask = allowed if precise == torch.bool else torch.zeros(allowed.shape).masked_fill(~allowed, no)
    longer = lengthen(mask, 1, 2)
    seen = longer if precise == torch.bool else longer == 0
    assert longer.dtype == precise and longer.shape == (2, 1, rows if rows == 1 else rows + 2, 6)
    assert seen[..., 1:3].all()
    kept = [0, 3, 4, 5]
    old = seen[..., kept] if rows == 1 else seen[:, :, kept][..., kept]
    assert torch.equal(old, allowed)
    if rows > 1:  # prompts attend as the first token does
        assert torch.equal(seen[:, :, 1], seen[:, :, 0]) and torch.equal(seen[:, :, 2], seen[:, :, 0])


def test_a_mask_for_all_keys_at_once_stays():
    mask = torch.ones(2, 2, 1, 1, dtype=torch.bool)
    assert lengthen(mask, 1, 3) is mask


@pytest.mark.parametrize("kind", ["registers", "RoBERTa"])
def test_special_tokens_are_found_among_prompts_until_they_are_taken_off(kind):
    backbone = KINDS[kind]()
    batch, found = batch_of(backbone), []
    watch = Delta(backbone, Frozen())
    for site in backbone.sites("block"):
        watch.before(site, lambda tokens: found.append(backbone.special(tokens.shape[1])) or tokens)
    features(backbone, batch)
    plain, start = found[0].clone(), backbone.prefix_tokens
    watch.detach()
    delta = Vpt(length=2, layers="1-2").grow(backbone, 0)
    found.clear()
    watch = Delta(backbone, Frozen())
    for site in backbone.sites("block"):
        watch.before(site, lambda tokens: found.append(backbone.special(tokens.shape[1])) or tokens)
    features(backbone, batch)
    assert torch.equal(found[0], plain)
    for special in found[1:]:
        assert not special[:, start : start + 2].any()
        assert torch.equal(torch.cat([special[:, :start], special[:, start + 2 :]], dim=1), plain)
    delta.detach()
    found.clear()
    features(backbone, batch)
    assert all(torch.equal(special, plain) for special in found) and not backbone._inserted


def on_meta(**sizes):
    from timm.models.vision_transformer import VisionTransformer

    with torch.device("meta"):
        module = VisionTransformer(num_classes=0, **sizes)
    return from_timm(module, "meta", Preprocessing(224))


def test_counts_are_those_published_for_vit_b():
    backbone = on_meta(embed_dim=768, depth=12, num_heads=12)
    assert (backbone.depth, backbone.width, backbone.patch, backbone.tokens) == (12, 768, 16, 197)
    assert Vpt(depth="shallow", length=50).parameter_count(backbone) == 38_400
    assert Vpt(depth="deep", length=50).parameter_count(backbone) == 460_800
    assert Vpt(length=50).grow(backbone, 0).parameter_count == 460_800


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["shallow", "deep"]),
    st.integers(0, 6),
    st.none() | st.integers(1, 7),
    st.sampled_from(["all", "1", "0,2"]),
)
def test_the_formula_counts_what_is_grown(depth, length, projection, layers):
    backbone = tiny_vit()
    pat = Vpt(depth=depth, length=length, projection=projection, layers=layers)
    delta = pat.grow(backbone, 0)
    assert delta.parameter_count == pat.parameter_count(backbone)
    blocks = 1 if depth == "shallow" else {"all": 3, "1": 1, "0,2": 2}[layers]
    assert delta.prompts.shape == (blocks, length, projection or 24)
    if length:
        assert delta.first_layer == (1 if layers == "1" else 0)


@pytest.mark.parametrize(("kind", "entering"), [("class token", 3 * 4**2), ("BERT", 24)])
@pytest.mark.parametrize("projection", [None, 8])
def test_the_start_is_uniform_within_the_papers_bound(projection, kind, entering):
    backbone = KINDS[kind]()
    prompts = Vpt(length=1000, projection=projection).grow(backbone, 0).prompts.detach()
    bound = math.sqrt(6 / (entering + (projection or 24)))
    assert prompts.abs().max() <= bound
    assert prompts.abs().max() > 0.999 * bound
    assert abs(prompts.mean()) < 0.02 * bound
    assert prompts.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_the_seed_decides_the_start_alone():
    backbone = tiny_vit()
    grown = [Vpt(length=4, projection=5).grow(backbone, seed).state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(grown[0][name], grown[1][name]) for name in grown[0])
    assert not torch.equal(grown[0]["prompts"], grown[2]["prompts"])
    assert not torch.equal(grown[0]["project.weight"], grown[2]["project.weight"])


def test_a_projection_maps_narrow_prompts_to_the_width():
    backbone = tiny_vit()
    narrow = Vpt(length=3, projection=5).grow(backbone, 0)
    found = features(backbone, batch_of(backbone))
    narrow.detach()
    wide = Vpt(length=3).grow(backbone, 0)
    with torch.no_grad():
        wide.prompts.copy_(narrow.prompts @ narrow.project.weight.T + narrow.project.bias)
    assert torch.allclose(features(backbone, batch_of(backbone)), found, rtol=1e-6, atol=1e-6)


def test_dropout_acts_in_training_only():
    backbone = tiny_vit()
    delta = Vpt(length=8, dropout=0.5).grow(backbone, 0).eval()
    calm = features(backbone, batch_of(backbone))
    assert torch.equal(features(backbone, batch_of(backbone)), calm)
    with torch.random.fork_rng(devices=[]):
        delta.train()
        assert not torch.equal(features(backbone, batch_of(backbone)), calm)
    delta.eval()
    assert torch.equal(features(backbone, batch_of(backbone)), calm)


@pytest.mark.parametrize("layers", ["3", "0-3", "two"])
def test_layers_that_the_backbone_does_not_have_are_refused(layers):
    backbone = tiny_vit()
    for call in (lambda: Vpt(layers=layers).grow(backbone, 0), lambda: Vpt(layers=layers).parameter_count(backbone)):
        with pytest.raises(FrostlineError, match=f"layers '{layers}'"):
            call()
    assert sum(len(module._forward_pre_hooks) for module in backbone.module.modules()) == 0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"length": -1}, "length = -1"),
        ({"length": 1001}, "length = 1001"),
        ({"dropout": 1.0}, "dropout = 1.0"),
        ({"projection": 0}, "projection = 0"),
        ({"depth": "deeper"}, "depth = 'deeper'"),
        ({"lenght": 4}, "Did you mean 'length'"),
    ],
)
def test_settings_out_of_range_are_named(values, words):
    with pytest.raises(FrostlineError) as caught:
        Vpt.parse(values, "PAT 'vpt'")
    assert words in str(caught.value)
