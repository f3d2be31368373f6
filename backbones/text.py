"""Text encoders of transformers (BERT, DeBERTa, T5's encoder ...) as Backbones, by a table of layouts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from backbones.base import Backbone, Beside
from backbones.core.artifacts import digest_tensors
from backbones.core.errors import FrostlineError, unknown
from backbones.core.tokens import TextPreprocessing
from backbones.vit import Layout, find_sites

POOLINGS = {
    "mean": "the mean over all tokens of a text",
    "cls": "the first token, [CLS] or <s>",
    "max": "the greatest value over all tokens, number by number",
    "mean_sqrt_len": "the sum over all tokens, divided by the root of their number",
    "weightedmean": "the mean over all tokens, the n-th weighing n",
    "lasttoken": "the last token of a text",
}


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    weights = mask.to(states.dtype)[..., None]
    return (states * weights).sum(dim=1) / weights.sum(dim=1)


def _mean_sqrt_len(states: Tensor, mask: Tensor) -> Tensor:
    weights = mask.to(states.dtype)[..., None]
    return (states * weights).sum(dim=1) / weights.sum(dim=1).sqrt()


def _weightedmean(states: Tensor, mask: Tensor) -> Tensor:
    weights = mask.to(states.dtype).cumsum(dim=1)[..., None] * mask.to(states.dtype)[..., None]
    return (states * weights).sum(dim=1) / weights.sum(dim=1)


def _lasttoken(states: Tensor, mask: Tensor) -> Tensor:
    last = mask.long().cumsum(dim=1).argmax(dim=1)
    return states[torch.arange(len(states), device=states.device), last]


POOLERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": _mean,
    "cls": lambda states, _: states[:, 0],
    "max": lambda states, mask: states.masked_fill(~mask[..., None], -torch.inf).amax(dim=1),
    "mean_sqrt_len": _mean_sqrt_len,
    "weightedmean": _weightedmean,
    "lasttoken": _lasttoken,
}


@dataclass(frozen=True)
class TextLayout(Layout):
    """Where one family of text encoders keeps its sites, and what is peculiar to its blocks.

    Args:
        masks: whether the model makes the masks of its attentions itself, from one of two dimensions, and every text
            keeps a place of padding; else it takes one of four dimensions as it is.
        beside: what a block returns beside the hidden states, see ``Backbone``; None: it returns them alone.
        lengthens: see ``Backbone``.
        prepare: changes the model once, before sites are looked for; returns what to tell the user.
    """

    masks: bool = False
    beside: Beside | None = None
    lengthens: bool = True
    prepare: Callable[[Any], tuple[str, ...]] | None = None


def _biases(block: Any, tokens: Tensor, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what a block of T5 hands on: the biases of positions, which the first block makes for all."""
    made = args[1] if len(args) > 1 else None
    if made is None and hasattr(block, "layer"):  # no shell in place of one
        attention = block.layer[0].SelfAttention
        made = attention.compute_bias(tokens.shape[1], tokens.shape[1], device=tokens.device)
    return made, None


def _own_blocks(module: Any) -> tuple[str, ...]:
    """Give every layer of an ALBERT a block of its own: deltas act on one layer, not on all that share its weights."""
    config, encoder = module.config, module.encoder
    layers, groups = int(config.num_hidden_layers), int(config.num_hidden_groups)
    if layers == groups:
        return ()
    held = encoder.albert_layer_groups
    blocks = [copy.deepcopy(held[int(layer / (layers / groups))]) for layer in range(layers)]
    encoder.albert_layer_groups = nn.ModuleList(blocks)
    config.num_hidden_groups = layers
    return (f"its {layers} layers share {groups} block{'s' * (groups > 1)}; each got a copy of its own",)


_BERT_INNER = {
    "attn": ("attention.self",),
    "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "proj": ("attention.output.dense",),
    "norm": ("attention.output.LayerNorm", "output.LayerNorm"),
    "fc1": ("intermediate.dense",),
    "fc2": ("output.dense",),
}
BERT = TextLayout(embed="embeddings", blocks="encoder.layer", inner=_BERT_INNER, first="embeddings.LayerNorm")
DEBERTA = TextLayout(
    embed="embeddings",
    blocks="encoder.layer",
    inner={
        **_BERT_INNER,
        "qkv": ("attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"),
    },
    first="embeddings.LayerNorm",
    masks=True,
    beside=lambda *_: (None,),
    lengthens=False,
)
MPNET = TextLayout(
    embed="embeddings",
    blocks="encoder.layer",
    inner={
        **_BERT_INNER,
        "attn": ("attention.attn",),
        "qkv": ("attention.attn.q", "attention.attn.k", "attention.attn.v"),
        "proj": ("attention.attn.o",),
        "norm": ("attention.LayerNorm", "output.LayerNorm"),
    },
    first="embeddings.LayerNorm",
    masks=True,
    beside=lambda *_: (),
)
DISTILBERT = TextLayout(
    embed="embeddings",
    blocks="transformer.layer",
    inner={
        "attn": ("attention",),
        "qkv": ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        "proj": ("attention.out_lin",),
        "norm": ("sa_layer_norm", "output_layer_norm"),
        "fc1": ("ffn.lin1",),
        "fc2": ("ffn.lin2",),
    },
    first="embeddings.LayerNorm",
)
ALBERT = TextLayout(
    embed="embeddings",
    blocks="encoder.albert_layer_groups",
    inner={
        "attn": ("albert_layers.0.attention",),
        "qkv": tuple(f"albert_layers.0.attention.{name}" for name in ("query", "key", "value")),
        "proj": ("albert_layers.0.attention.dense",),
        "norm": ("albert_layers.0.attention.LayerNorm", "albert_layers.0.full_layer_layer_norm"),
        "fc1": ("albert_layers.0.ffn",),
        "fc2": ("albert_layers.0.ffn_output",),
    },
    first="embeddings.LayerNorm",
    prepare=_own_blocks,
)
MODERNBERT = TextLayout(
    embed="embeddings",
    blocks="layers",
    inner={
        "norm": ("attn_norm", "mlp_norm"),
        "attn": ("attn",),
        "qkv": ("attn.Wqkv",),
        "proj": ("attn.Wo",),
        "fc1": ("mlp.Wi",),
        "fc2": ("mlp.Wo",),
    },
    first="embeddings.norm",
    final="final_norm",
    masks=True,
    lengthens=False,
)
_T5_INNER = {
    "norm": ("layer.0.layer_norm", "layer.1.layer_norm"),
    "attn": ("layer.0.SelfAttention",),
    "qkv": tuple(f"layer.0.SelfAttention.{name}" for name in "qkv"),
    "proj": ("layer.0.SelfAttention.o",),
    "fc1": tuple(f"layer.1.DenseReluDense.{name}" for name in ("wi", "wi_0", "wi_1")),
    "fc2": ("layer.1.DenseReluDense.wo",),
}
T5 = TextLayout(
    embed="encoder.embed_tokens",
    blocks="encoder.block",
    inner=_T5_INNER,
    final="encoder.final_layer_norm",
    masks=True,
    beside=_biases,
    lengthens=False,
)
UMT5 = replace(T5, beside=None)  # every block makes biases of its own
LAYOUTS = {
    "AlbertModel": ALBERT,
    "BertModel": BERT,
    "CamembertModel": BERT,
    "DebertaV2Model": DEBERTA,
    "DistilBertModel": DISTILBERT,
    "ElectraModel": BERT,
    "MPNetModel": MPNET,
    "MT5EncoderModel": T5,
    "ModernBertModel": MODERNBERT,
    "RobertaModel": BERT,
    "T5EncoderModel": T5,
    "UMT5EncoderModel": UMT5,
    "XLMRobertaModel": BERT,
}


def no_layout(name: str, kind: str) -> FrostlineError:
    """Make the error for a text model of a class whose sites are not known."""
    return FrostlineError(
        f"backbone {name!r} is a {kind}, whose sites are not known. Text encoders that are: "
        f"{', '.join(sorted(LAYOUTS))}. A package can register it under the entry-point group backbones.models."
    )


def prepare(module: Any) -> tuple[str, ...]:
    """Change a model of transformers as its family needs it, see ``TextLayout``; returns what to tell the user."""
    change = getattr(LAYOUTS.get(type(module).__name__), "prepare", None)
    return change(module) if change is not None else ()


def set_depth(config: Any, blocks: Sequence[int | None]) -> None:
    """Tell a configuration of transformers how many blocks there are.

    Args:
        config: changed in place.
        blocks: for each, the number of the old one that it is like; None for any.
    """
    kinds = getattr(config, "layer_types", None)
    if isinstance(kinds, list | tuple):
        config.layer_types = [kinds[block or 0] for block in blocks]
    config.num_hidden_layers = len(blocks)  # families that call it otherwise map this name
    if hasattr(config, "num_hidden_groups"):  # ALBERT's layers, each with a block of its own
        config.num_hidden_groups = len(blocks)


def from_encoder(
    module: Any,
    name: str,
    preprocessing: TextPreprocessing,
    *,
    pooling: str = "mean",
    normalised: bool = False,
    dense: Dense | None = None,
    notes: tuple[str, ...] = (),
) -> Backbone:
    """View a transformers text encoder as a Backbone.

    Args:
        module: the model without any head.
        name: what the user called it.
        preprocessing: how texts become batches.
        pooling: what the feature is, see ``POOLINGS``.
        normalised: whether features are divided by their length.
        dense: what pooled states go through before that.
        notes: remarks of the loader.

    Raises:
        FrostlineError: a model whose sites are not known, or an unknown pooling.
    """
    kind = type(module).__name__
    if kind not in LAYOUTS:
        raise no_layout(name, kind)
    if pooling not in POOLINGS:
        raise unknown("pooling", pooling, POOLINGS)
    layout = LAYOUTS[kind]
    said = prepare(module)
    if layout.masks:
        preprocessing = preprocessing.padded(_positions(module))
    return Backbone(
        name=name,
        module=module,
        sites=find_sites(module, layout),
        width=int(module.config.hidden_size),
        tokens=min(preprocessing.window, USUAL_TOKENS),
        prefix_tokens=preprocessing.opening(),
        patch=0,
        preprocessing=preprocessing,
        read=Reading(pooling, normalised, layout.masks, dense),
        modality="text",
        special=lambda batch: batch[:, 2].bool(),
        special_tokens=int(preprocessing.tokenizer.num_special_tokens_to_add()),
        notes=(*notes, *said),
        beside=layout.beside,
        lengthens=layout.lengthens,
    )


def _positions(module: Any) -> int | None:
    """Return how many positions a table of the model counts; None for a model that counts without one."""
    table = getattr(module.get_submodule(LAYOUTS[type(module).__name__].embed), "position_embeddings", None)
    return int(table.num_embeddings) if table is not None and table.padding_idx is None else None


USUAL_TOKENS = 64  # of a sentence or two: decides how many texts go forward at a time


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Identity": lambda found: found,
    "Tanh": torch.tanh,
    "ReLU": torch.relu,
    "GELU": torch.nn.functional.gelu,
    "Sigmoid": torch.sigmoid,
}


@dataclass(frozen=True, eq=False)
class Dense:
    """A linear layer behind the pooling, as sentence-transformers calls it.

    Args:
        weight: float32, shape (width, width).
        bias: float32, shape (width,), None for none.
        activation: one of ``ACTIVATIONS``.
    """

    weight: Tensor
    bias: Tensor | None
    activation: str

    def __call__(self, found: Tensor) -> Tensor:
        """Return what becomes of pooled states, (batch, width)."""
        bias = None if self.bias is None else self.bias.to(found)
        return ACTIVATIONS[self.activation](torch.nn.functional.linear(found, self.weight.to(found), bias))

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights by the names that they have in a file."""
        return {"linear.weight": self.weight, **({} if self.bias is None else {"linear.bias": self.bias})}


@dataclass(frozen=True)
class Reading:
    """How the feature of a text is read.

    Args:
        pooling: see ``POOLINGS``.
        normalised: whether the feature is divided by its length.
        masks: whether the model makes its own masks, see ``TextLayout``.
        dense: what pooled states go through, None for nothing.
    """

    pooling: str
    normalised: bool
    masks: bool = False
    dense: Dense | None = None

    def described(self) -> dict[str, Any]:
        """Return what decides a feature beside the states, for keys."""
        dense = None if self.dense is None else [self.dense.activation, digest_tensors(self.dense.tensors())]
        return {"pooling": self.pooling, "normalised": self.normalised, "dense": dense}

    def __call__(self, module: Any, batch: Tensor) -> Tensor:
        """Return features, float of shape (batch, width)."""
        ids, mask = batch[:, 0], batch[:, 1].bool()
        if self.masks:  # padding, of which there is some, keeps the mask from being dropped
            return self.pool(module(input_ids=ids, attention_mask=mask.long()).last_hidden_state, mask)
        # A mask of four dimensions is used as it is. Of two dimensions, transformers drops it when nothing is padded
        # and takes another kernel: the same text would have other bits in other company.
        seen = mask[:, None, None, :].expand(-1, 1, ids.shape[1], -1)
        return self.pool(module(input_ids=ids, attention_mask=seen).last_hidden_state, mask)

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return features of hidden states (batch, tokens, width) under a mask (batch, tokens), True on tokens."""
        found = POOLERS[self.pooling](states, mask)
        found = found if self.dense is None else self.dense(found)
        return normalize(found, dim=1) if self.normalised else found
