"""Text encoders of transformers (BERT, RoBERTa, DistilBERT and their kin) as Backbones, by a table of layouts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.functional import normalize

from backbones.base import Backbone
from backbones.core.errors import FrostlineError, unknown
from backbones.core.reading import read_json
from backbones.core.tokens import TextPreprocessing
from backbones.vit import Layout, find_sites

POOLINGS = {
    "mean": "the mean over all tokens of a text",
    "cls": "the first token, [CLS] or <s>",
}
BERT = Layout(
    embed="embeddings",
    blocks="encoder.layer",
    inner={
        "attn": ("attention.self",),
        "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
        "proj": ("attention.output.dense",),
        "norm": ("attention.output.LayerNorm", "output.LayerNorm"),
        "fc1": ("intermediate.dense",),
        "fc2": ("output.dense",),
    },
    first="embeddings.LayerNorm",
)
DISTILBERT = Layout(
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
LAYOUTS = {
    "BertModel": BERT,
    "RobertaModel": BERT,
    "XLMRobertaModel": BERT,
    "CamembertModel": BERT,
    "ElectraModel": BERT,
    "DistilBertModel": DISTILBERT,
}


def from_encoder(
    module: Any,
    name: str,
    preprocessing: TextPreprocessing,
    *,
    pooling: str = "mean",
    normalised: bool = False,
    notes: tuple[str, ...] = (),
) -> Backbone:
    """View a transformers text encoder as a Backbone.

    Args:
        module: the model without any head.
        name: what the user called it.
        preprocessing: how texts become batches.
        pooling: what the feature is, see ``POOLINGS``.
        normalised: whether features are divided by their length.
        notes: remarks of the loader.

    Raises:
        FrostlineError: a model whose sites are not known, or an unknown pooling.
    """
    kind = type(module).__name__
    if kind not in LAYOUTS:
        raise FrostlineError(
            f"backbone {name!r} is a {kind}, whose sites are not known. Known: {', '.join(sorted(LAYOUTS))}. "
            "A package can register it under the entry-point group backbones.models."
        )
    if pooling not in POOLINGS:
        raise unknown("pooling", pooling, POOLINGS)
    config = module.config
    return Backbone(
        name=name,
        module=module,
        sites=find_sites(module, LAYOUTS[kind]),
        width=int(config.hidden_size),
        tokens=min(preprocessing.window, USUAL_TOKENS),
        prefix_tokens=1,
        patch=0,
        preprocessing=preprocessing,
        read=Reading(pooling, normalised),
        modality="text",
        special=lambda batch: batch[:, 2].bool(),
        special_tokens=int(preprocessing.tokenizer.num_special_tokens_to_add()),
        notes=notes,
    )


USUAL_TOKENS = 64  # of a sentence or two: decides how many texts go forward at a time


@dataclass(frozen=True)
class Reading:
    """How the feature of a text is read: the pooling, see ``POOLINGS``, and whether it is divided by its length."""

    pooling: str
    normalised: bool

    def __call__(self, module: Any, batch: Tensor) -> Tensor:
        """Return features, float of shape (batch, width)."""
        ids, mask = batch[:, 0], batch[:, 1].bool()
        # A mask of four dimensions is used as it is. Of two dimensions, transformers drops it when nothing is padded
        # and takes another kernel: the same text would have other bits in other company.
        seen = mask[:, None, None, :].expand(-1, 1, ids.shape[1], -1)
        return self.pool(module(input_ids=ids, attention_mask=seen).last_hidden_state, mask)

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return features of hidden states (batch, tokens, width) under a mask (batch, tokens), True on tokens."""
        if self.pooling == "cls":
            found = states[:, 0]
        else:
            weights = mask.to(states.dtype)[..., None]
            found = (states * weights).sum(dim=1) / weights.sum(dim=1)
        return normalize(found, dim=1) if self.normalised else found


def pooling_of(folder: Path) -> tuple[str | None, bool]:
    """Return (pooling, whether normalised) that a sentence-transformers folder states, (None, False) if it does not.

    Raises:
        FrostlineError: its pooling is none of ours.
    """
    try:
        steps = read_json(folder / "modules.json")
    except (OSError, ValueError):
        return None, False
    kinds = {str(step.get("type", "")).rpartition(".")[2]: str(step.get("path", "")) for step in steps}
    if "Pooling" not in kinds:
        return None, False
    stated = read_json(folder / kinds["Pooling"] / "config.json")
    modes = [key for key, value in stated.items() if key.startswith("pooling_mode_") and value is True]
    known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    if stated.get("pooling_mode") in POOLINGS:
        return str(stated["pooling_mode"]), "Normalize" in kinds
    if len(modes) != 1 or modes[0] not in known or "Dense" in kinds:
        dense = " and a dense layer" if "Dense" in kinds else ""
        raise FrostlineError(
            f"{folder} pools by {', '.join(modes) or 'unknown means'}{dense}, "
            f"which we do not have; choose one with pooling: {', '.join(POOLINGS)}."
        )
    return known[modes[0]], "Normalize" in kinds
