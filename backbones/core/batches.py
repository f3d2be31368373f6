"""What a backbone asks of its preprocessing, whatever the raw inputs are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor


class Preprocess(Protocol):
    """How raw inputs become a batch, and how activations travel together with what a forward pass must remember.

    Inputs of one *group* give batches of one shape; an encoder never mixes groups, so that every forward pass has a
    shape that depends on the input alone. Stored activations are *packed*: they hold all that is needed to go on from
    the block that they enter.
    """

    def described(self) -> dict[str, Any]:
        """Return all settings, for reports and keys."""
        ...

    def __call__(self, raw: Sequence[Any], /) -> Tensor:
        """Return a batch; its first dimension is that of ``raw``."""
        ...

    def groups(self, raw: Sequence[Any], /) -> list[int]:
        """Return the group of each raw input."""
        ...

    def pack(self, batch: Tensor, tokens: Tensor) -> Tensor:
        """Join a batch and what entered a block for it, (n, tokens, width), to (n, tokens, width or more)."""
        ...

    def unpack(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        """Return a batch that costs little below the block, and what enters the block."""
        ...

    def groups_of(self, packed: Tensor) -> list[int]:
        """Return the group of each packed row."""
        ...

    def cut(self, packed: Tensor, group: int) -> Tensor:
        """Return packed rows without padding beyond ``group``."""
        ...

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Stack packed rows of any groups: (sum of n, most tokens, width)."""
        ...

    def remarks(self) -> list[str]:
        """Return what a user must know of the inputs so far, such as texts that were cut; each thing once."""
        ...
