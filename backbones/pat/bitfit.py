"""BitFit: biases alone (Ben Zaken et al., ACL 2022, arXiv 2106.10199)."""

from __future__ import annotations

from typing import ClassVar

from backbones.base import Backbone
from backbones.core.settings import Settings
from backbones.pat.owned import OwnedDelta, Place, count_of, places_of
from backbones.pat.sites import TensorRoles, UnfitError, tensor_sites


class BitFit(Settings):
    """Full training of the biases of linear layers and norms; what has no bias is left alone.

    The default is every bias inside the blocks, as in the paper. (The biases of keys are among them; attention does not
    depend on them, so they hardly move.)

    Args:
        roles: whose biases: any of ``qkv proj fc1 fc2 norm``.
        layers: chosen blocks, such as ``"6-11"`` or ``"0,2,4"``; ``"all"``.
    """

    starts_as_identity: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True
    touches: ClassVar[str] = "linear layers and norms: the bias"

    roles: TensorRoles = ("qkv", "proj", "fc1", "fc2", "norm")
    layers: str = "all"

    def grow(self, backbone: Backbone, seed: int) -> OwnedDelta:
        """Put trainable biases on ``backbone``; the seed has nothing to decide."""
        return OwnedDelta(backbone, self, self.places(backbone))

    def places(self, backbone: Backbone) -> list[Place]:
        """Return the trained biases in order of execution.

        Raises:
            UnfitError: a role that the backbone lacks, a module that is not linear, or no bias at all.
            FrostlineError: layers out of range.
        """
        sites, _ = tensor_sites("bitfit", backbone, self.roles, self.layers)
        found = places_of(backbone, sites, ("bias",))
        if not found:
            raise UnfitError(
                f"PAT 'bitfit' needs biases; in backbone {backbone.name!r} no {' or '.join(self.roles)} in layers "
                f"{self.layers} has one."
            )
        return found

    def parameter_count(self, backbone: Backbone) -> int:
        """Return the lengths of the biases."""
        return count_of(backbone, self.places(backbone))
