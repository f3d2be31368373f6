"""What a PAT is: a frozen, validated settings object that grows a delta on a backbone."""

from __future__ import annotations

from typing import ClassVar, Protocol

from backbones.base import Backbone
from backbones.delta import Delta


class Pat(Protocol):
    """A ``Settings`` subclass that grows trainable parameters on any backbone that has the sites it needs.

    Attributes:
        starts_as_identity: whether features are unchanged until training starts.
        mergeable: whether the trained delta can be folded into the frozen weights.
        touches: what it changes, in a few words.
    """

    starts_as_identity: ClassVar[bool]
    mergeable: ClassVar[bool]
    touches: ClassVar[str]

    def grow(self, backbone: Backbone, seed: int) -> Delta:
        """Put a new delta on ``backbone``; ``seed`` is the only source of its randomness.

        Raises:
            FrostlineError: the backbone lacks a site that is needed, or a setting does not fit it.
        """
        ...

    def parameter_count(self, backbone: Backbone) -> int:
        """Return by formula how many parameters ``grow`` would train.

        Raises:
            FrostlineError: as ``grow``; nothing is put on the backbone.
        """
        ...
