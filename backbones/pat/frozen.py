"""Frozen: the baseline without parameters."""

from __future__ import annotations

from typing import ClassVar

from backbones.base import Backbone
from backbones.core.settings import Settings
from backbones.delta import Delta


class Frozen(Settings):
    """The backbone as it is."""

    starts_as_identity: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True
    touches: ClassVar[str] = "nothing"

    def grow(self, backbone: Backbone, seed: int) -> Delta:
        """Return an empty delta."""
        return Delta(backbone, self)

    def parameter_count(self, backbone: Backbone) -> int:
        """Return 0."""
        return 0
