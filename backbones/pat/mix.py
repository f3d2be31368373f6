"""Layer mixing: the last block gives a learned mean of what several blocks give.

Peters et al., "Deep contextualized word representations", NAACL 2018, arXiv 1802.05365 (the scalar mix); intermediate
layers as features: Evci et al., "Head2Toe", ICML 2022, arXiv 2201.03529.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from backbones.base import Backbone, Site
from backbones.core.errors import FrostlineError
from backbones.core.settings import Settings
from backbones.delta import Delta
from backbones.pat.sites import sites_of


class Mix(Settings):
    """One weight for each chosen block: hidden states leave the last block as sum_l softmax(weights)_l * h_l.

    The weights start alike, so the features change at once: this PAT does not start as the identity.

    Args:
        layers: chosen blocks, such as ``"1-5"``, the last block always among them; ``"all"``.
    """

    starts_as_identity: ClassVar[bool] = False
    mergeable: ClassVar[bool] = False
    touches: ClassVar[str] = "output of the last block: a mean over blocks"

    layers: str = "all"

    def grow(self, backbone: Backbone, seed: int) -> MixDelta:
        """Put the mean on ``backbone``; the seed has nothing to decide."""
        return MixDelta(self, backbone)

    def blocks(self, backbone: Backbone) -> list[Site]:
        """Return the blocks that are mixed, ascending, the last of the backbone among them.

        Raises:
            FrostlineError: no block but the last, of which there is nothing to mix; layers out of range.
        """
        last = backbone.sites("block")[-1]
        others = [site for site in sites_of("mix", backbone, ("block",), self.layers) if site != last]
        if not others:
            raise FrostlineError(
                f"PAT 'mix' needs two blocks or more, but layers {self.layers!r} of backbone {backbone.name!r} leave "
                f"the last one alone; choose others too, such as {max(0, backbone.depth - 3)}-{backbone.depth - 1}."
            )
        return [*others, last]

    def parameter_count(self, backbone: Backbone) -> int:
        """Return the number of mixed blocks."""
        return len(self.blocks(backbone))


class MixDelta(Delta):
    """The weights of a mean over blocks.

    Attributes:
        weights: float32, shape (blocks,), before the softmax; zero at the start.
    """

    def __init__(self, settings: Mix, backbone: Backbone) -> None:
        super().__init__(backbone, settings)
        blocks = settings.blocks(backbone)
        self.weights = nn.Parameter(torch.zeros(len(blocks), device=backbone.device))
        self._seen: list[Tensor] = []
        for number, site in enumerate(blocks):
            self.after(site, partial(self._pass, number, number == len(blocks) - 1))

    def _pass(self, number: int, last: bool, tokens: Tensor) -> Tensor:
        if not number:
            self._seen.clear()  # what an interrupted forward pass has left
        self._seen.append(tokens)
        if not last:
            return tokens
        # Prompts may be in some of the states and not in others: they are left out of the mean.
        seen = [self.backbone.plain(states)[0] for states in self._seen]
        self._seen.clear()
        shares = torch.softmax(self.weights, dim=0).to(tokens.dtype)
        mixed: Tensor = torch.stack([share * states for share, states in zip(shares, seen, strict=True)]).sum(dim=0)
        return self.backbone.plain(tokens)[1](mixed)
