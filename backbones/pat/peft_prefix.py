"""Prefix tuning as PEFT writes it: one table of keys and values, positions of the tokens after the prefix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.pat.peft_files import check_fields

# The table that PEFT saves is what a projection gives; its sizes stand in the table as well.
KNOWN = {"num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers"}
KNOWN |= {"encoder_hidden_size", "prefix_projection", "init_weights"}
TABLE = "prompt_embeddings"  # float, shape (length, layers * 2 * width): of each layer the keys, then the values


def config_of(backbone: Backbone, table: Tensor) -> dict[str, Any]:
    """Return PEFT's configuration for a ``table`` of shape (layers, 2, length, width)."""
    layers, _, length, width = table.shape
    config: Any = backbone.module.config
    return {
        "peft_type": "PREFIX_TUNING",
        "task_type": "FEATURE_EXTRACTION",
        "auto_mapping": None,
        "inference_mode": True,
        "num_virtual_tokens": length,
        "token_dim": width,
        "num_transformer_submodules": 1,
        "num_attention_heads": int(config.num_attention_heads),
        "num_layers": layers,
        "encoder_hidden_size": width,
        "prefix_projection": False,  # what a projection gives is written, as PEFT does it
    }


def tensors_of(table: Tensor) -> dict[str, Tensor]:
    """Return a table of shape (layers, 2, length, width) as PEFT lays it out."""
    return {TABLE: table.detach().permute(2, 0, 1, 3).flatten(1)}


def read_prefix(config: Mapping[str, Any], tensors: Mapping[str, Tensor], backbone: Backbone, width: int) -> Tensor:
    """Return the keys and values of an adapter of PEFT, float32 of shape (layers, 2, length, width).

    Args:
        config: of PEFT.
        tensors: ``prompt_embeddings`` alone.
        backbone: where.
        width: of the keys of the backbone, heads together.

    Raises:
        FrostlineError: other tensors, or a table of another model.
    """
    check_fields(config, KNOWN, {}, "plain tables of keys and values")
    others = sorted(set(tensors) - {TABLE})
    if TABLE not in tensors or others:
        said = f"it has {others[0]}" if others else f"it has no {TABLE}"
        raise FrostlineError(f"an adapter of prefix tuning holds {TABLE} alone; {said}: only plain ones can be read.")
    if config.get("num_transformer_submodules", 1) not in (1, None):
        raise FrostlineError(
            f"num_transformer_submodules = {config['num_transformer_submodules']}: the adapter is of an encoder with a "
            "decoder; only those of encoders can be read."
        )
    table, layers = tensors[TABLE], backbone.depth
    if table.ndim != 2 or table.shape[1] != layers * 2 * width:
        raise FrostlineError(
            f"{TABLE} has the shape {tuple(table.shape)}; backbone {backbone.name!r} needs (length, {layers} layers * "
            f"2 * {width}): the adapter is of another model."
        )
    return table.float().view(len(table), layers, 2, width).permute(1, 2, 0, 3).contiguous()
