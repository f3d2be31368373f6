"""What a PAT is: a frozen, validated settings object that grows a delta on a backbone."""

from __future__ import annotations

from typing import ClassVar, Protocol

from backbones.base import Backbone
from backbones.delta import Delta


class Pat(Protocol):
    """A ``Settings`` subclass that grows trainable parameters on any backbone that has the sites it needs.

    Attributes:
        starts_as_identity: whether features are unchanged until training starts.
    """

    starts_as_identity: ClassVar[bool]

    def grow(self, backbone: Backbone, seed: int) -> Delta:
        """Put a new delta on ``backbone``; ``seed`` is the only source of its randomness.

        Raises:
            FrostlineError: the backbone lacks a site that is needed, or a setting does not fit it.
        """
        ...

    def parameter_count(self, backbone: Backbone) -> int:
        """Return by formula how many parameters ``grow`` would train."""
        ...
