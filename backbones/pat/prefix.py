"""Prefix tuning (Li & Liang, ACL 2021, arXiv 2101.00190): learnable keys and values in front of every attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import linear

from backbones.base import Backbone, Site
from backbones.core.seed import torch_generator
from backbones.core.settings import Settings
from backbones.delta import Delta
from backbones.pat.attention import BesideKeys, check_met, check_reachable, key_width
from backbones.pat.peft_prefix import config_of, read_prefix, tensors_of
from backbones.pat.positions import check_shiftable, shift_positions
from backbones.pat.sites import UnfitError, sites_of

NAME = "prefix"


class Prefix(Settings):
    """Learnable keys and values that every token attends to, in every chosen layer.

    The sequence keeps its length, and padding is never attended to while the prefix always is. Keys and values start
    from a normal distribution around zero: not the identity, since even a blank value takes its share of attention.

    Args:
        length: keys and values per layer.
        projection: width of the hidden layer of the paper's map: one vector per position, as wide as the keys, is
            mapped by linear, tanh, linear to the keys and values of all layers; None: they are trained as they are.
        std: standard deviation at the start.
        layers: chosen blocks, such as ``"6-11"`` or ``"0,2,4"``; ``"all"``.
        shift: whether the positions of a text's tokens begin after the prefix, as in PEFT, which can load a prefix of
            all layers only if they do; the lowest blocks are then touched whatever the layers.
    """

    starts_as_identity: ClassVar[bool] = False
    mergeable: ClassVar[bool] = False
    touches: ClassVar[str] = "attention: keys and values in front of those of the tokens"

    length: int = Field(default=10, ge=0, le=1000)
    projection: int | None = Field(default=None, ge=1, le=65536)
    std: float = Field(default=0.02, ge=0.0)
    layers: str = "all"
    shift: bool = False

    def grow(self, backbone: Backbone, seed: int) -> PrefixDelta:
        """Put keys and values on ``backbone``."""
        return PrefixDelta(self, backbone, seed)

    def chosen(self, backbone: Backbone) -> tuple[list[Site], int]:
        """Return the attentions that get a prefix, and the width of their keys, heads together.

        Raises:
            UnfitError: an attention that is absent, out of reach, or of another width than the others; positions that
                cannot be shifted.
            FrostlineError: layers out of range.
        """
        sites = sites_of(NAME, backbone, ["attn"], self.layers)
        widths = {site.path: key_width(backbone, site) for site in sites}
        width = widths[sites[0].path]
        odd = next((path for path, other in widths.items() if other != width), None)
        if odd is not None:
            raise UnfitError(
                f"PAT {NAME!r} needs keys of one width in all chosen layers; backbone {backbone.name!r} has {width} at "
                f"{sites[0].path} and {widths[odd]} at {odd}."
            )
        if self.length and self.shift:
            check_shiftable(NAME, backbone)
        if self.length:
            check_reachable(NAME, backbone, sites, width)
        return sites, width

    def parameter_count(self, backbone: Backbone) -> int:
        """Return layers * 2 * length * d, or with a projection p: length * d + (d + 1) * p + (p + 1) * layers * 2 * d.

        d is the width of the keys, heads together.
        """
        sites, width = self.chosen(backbone)
        if self.projection is None:
            return len(sites) * 2 * self.length * width
        return self.length * width + (width + 1) * self.projection + (self.projection + 1) * len(sites) * 2 * width

    def to_peft(self, delta: PrefixDelta) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Return keys and values as PEFT's PREFIX_TUNING, None without ``shift`` or where some layers have none."""
        table = delta.table()
        if not self.shift or not self.length or len(table) != delta.backbone.depth:
            return None
        return config_of(delta.backbone, table), tensors_of(table)

    @classmethod
    def from_peft(
        cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], backbone: Backbone
    ) -> tuple[Self, dict[str, Tensor]]:
        """Return settings and state that do what a PREFIX_TUNING adapter of PEFT does to an encoder of texts."""
        _, width = cls(length=0).chosen(backbone)
        pairs = read_prefix(config, tensors, backbone, width)
        return cls.parse({"length": pairs.shape[2], "shift": True}, "PAT 'prefix'"), {"pairs": pairs}


class PrefixDelta(Delta):
    """Keys and values on a backbone.

    Attributes:
        pairs: without a projection, float32 of shape (layers, 2, length, width): keys, then values.
        embedding: with a projection, float32 of shape (length, width); ``inner`` and ``outer`` map it.
    """

    settings: Prefix

    def __init__(self, settings: Prefix, backbone: Backbone, seed: int) -> None:
        super().__init__(backbone, settings)
        sites, width = settings.chosen(backbone)
        generator = torch_generator(seed, NAME)
        self._width = width
        if settings.projection is None:
            pairs = torch.empty(len(sites), 2, settings.length, width)
            self.pairs = nn.Parameter(pairs.normal_(0.0, settings.std, generator=generator))
        else:
            embedding = torch.empty(settings.length, width).normal_(0.0, 1.0, generator=generator)
            self.embedding = nn.Parameter(embedding)
            hidden = settings.projection
            self.inner = _linear(width, hidden, 1.0 / math.sqrt(width), generator)
            self.outer = _linear(hidden, len(sites) * 2 * width, settings.std / math.sqrt(hidden), generator)
        self.to(backbone.device)
        if settings.length:
            if settings.shift:
                shift_positions(self, NAME, settings.length)
            for slot, site in enumerate(sites):
                self.around(site, partial(self._attend, slot=slot, site=site))

    def table(self) -> Tensor:
        """Return all keys and values as attention sees them: float32, shape (layers, 2, length, width)."""
        layers = len(self.pairs) if self.settings.projection is None else self.outer.out_features // (2 * self._width)
        return torch.stack([self._of_layer(slot) for slot in range(layers)])

    def _of_layer(self, slot: int) -> Tensor:
        if self.settings.projection is None:
            return self.pairs[slot]
        rows = slice(slot * 2 * self._width, (slot + 1) * 2 * self._width)
        hidden = torch.tanh(self.inner(self.embedding))
        flat = linear(hidden, self.outer.weight[rows], self.outer.bias[rows])
        return torch.stack(flat.split(self._width, dim=1))

    def _attend(self, call: Callable[..., Any], *args: Any, slot: int, site: Site, **named: Any) -> Any:
        pair = self._of_layer(slot)

        def by_head(heads: int, _width: int) -> tuple[Tensor, Tensor]:
            keys, values = pair.unflatten(2, (heads, -1)).transpose(1, 2)
            return keys, values

        with BesideKeys(by_head) as mode:
            found = call(*args, **named)
        # The trial at growing saw to it; a model whose attention was exchanged since must not lose its prefix silently.
        check_met(NAME, self.backbone, site, mode.met, self._width)
        return found


def _linear(inner: int, outer: int, std: float, generator: torch.Generator) -> nn.Linear:
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inner, outer)
    with torch.no_grad():
        layer.weight.normal_(0.0, std, generator=generator)
        layer.bias.zero_()
    return layer
