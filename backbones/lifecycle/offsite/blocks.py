"""The adapter of the paper: the own weights of some blocks, trained whole."""

from __future__ import annotations

from typing import ClassVar

from backbones.base import Backbone, Site
from backbones.core.settings import Settings
from backbones.pat.layers import pick_layers
from backbones.pat.owned import OwnedDelta, Place, count_of


class Blocks(Settings):
    """Full training of every weight inside the chosen blocks.

    Args:
        layers: chosen blocks, such as ``"0,1,10,11"``; ``"all"``.
    """

    starts_as_identity: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True
    touches: ClassVar[str] = "every weight of the chosen blocks"

    layers: str = "all"

    def grow(self, backbone: Backbone, seed: int) -> OwnedDelta:
        """Put trainable copies of the weights on ``backbone``; the seed has nothing to decide."""
        return OwnedDelta(backbone, self, self.places(backbone))

    def places(self, backbone: Backbone) -> list[Place]:
        """Return the trained tensors in order of execution; raises FrostlineError for layers out of range."""
        found: list[Place] = []
        for layer in pick_layers(self.layers, backbone.depth):
            root = backbone.sites("block", layer)[0].path
            for name, _ in backbone.module.get_submodule(root).named_parameters():
                path, _, leaf = f"{root}.{name}".rpartition(".")
                found.append((Site("block", layer, path), leaf))
        return found

    def parameter_count(self, backbone: Backbone) -> int:
        """Return how many weights the blocks have."""
        return count_of(backbone, self.places(backbone))
