"""What is seen of a forward pass is what the model itself computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.preprocess import Preprocessing
from backbones.lifecycle.distill.trace import MASKED, Trace, real_tokens
from backbones.testing_models import (
    raw_batch,
    tiny_bert,
    tiny_clip,
    tiny_distilbert,
    tiny_roberta,
    tiny_transformers_vit,
    tiny_vit,
)
from backbones.vit import from_timm

TRANSFORMERS = [tiny_bert, tiny_roberta, tiny_distilbert, tiny_transformers_vit, tiny_clip]
LAYERS = [0, 1, 2]


def normed_vit() -> Backbone:
    """A timm ViT with norms on queries and keys, which the scores have to include."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = VisionTransformer(16, 4, embed_dim=24, depth=3, num_heads=2, num_classes=0, qk_norm=True)
    with torch.no_grad():
        for block in module.blocks:
            block.attn.q_norm.weight.mul_(3.0)
    return from_timm(module, "tiny-normed", Preprocessing(16))


def seen(backbone: Backbone, batch: Tensor) -> tuple[Tensor, Any]:
    with torch.no_grad(), Trace(backbone, LAYERS) as trace:
        return trace.run(batch)


@pytest.mark.parametrize("make", TRANSFORMERS)
def test_scores_through_softmax_are_the_attention_that_transformers_reports(make: Callable[[], Backbone]) -> None:
    backbone = make()
    batch = backbone.preprocessing(raw_batch(backbone, 6))
    _, found = seen(backbone, batch)
    module: Any = backbone.module
    module.set_attn_implementation("eager")
    inputs = {"pixel_values": batch}
    if backbone.modality == "text":
        inputs = {"input_ids": batch[:, 0], "attention_mask": batch[:, 1]}
    with torch.no_grad():
        wanted = module(**inputs, output_attentions=True).attentions
    assert len(wanted) == 3
    for layer, attention in enumerate(wanted):
        torch.testing.assert_close(found.scores[layer].softmax(-1), attention, atol=1e-6, rtol=0)


@pytest.mark.parametrize("make", [tiny_vit, lambda: tiny_vit(registers=2), normed_vit])
def test_scores_through_softmax_are_the_attention_of_timm(make: Callable[[], Backbone]) -> None:
    backbone = make()
    batch = backbone.preprocessing(raw_batch(backbone, 3))
    _, found = seen(backbone, batch)
    wanted: list[Tensor] = []
    module: Any = backbone.module
    for block in module.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_pre_hook(lambda _, args: wanted.append(args[0]))
    _, stepwise = seen(backbone, batch)
    assert len(wanted) == 3
    for layer, attention in enumerate(wanted):
        torch.testing.assert_close(found.scores[layer].softmax(-1), attention, atol=1e-6, rtol=0)
        # attention that is computed step by step is seen as well
        torch.testing.assert_close(stepwise.scores[layer].softmax(-1), attention, atol=1e-6, rtol=0)


@pytest.mark.parametrize("make", [tiny_bert, tiny_roberta, tiny_transformers_vit])
def test_states_are_those_that_transformers_reports(make: Callable[[], Backbone]) -> None:
    backbone = make()
    batch = backbone.preprocessing(raw_batch(backbone, 4))
    features, found = seen(backbone, batch)
    inputs = {"pixel_values": batch}
    if backbone.modality == "text":
        inputs = {"input_ids": batch[:, 0], "attention_mask": batch[:, 1]}
    with torch.no_grad():
        states = backbone.module(**inputs, output_hidden_states=True).hidden_states
        torch.testing.assert_close(backbone.features(batch), features, atol=0, rtol=0)
    real = real_tokens(backbone, batch)
    rows = slice(None) if real is None else real
    torch.testing.assert_close(found.embedding[rows], states[0][rows], atol=1e-6, rtol=0)
    for layer in LAYERS:
        torch.testing.assert_close(found.hidden[layer][rows], states[layer + 1][rows], atol=1e-5, rtol=0)


def test_only_what_is_asked_for_is_kept_and_nothing_stays_behind() -> None:
    backbone = tiny_bert()
    batch = backbone.preprocessing(raw_batch(backbone))
    before = backbone.fingerprint()
    with Trace(backbone, [1], embedding=False, scores=False) as trace:
        _, found = trace.run(batch)
    assert (found.embedding, list(found.hidden), list(found.scores)) == (None, [1], [])
    assert backbone.fingerprint() == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in backbone.module.modules())


def test_padding_is_masked_in_scores_and_no_other_pair() -> None:
    backbone = tiny_bert()
    batch = backbone.preprocessing(["a cat", "the red dog runs to my bank now please where is the cat"])
    _, found = seen(backbone, batch)
    real = real_tokens(backbone, batch)
    assert real is not None
    allowed = found.scores[0] > MASKED
    assert torch.equal(allowed, real[:, None, None, :].expand_as(allowed))


def test_attention_without_a_softmax_is_refused() -> None:
    backbone = tiny_vit()
    module: Any = backbone.module
    module.blocks[1].attn.forward = lambda x, **_: x
    with Trace(backbone, [1]) as trace, pytest.raises(FrostlineError, match=r"blocks\.1\.attn.*ran 0 softmaxes"):
        trace.run(backbone.preprocessing(raw_batch(backbone)))
