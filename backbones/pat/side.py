"""Side adapters: a narrow network beside the frozen model reads what its blocks give and adds to what leaves it.

The place is that of Wang et al., "K-Adapter: Infusing Knowledge into Pre-Trained Models with Adapters", Findings of
ACL 2021, arXiv 2002.01808, and of Sung et al., "LST: Ladder Side-Tuning", NeurIPS 2022, arXiv 2206.06522; the network
itself is ours and acts on every token alone.
"""

from __future__ import annotations

import math
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm

from backbones.base import Backbone, Site
from backbones.core.seed import torch_generator
from backbones.core.settings import Settings
from backbones.delta import Delta
from backbones.pat.sites import sites_of

NAME = "side"


class Side(Settings):
    """A side network: s_l = s_(l-1) + gelu(down_l norm(h_l) + across_l s_(l-1)) over the blocks l that are read.

    What leaves the last block becomes h + up(s). ``up`` starts at zero, so that features start unchanged to the bit.
    Nothing below the last block changes: no gradient runs through a frozen block.

    Args:
        bottleneck: width of s.
        layers: blocks that are read, such as ``"1-5"`` or ``"1,3,5"``; ``"all"``.
    """

    starts_as_identity: ClassVar[bool] = True
    mergeable: ClassVar[bool] = False
    touches: ClassVar[str] = "output of the last block; reads what chosen blocks give"

    bottleneck: int = Field(default=64, ge=1, le=65536)
    layers: str = "all"

    def grow(self, backbone: Backbone, seed: int) -> SideDelta:
        """Put a side network on ``backbone``."""
        return SideDelta(self, backbone, seed)

    def blocks(self, backbone: Backbone) -> list[Site]:
        """Return the blocks that are read, in order of execution.

        Raises:
            FrostlineError: layers out of range.
        """
        return sites_of(NAME, backbone, ("block",), self.layers)

    def parameter_count(self, backbone: Backbone) -> int:
        """Return, with width w, bottleneck b and r blocks read, r (w + 1) b + (r - 1) b^2 + (b + 1) w."""
        read, width, narrow = len(self.blocks(backbone)), backbone.width, self.bottleneck
        return read * (width + 1) * narrow + (read - 1) * narrow**2 + (narrow + 1) * width


class SideDelta(Delta):
    """A side network on a backbone.

    Attributes:
        downs: one linear layer to the bottleneck for each block that is read.
        across: one linear layer without bias inside the bottleneck for each of them but the first.
        up: the linear layer from the bottleneck, zero at the start.
    """

    settings: Side

    def __init__(self, settings: Side, backbone: Backbone, seed: int) -> None:
        super().__init__(backbone, settings)
        blocks, last = settings.blocks(backbone), backbone.sites("block")[-1]
        generator, narrow = torch_generator(seed, NAME), settings.bottleneck
        self.downs = nn.ModuleList(_drawn(backbone.width, narrow, generator, bias=True) for _ in blocks)
        self.across = nn.ModuleList(_drawn(narrow, narrow, generator, bias=False) for _ in blocks[1:])
        self.up = nn.utils.skip_init(nn.Linear, narrow, backbone.width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.to(backbone.device)
        self._state: Tensor | None = None
        for slot, site in enumerate(blocks):
            self.after(site, partial(self._read, slot))
        self.after(last, self._write)  # after the reading, where the last block is read too

    def _read(self, slot: int, tokens: Tensor) -> Tensor:
        # What prompts and prefixes have inserted is of no token, and may be in some states and not in others.
        seen = self.backbone.plain(tokens)[0]
        found = self.downs[slot](layer_norm(seen, seen.shape[-1:]))
        if not slot:  # also where an interrupted forward pass has left a state
            self._state = gelu(found)
        else:
            assert self._state is not None
            self._state = self._state + gelu(found + self.across[slot - 1](self._state))
        return tokens

    def _write(self, tokens: Tensor) -> Tensor:
        assert self._state is not None
        state, self._state = self._state, None
        seen, back = self.backbone.plain(tokens)
        return back(seen + self.up(state))


def _drawn(entering: int, leaving: int, generator: torch.Generator, *, bias: bool) -> nn.Linear:
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, entering, leaving, bias=bias)
    bound = 1.0 / math.sqrt(entering)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        if bias:
            layer.bias.zero_()
    return layer
