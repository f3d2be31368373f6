"""Positions of a text's tokens: let them begin later, as if something stood in front."""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from typing import Any

from torch import Tensor, nn

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.delta import Delta
from backbones.pat.sites import UnfitError

TABLE = "position_embeddings"
CACHES = {"past_key_values", "cache"}  # what transformers calls keys and values in front, before and since 5.24


def check_shiftable(pat: str, backbone: Backbone) -> None:
    """Raise UnfitError unless ``backbone`` can read a text behind keys and values, with a learned row a position.

    Both are asked of classes: names of arguments deeper inside change with the version of transformers, and a delta may
    have put a wrap around the forward of this module.
    """
    module = backbone.module.get_submodule(backbone.sites("embed")[0].path)
    takes = CACHES & signature(type(backbone.module).forward).parameters.keys()
    if not takes or not isinstance(getattr(module, TABLE, None), nn.Embedding):
        raise UnfitError(
            f"PAT {pat!r} cannot shift the positions of backbone {backbone.name!r}: its embeddings "
            f"({type(module).__name__}) always count from the first. Leave shift off; BERT, RoBERTa, ELECTRA and their "
            "kin have it."
        )


def shift_positions(delta: Delta, pat: str, count: int) -> None:
    """Let the tokens of every text take the positions from ``count`` on.

    Args:
        delta: does it, see ``Delta.before``.
        pat: what the PAT is called, for messages.
        count: positions in front.

    Raises:
        UnfitError: see ``check_shiftable``.
    """
    backbone = delta.backbone
    check_shiftable(pat, backbone)
    embed = backbone.sites("embed")[0]
    site = replace(embed, layer=0, path=f"{embed.path}.{TABLE}")
    table: Any = backbone.module.get_submodule(site.path)
    blank = table.padding_idx  # RoBERTa keeps the rows up to this one for padding, whose tokens stay there
    room = int(table.num_embeddings) - (0 if blank is None else int(blank) + 1) - count

    def shifted(positions: Tensor) -> Tensor:
        length = positions.shape[-1]
        if length > room:
            raise FrostlineError(
                f"PAT {pat!r} with shift and length {count}: a text of {length} tokens needs "
                f"{length + count} positions, backbone {backbone.name!r} has {room + count}. Cut texts with "
                f"max_tokens = {max(room, 1)} or less, or leave shift off."
            )
        return positions + count if blank is None else positions + count * (positions != blank)

    delta.before(site, shifted)
