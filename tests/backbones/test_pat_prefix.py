"""The laws of prefix tuning, against attention written out as a softmax."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import _get_current_function_mode_stack

from backbones.core.errors import FrostlineError
from backbones.pat.attention import BesideKeys
from backbones.pat.prefix import Prefix
from backbones.pat.sites import UnfitError
from backbones.pat.vpt import Vpt
from backbones.testing import (
    check_pat,
    raw_batch,
    tiny_bert,
    tiny_clip,
    tiny_distilbert,
    tiny_roberta,
    tiny_transformers_vit,
    tiny_vit,
)
from backbones.text import from_encoder

KINDS = {
    "registers and average pooling": lambda: tiny_vit(registers=2, average=True),
    "transformers ViT": tiny_transformers_vit,
    "CLIP": tiny_clip,
    "BERT": tiny_bert,
    "RoBERTa, [CLS]": lambda: tiny_roberta(pooling="cls"),
    "DistilBERT": tiny_distilbert,
}


def features(backbone, batch):
    with torch.no_grad():
        return backbone.features(batch)


def batch_of(backbone, count=4):
    return backbone.preprocessing(raw_batch(backbone, count))


def written_out(query, key, value, keys, values, mask, causal=False):
    """Attention with a prefix as a softmax, one query at a time; the mask is bool, (n, heads or 1, queries, keys)."""
    n, heads, tokens, size = query.shape
    out = torch.zeros(n, heads, tokens, value.shape[-1])
    for i in range(n):
        for h in range(heads):
            for t in range(tokens):
                seen = [j for j in range(key.shape[2]) if not (causal and j > t)]
                if mask is not None:
                    seen = [j for j in seen if bool(mask[i, min(h, mask.shape[1] - 1), t, j])]
                all_keys = torch.cat([keys[h], key[i, h, seen]])
                weights = torch.softmax(all_keys @ query[i, h, t] / math.sqrt(size), dim=0)
                out[i, h, t] = weights @ torch.cat([values[h], value[i, h, seen]])
    return out


def random_attention(seed, n=2, heads=2, tokens=5, size=4, count=3):
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(n, heads, tokens, size, generator=generator) for _ in range(3))
    keys, values = (torch.randn(heads, count, size, generator=generator) for _ in range(2))
    return query, key, value, keys, values


@pytest.mark.parametrize(
    "shape", [(2, 1, 1, 5), (2, 1, 5, 5), (2, 2, 5, 5), (1, 1, 5, 5), (5, 5), (2, 1, 5, 1)], ids=str
)
@pytest.mark.parametrize("form", ["bool", "float"])
def test_masks_of_every_shape_leave_the_prefix_open(shape, form):
    query, key, value, keys, values = random_attention(0)
    allowed = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.6
    mask = allowed if form == "bool" else torch.zeros(shape).masked_fill(~allowed, -torch.inf)
    with BesideKeys(lambda heads, size: (keys, values)):
        found = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    wanted = written_out(
        query, key, value, keys, values, allowed.expand(2, -1, 5, 5) if len(shape) == 4 else allowed.expand(2, 1, 5, 5)
    )
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_without_a_mask_every_query_attends_to_the_prefix(causal):
    query, key, value, keys, values = random_attention(2)
    with BesideKeys(lambda heads, size: (keys, values)) as mode:
        found = scaled_dot_product_attention(query, key, value, is_causal=causal)
    assert torch.allclose(found, written_out(query, key, value, keys, values, None, causal), rtol=1e-5, atol=1e-6)
    assert mode.met == [key.shape]


def test_fewer_heads_of_keys_than_of_queries_have_prefixes_of_their_own():
    query, key, value, keys, values = random_attention(3, heads=4)
    with BesideKeys(lambda heads, size: (keys[:heads], values[:heads])):
        found = scaled_dot_product_attention(query, key[:, :2], value[:, :2], enable_gqa=True)
    twice = [0, 0, 1, 1]
    wanted = written_out(query, key[:, twice], value[:, twice], keys[twice], values[twice], None)
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_dropout_of_the_attention_reaches_the_prefix_and_gradients_do_too():
    query, key, value, keys, values = random_attention(4)
    keys.requires_grad_()
    values.requires_grad_()
    with torch.random.fork_rng(devices=[]), BesideKeys(lambda heads, size: (keys, values)):
        torch.manual_seed(0)
        dropped = scaled_dot_product_attention(query, key, value, dropout_p=0.5)
        calm = scaled_dot_product_attention(query, key, value)
    assert not torch.allclose(dropped, calm)
    dropped.sum().backward()
    assert keys.grad.abs().sum() > 0 and values.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "values", [{"projection": 5, "length": 3}, {"layers": "1-2", "length": 1}, {"length": 0}], ids=str
)
@pytest.mark.parametrize("kind", ["registers and average pooling", "transformers ViT", "BERT", "DistilBERT"])
def test_every_kind_of_prefix_meets_the_contract(kind, values):
    backbone = KINDS[kind]()
    check_pat(Prefix(**values), backbone, raw_batch(backbone))


@pytest.mark.parametrize("layers", ["all", "0,2"])
def test_on_bert_features_are_those_of_the_written_out_forward_pass(layers):
    backbone = tiny_bert(pooling="cls")
    batch, model = batch_of(backbone), backbone.module
    delta = Prefix(length=3, std=1.0, layers=layers).grow(backbone, 0)
    found, table = features(backbone, batch), delta.table().detach()
    delta.detach()
    mask = batch[:, 1].bool()[:, None, None, :].expand(-1, 1, batch.shape[2], -1)
    chosen = {"all": [0, 1, 2], "0,2": [0, 2]}[layers]

    def heads_of(states):
        return states.unflatten(-1, (2, 12)).transpose(-3, -2)

    with torch.no_grad():
        tokens = model.embeddings(input_ids=batch[:, 0])
        for index, block in enumerate(model.encoder.layer):
            inner = block.attention.self
            query, key, value = (heads_of(linear(tokens)) for linear in (inner.query, inner.key, inner.value))
            empty = torch.zeros(2, 0, 24)
            keys, values = map(heads_of, table[chosen.index(index)] if index in chosen else empty)
            attended = written_out(query, key, value, keys, values, mask).transpose(1, 2).flatten(2)
            attended = block.attention.output(attended, tokens)
            tokens = block.output(block.intermediate(attended), attended)
    assert torch.allclose(found, tokens[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prefix_has_no_order_and_no_prefix_is_the_base(kind):
    backbone = KINDS[kind]()
    batch = batch_of(backbone)
    base = features(backbone, batch)
    empty = Prefix(length=0).grow(backbone, 0)
    assert torch.equal(features(backbone, batch), base)
    assert empty.parameter_count == 0 and empty.first_layer == backbone.depth
    delta = Prefix(length=4, std=1.0).grow(backbone, 0)
    before = features(backbone, batch)
    assert not torch.allclose(before, base, atol=1e-3)
    with torch.no_grad():
        delta.pairs.copy_(delta.pairs[:, :, [2, 0, 3, 1]])
    assert torch.allclose(features(backbone, batch), before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["BERT", "RoBERTa, [CLS]", "DistilBERT"])
def test_padding_a_text_further_changes_nothing(kind):
    backbone = KINDS[kind]()
    batch = batch_of(backbone)
    Prefix(length=3, std=1.0).grow(backbone, 0)
    blank = torch.zeros(len(batch), 3, 8, dtype=torch.int64)
    blank[:, 0] = backbone.preprocessing.tokenizer.pad_token_id
    longer = torch.cat([batch, blank], dim=2)
    assert torch.allclose(features(backbone, longer), features(backbone, batch), rtol=1e-5, atol=1e-5)


def test_a_projection_gives_the_keys_and_values_of_its_table():
    backbone = tiny_vit()
    batch = batch_of(backbone)
    mapped = Prefix(length=3, projection=7, std=0.5).grow(backbone, 0)
    found, table = features(backbone, batch), mapped.table().detach()
    mapped.detach()
    assert table.shape == (3, 2, 3, 24)
    whole = torch.tanh(mapped.inner(mapped.embedding)) @ mapped.outer.weight.T + mapped.outer.bias
    assert torch.allclose(whole.reshape(3, 3, 2, 24).permute(1, 2, 0, 3), table, atol=1e-6)
    plain = Prefix(length=3).grow(backbone, 0)
    with torch.no_grad():
        plain.pairs.copy_(table)
    assert torch.allclose(features(backbone, batch), found, rtol=1e-6, atol=1e-6)
    assert torch.equal(plain.table(), plain.pairs)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 6), st.none() | st.integers(1, 9), st.sampled_from(["all", "1", "0,2"]))
def test_the_formula_counts_what_is_grown(length, projection, layers):
    backbone = tiny_bert()
    pat = Prefix(length=length, projection=projection, layers=layers)
    count = {"all": 3, "1": 1, "0,2": 2}[layers]
    wanted = 2 * length * 24 * count
    if projection is not None:
        wanted = length * 24 + (24 + 1) * projection + (projection + 1) * count * 2 * 24
    assert pat.grow(backbone, 0).parameter_count == pat.parameter_count(backbone) == wanted


def test_counts_need_no_weights():
    from transformers import BertConfig, BertModel

    small = tiny_bert()
    with torch.device("meta"):
        module = BertModel(BertConfig(), add_pooling_layer=False)
    backbone = from_encoder(module, "bert-base", small.preprocessing)
    # 2 * 12 layers * 768 numbers for each of 20 places
    assert Prefix(length=20).parameter_count(backbone) == 368_640
    assert Prefix(length=20).grow(backbone, 0).table().shape == (12, 2, 20, 768)


def test_the_start_is_normal_and_the_seed_decides_it_alone():
    backbone = tiny_vit()
    grown = [Prefix(length=500).grow(backbone, seed).table().detach() for seed in (0, 0, 1)]
    assert torch.equal(grown[0], grown[1]) and not torch.equal(grown[0], grown[2])
    assert abs(grown[0].mean()) < 1e-3 and grown[0].std().item() == pytest.approx(0.02, rel=0.02)
    mapped = Prefix(length=500, projection=64).grow(backbone, 0).table().detach()
    assert 0.3 * 0.02 < mapped.std() < 0.02


def eager_bert():
    backbone = tiny_bert()
    backbone.module.config._attn_implementation = "eager"
    return backbone


def eager_vit():
    backbone = tiny_vit()
    for block in backbone.module.blocks:
        block.attn.fused_attn = False
    return backbone


@pytest.mark.parametrize(
    ("make", "site"),
    [(eager_bert, r"encoder.layer.0.attention.self \(Bert"), (eager_vit, r"blocks.0.attn \(Attention")],
)
def test_an_attention_out_of_reach_is_refused_with_the_way_out(make, site):
    backbone = make()
    pat = Prefix()
    for call in (lambda: pat.grow(backbone, 0), lambda: pat.parameter_count(backbone)):
        with pytest.raises(UnfitError, match=rf'{site}.*attn_implementation="sdpa"'):
            call()
    assert not any("forward" in module.__dict__ for module in backbone.module.modules())


def test_an_attention_exchanged_later_does_not_lose_its_prefix_silently():
    backbone = tiny_vit()
    Prefix().grow(backbone, 0)
    backbone.module.blocks[1].attn.fused_attn = False
    with pytest.raises(UnfitError, match=r"blocks.1.attn \(Attention\) of backbone 'tiny-vit' computes its scores"):
        features(backbone, batch_of(backbone))


def test_keys_of_another_width_than_the_sites_say_are_refused():
    backbone = tiny_vit()
    backbone._sites = tuple(site for site in backbone._sites if site.role != "qkv")
    backbone.width = 48
    with pytest.raises(UnfitError, match=r"heads \* head width = 48; blocks.0.attn .* \(1, 2, 17, 12\)"):
        Prefix().grow(backbone, 0)


def test_a_backbone_without_attention_sites_is_refused():
    backbone = tiny_vit()
    backbone._sites = tuple(site for site in backbone._sites if site.role != "attn")
    with pytest.raises(UnfitError, match="PAT 'prefix' needs the site 'attn'"):
        Prefix().parameter_count(backbone)


def test_the_mode_is_left_when_a_forward_pass_breaks_off():
    backbone = tiny_vit()
    Prefix().grow(backbone, 0)

    def fail(*_):
        raise KeyboardInterrupt

    handle = backbone.module.blocks[1].attn.proj.register_forward_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        features(backbone, batch_of(backbone))
    handle.remove()
    assert _get_current_function_mode_stack() == []


def test_the_trial_run_takes_back_the_draws_of_other_deltas():
    backbone = tiny_vit()
    Vpt(dropout=0.5).grow(backbone, 0).train()
    before = torch.get_rng_state()
    Prefix().grow(backbone, 0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"length": -1}, "length = -1"),
        ({"std": -0.1}, "std = -0.1"),
        ({"projection": 0}, "projection = 0"),
        ({"lenght": 4}, "Did you mean 'length'"),
    ],
)
def test_settings_out_of_range_are_named(values, words):
    with pytest.raises(FrostlineError) as caught:
        Prefix.parse(values, "PAT 'prefix'")
    assert words in str(caught.value)
