"""Which blocks of a model its owner hands over, and which are withheld."""

from __future__ import annotations

from pydantic import Field, model_validator

from backbones.core.errors import FrostlineError
from backbones.core.settings import Settings
from backbones.pat.layers import pick_layers


class Layout(Settings):
    """A model divided into bottom, middle and top blocks, of whose middle some stay in the emulator.

    Args:
        depth: blocks of the full model.
        bottom: blocks at the lower end that are handed over as they are.
        top: blocks at the upper end that are handed over as they are.
        keep: blocks of the middle that stay in the emulator, see ``kept_layers``.

    Raises:
        pydantic.ValidationError: numbers that do not fit; ``Layout.of`` says it as a FrostlineError.
    """

    depth: int = Field(ge=1)
    bottom: int = Field(ge=0)
    top: int = Field(ge=0)
    keep: int = Field(ge=1)

    @model_validator(mode="after")
    def _fits(self) -> Layout:
        middle = self.depth - self.bottom - self.top
        if middle < 1:
            raise ValueError(
                f"bottom = {self.bottom} and top = {self.top} leave no middle of {self.depth} blocks; together at "
                f"most {self.depth - 1}"
            )
        if self.keep > middle:
            raise ValueError(
                f"bottom = {self.bottom} and top = {self.top} leave a middle of {middle} of {self.depth} blocks, of "
                f"which keep = {self.keep} cannot be kept; pass keep from 1 to {middle}"
            )
        return self

    @classmethod
    def of(cls, depth: int, bottom: int, top: int, keep: int) -> Layout:
        """Return the layout; raises FrostlineError where the numbers do not fit ``depth``."""
        return cls.parse({"depth": depth, "bottom": bottom, "top": top, "keep": keep}, "the layout")

    @property
    def kept(self) -> list[int]:
        """Blocks of the middle that stay, ascending, numbered as in the full model."""
        return [self.bottom + layer for layer in kept_layers(self.depth - self.bottom - self.top, self.keep)]

    @property
    def adapter(self) -> list[int]:
        """Blocks that may be tuned, those of bottom and top, ascending, numbered as in the full model."""
        return [*range(self.bottom), *range(self.depth - self.top, self.depth)]

    @property
    def withheld(self) -> list[int]:
        """Blocks that the owner keeps, ascending, numbered as in the full model."""
        return sorted(set(range(self.depth)) - set(self.given))

    @property
    def given(self) -> list[int]:
        """Blocks of the emulator in order of execution, numbered as in the full model."""
        return sorted({*self.adapter, *self.kept})

    def tunable(self, words: str | None) -> list[int]:
        """Return the blocks that ``words`` (see ``pick_layers``) choose; None: all of bottom and top.

        Raises:
            FrostlineError: a block of the middle, or see ``pick_layers``.
        """
        chosen = self.adapter if words is None else pick_layers(words, self.depth)
        hidden = [layer for layer in chosen if layer not in self.adapter]
        if hidden or not chosen:
            raise FrostlineError(
                f"layers {words!r}: {_words(hidden)} lies in the middle (blocks {self.bottom} to "
                f"{self.depth - self.top - 1}), which stays with the owner. An adapter may sit in "
                f"{_words(self.adapter)} alone."
            )
        return chosen


def kept_layers(middle: int, keep: int) -> list[int]:
    """Return which of ``middle`` blocks an emulator of ``keep`` blocks has: round(i * (middle - 1) / (keep - 1)).

    Halves are rounded to the even neighbour, as Python does. ``keep = 1``, of which the formula says nothing, keeps
    the block in the middle, round((middle - 1) / 2).

    Args:
        middle: blocks to choose from, 1 or more.
        keep: how many, 1 to ``middle``.
    """
    if keep == 1:
        return [round((middle - 1) / 2)]
    return [round(number * (middle - 1) / (keep - 1)) for number in range(keep)]


def written(layers: list[int]) -> str:
    """Return layers as ``pick_layers`` reads them, such as ``"0,1,10,11"``."""
    return ",".join(map(str, layers))


def _words(layers: list[int]) -> str:
    return f"block {written(layers)}" if len(layers) == 1 else f"blocks {written(layers) or 'none'}"
