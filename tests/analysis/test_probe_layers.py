"""Features of every layer: the last is the backbone's, the others those of a backbone that ends there."""

from collections.abc import Callable

import pytest
import torch

from backbones.analysis.layers import layer_features, layer_names, listening
from backbones.base import Backbone
from backbones.encoder import Encoder
from backbones.pat.vpt import Vpt
from backbones.testing_models import (
    raw_batch,
    tiny_bert,
    tiny_clip,
    tiny_distilbert,
    tiny_roberta,
    tiny_transformers_vit,
    tiny_vit,
)

MODELS: dict[str, Callable[[], Backbone]] = {
    "timm": tiny_vit,
    "registers, averaged": lambda: tiny_vit(registers=2, average=True),
    "transformers ViT": tiny_transformers_vit,
    "CLIP": tiny_clip,
    "BERT": tiny_bert,
    "BERT, first token": lambda: tiny_bert(pooling="cls"),
    "RoBERTa": tiny_roberta,
    "DistilBERT": tiny_distilbert,
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_the_last_layer_is_what_the_backbone_gives(make: Callable[[], Backbone]) -> None:
    backbone = make()
    raw = raw_batch(backbone, 7)
    wanted = Encoder(backbone, precision="fp32").features(raw)
    found = layer_features(backbone, raw, precision="fp32")
    assert found.shape == (7, backbone.depth + 1, backbone.width)
    assert torch.equal(found[:, -1], wanted)
    assert torch.equal(Encoder(backbone, precision="fp32").features(raw), wanted), "the backbone is as it was"


@pytest.mark.parametrize("depth", [1, 2])
def test_a_layer_is_what_a_shorter_backbone_gives(depth: int) -> None:
    whole, short = tiny_vit(), tiny_vit()
    raw = raw_batch(whole, 5)
    found = layer_features(whole, raw, precision="fp32")
    short.module.blocks = short.module.blocks[:depth]
    assert torch.equal(found[:, depth], layer_features(_of(short, depth), raw, precision="fp32")[:, -1])


def _of(backbone: Backbone, depth: int) -> Backbone:
    """View a backbone whose blocks were cut off as one of ``depth`` blocks."""
    backbone._sites = tuple(site for site in backbone.all_sites() if site.layer is None or site.layer < depth)
    return backbone


def test_the_first_is_the_mean_of_what_enters_the_blocks() -> None:
    backbone = tiny_bert()
    raw = ["the cat sleeps"]
    batch = backbone.preprocessing(raw)
    with torch.no_grad():
        states = backbone.module.embeddings(input_ids=batch[:, 0])
        mask = batch[:, 1, :, None].float()
        wanted = (states * mask).sum(1) / mask.sum(1)
    assert torch.allclose(layer_features(backbone, raw, precision="fp32")[:, 0], wanted, atol=1e-6)


def test_blocks_run_once_for_each_batch() -> None:
    backbone = tiny_vit()
    calls = []
    for layer in range(3):
        backbone.module.blocks[layer].mlp.register_forward_hook(lambda *_, layer=layer: calls.append(layer))
    layer_features(backbone, raw_batch(backbone, 6), chunk=3, precision="fp32")
    assert calls == [0, 1, 2] * 2


def test_company_and_order_do_not_matter() -> None:
    backbone = tiny_bert()
    raw = raw_batch(backbone, 9)
    whole = layer_features(backbone, raw, precision="fp32")
    assert torch.equal(layer_features(backbone, raw[::-1], precision="fp32"), whole.flip(0))
    assert torch.equal(layer_features(backbone, raw[4:5], precision="fp32")[0], whole[4])


def test_a_delta_on_the_backbone_is_heard_and_survives() -> None:
    backbone = tiny_vit()
    raw = raw_batch(backbone, 4)
    plain = layer_features(backbone, raw, precision="fp32")
    delta = Vpt(length=2).grow(backbone, 0)
    with torch.no_grad():
        for param in delta.parameters():
            param.normal_(generator=torch.Generator().manual_seed(0))
    tuned = layer_features(backbone, raw, precision="fp32")
    assert torch.equal(tuned[:, -1], Encoder(backbone, delta, precision="fp32").features(raw))
    assert not torch.equal(tuned, plain) and delta.attached
    delta.detach()
    assert torch.equal(layer_features(backbone, raw, precision="fp32"), plain)


def test_hidden_states_are_those_between_the_blocks() -> None:
    backbone = tiny_bert()
    batch = backbone.preprocessing(["the red cat runs"])
    with listening(backbone) as (_, states), torch.no_grad():
        found = states(batch)
    wanted = backbone.module(
        input_ids=batch[:, 0], attention_mask=batch[:, 1].bool()[:, None, None], output_hidden_states=True
    ).hidden_states
    assert len(found) == len(wanted) == len(layer_names(backbone.depth))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, wanted, strict=True))


def test_progress_and_no_samples() -> None:
    backbone, told = tiny_vit(), []
    layer_features(backbone, raw_batch(backbone, 5), chunk=2, progress=lambda *told_: told.append(told_))
    assert [done for _, done, _ in told] == [0, 2, 4, 5] and {total for *_, total in told} == {5}
    assert layer_features(backbone, []).shape == (0, 4, 24)
