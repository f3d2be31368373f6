"""What PATs do to attention from outside: longer masks, and keys and values beside those of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from backbones.base import Backbone, Site
from backbones.core.seed import lent_generator
from backbones.delta import Delta
from backbones.encoder import Resume
from backbones.pat.sites import UnfitError

Pair = tuple[Tensor, Tensor]
# One input that any preprocessing takes, for a trial run.
BLANK: dict[str, Any] = {"image": np.zeros((32, 32, 3), dtype=np.uint8), "text": "a"}


def lengthen_keys(mask: Tensor, start: int, count: int) -> Tensor:
    """Let every query of a mask attend to ``count`` more keys.

    Args:
        mask: shape (..., queries, keys); bool with True where a query attends, or float that is added to the scores.
        start: the new keys stand before this one.
        count: how many.
    """
    new = mask.new_ones if mask.dtype == torch.bool else mask.new_zeros
    return torch.cat([mask[..., :start], new(*mask.shape[:-1], count), mask[..., start:]], dim=-1)


def lengthen(mask: Tensor, start: int, count: int) -> Tensor:
    """Make room in a mask for ``count`` more tokens at ``start``, which all attend to and which attend as the first.

    Args:
        mask: shape (batch or 1, heads or 1, queries or 1, keys or 1), bool or float as in ``lengthen_keys``; a
            dimension of size 1 stands for all and stays.
        start: the new tokens stand before this one.
        count: how many.
    """
    if mask.shape[-1] > 1:
        mask = lengthen_keys(mask, start, count)
    if mask.shape[-2] > 1:
        fresh = mask[..., :1, :].expand(*mask.shape[:-2], count, -1)
        mask = torch.cat([mask[..., :start, :], fresh, mask[..., start:, :]], dim=-2)
    return mask


def with_longer_masks(call: Callable[..., Any], start: int, count: int, args: Sequence[Any], named: Any) -> Any:
    """Call a block whose hidden states were lengthened at ``start``: every mask of four dimensions follows them."""

    def follow(value: Any) -> Any:
        return lengthen(value, start, count) if isinstance(value, Tensor) and value.dim() == 4 else value

    return call(*map(follow, args), **{name: follow(value) for name, value in named.items()})


class BesideKeys(TorchFunctionMode):
    """While entered, attention sees further keys and values in front of its own; no query is masked from them.

    Args:
        pair: maps (heads, width of a head) to keys and values, each of shape (heads, count, width of a head).

    Attributes:
        met: shapes of the keys, (batch, heads, tokens, width of a head), one for each attention that ran.
    """

    def __init__(self, pair: Callable[[int, int], Pair] | None) -> None:
        super().__init__()
        self.pair = pair
        self.met: list[torch.Size] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        return self._attend(*args, **(kwargs or {}))

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **options: Any,
    ) -> Tensor:
        self.met.append(key.shape)
        if self.pair is None:
            return scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, **options)
        if is_causal:  # torch would take the new keys for the earliest tokens
            square = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=key.device)
            attn_mask = square.tril()
        keys, values = self.pair(key.shape[1], key.shape[3])
        if attn_mask is not None:
            # a single column stands for all keys
            attn_mask = attn_mask.expand(*attn_mask.shape[:-1], key.shape[-2])
            attn_mask = lengthen_keys(attn_mask, 0, keys.shape[1])
        key, value = _in_front(keys, key), _in_front(values, value)
        return scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, False, **options)


def _in_front(new: Tensor, old: Tensor) -> Tensor:
    return torch.cat([new.to(old.dtype).expand(len(old), -1, -1, -1), old], dim=2)


def key_width(backbone: Backbone, site: Site) -> int:
    """Return heads times head width of the keys at an attention: what its linear layers say, else the backbone's."""
    linears = [
        backbone.module.get_submodule(other.path)
        for other in backbone.all_sites()
        if other.role == "qkv" and other.layer == site.layer
    ]
    sizes = [int(layer.out_features) for layer in linears if hasattr(layer, "out_features")]  # type: ignore[arg-type]
    if len(sizes) == 3:  # query, key, value
        return sizes[1]
    return sizes[0] // 3 if len(sizes) == 1 else backbone.width


def check_reachable(pat: str, backbone: Backbone, sites: Sequence[Site], width: int) -> None:
    """Run one blank input and see that every attention in ``sites`` can be given keys; on the meta device, nothing.

    Raises:
        UnfitError: one that computes its scores by itself, or whose keys have another width.
    """
    if backbone.device.type == "meta" or backbone.modality not in BLANK:
        return
    seen: dict[str, BesideKeys] = {}

    def watch(call: Callable[..., Any], *args: Any, path: str, **named: Any) -> Any:
        seen[path] = BesideKeys(None)
        with seen[path]:
            return call(*args, **named)

    batch = backbone.preprocessing([BLANK[backbone.modality]]).to(backbone.device)
    with Delta(backbone, Resume()) as trial:
        for site in sites:
            trial.around(site, partial(watch, path=site.path))
        with torch.no_grad(), lent_generator(0, batch.device):  # deltas that are on the backbone may drop entries
            backbone.features(batch)
    for site in sites:
        check_met(pat, backbone, site, seen[site.path].met if site.path in seen else [], width)


def check_met(pat: str, backbone: Backbone, site: Site, met: Sequence[torch.Size], width: int) -> None:
    """Raise UnfitError unless the attention at ``site`` ran and every run had keys of ``width``, heads together."""
    kind = type(backbone.module.get_submodule(site.path)).__name__
    if not met:
        raise UnfitError(
            f"PAT {pat!r} needs an attention that calls torch's scaled_dot_product_attention; {site.path} ({kind}) of "
            f"backbone {backbone.name!r} computes its scores by itself. Load the model with "
            'attn_implementation="sdpa" (transformers) or with fused attention on (timm).'
        )
    for shape in met:
        if len(shape) != 4 or shape[1] * shape[3] != width:
            raise UnfitError(
                f"PAT {pat!r} needs keys of shape (batch, heads, tokens, head width), heads * head width = {width}; "
                f"{site.path} ({kind}) of backbone {backbone.name!r} has keys of shape {tuple(shape)}."
            )
