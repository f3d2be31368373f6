"""Positions of a text's tokens: let them begin later, as if something stood in front."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from torch import nn

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.delta import Delta
from backbones.pat.sites import UnfitError

OFFSET = "past_key_values_length"  # what embeddings of transformers call the number of positions in front


def check_shiftable(pat: str, backbone: Backbone) -> None:
    """Raise UnfitError unless the embeddings of ``backbone`` can count positions from another one than the first."""
    module = backbone.module.get_submodule(backbone.sites("embed")[0].path)
    # of the class: a delta may have put a wrap around the forward of this one
    if OFFSET not in signature(type(module).forward).parameters or not hasattr(module, "position_embeddings"):
        raise UnfitError(
            f"PAT {pat!r} cannot shift the positions of backbone {backbone.name!r}: its embeddings "
            f"({type(module).__name__}) always count from the first. Leave shift off; BERT, RoBERTa, ELECTRA and their "
            "kin have it."
        )


def shift_positions(delta: Delta, pat: str, count: int) -> None:
    """Let the tokens of every text take the positions from ``count`` on.

    Args:
        delta: does it, see ``Delta.around``.
        pat: what the PAT is called, for messages.
        count: positions in front.

    Raises:
        UnfitError: see ``check_shiftable``.
    """
    backbone = delta.backbone
    check_shiftable(pat, backbone)
    site = backbone.sites("embed")[0]
    table: Any = backbone.module.get_submodule(f"{site.path}.position_embeddings")
    room = _positions(table) - count

    def shifted(call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        ids = named["input_ids"] if named.get("input_ids") is not None else args[0]
        if ids.shape[1] > room:
            raise FrostlineError(
                f"PAT {pat!r} with shift and length {count}: a text of {ids.shape[1]} tokens needs "
                f"{ids.shape[1] + count} positions, backbone {backbone.name!r} has {room + count}. Cut texts with "
                f"max_tokens = {max(room, 1)} or less, or leave shift off."
            )
        return call(*args, **{**named, OFFSET: count})

    delta.around(site, shifted)


def _positions(table: nn.Embedding) -> int:
    """Return how many positions a table has; those of RoBERTa keep the first rows for padding."""
    return int(table.num_embeddings) - (0 if table.padding_idx is None else int(table.padding_idx) + 1)
