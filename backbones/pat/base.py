"""What a PAT is: a frozen, validated settings object that grows a delta on a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from torch import Tensor

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


@runtime_checkable
class PeftPat(Protocol):
    """A PAT that PEFT has too; ``backbones.pat.peft_files.METHODS`` says under which name."""

    def to_peft(self, delta: Any) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Return a delta of this PAT as PEFT writes it, None where PEFT lacks what these settings ask for.

        Returns:
            The configuration without the name of the base, and the tensors by their names in PEFT's file.
        """
        ...

    @classmethod
    def from_peft(
        cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], backbone: Backbone
    ) -> tuple[Self, dict[str, Tensor]]:
        """Return settings and the ``state_dict`` of the delta that they grow, which does what the adapter does.

        Args:
            config: of PEFT.
            tensors: named as ``to_peft`` names them: wrappers around the backbone are taken off already.
            backbone: where it will grow.

        Raises:
            FrostlineError: the adapter does more than this PAT, or sits where the backbone has no site.
        """
        ...
