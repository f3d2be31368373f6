"""PASTA: vectors added to the special tokens alone (Yang et al., Findings of EACL 2023, arXiv 2302.01128)."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from backbones.base import Backbone
from backbones.core.settings import Settings
from backbones.delta import Delta
from backbones.pat.layers import pick_layers
from backbones.pat.sites import UnfitError


class Pasta(Settings):
    """One vector per chosen block and occurrence of a special token, added to that token where it enters the block.

    Special tokens are those that the tokenizer's template puts around a text ([CLS] and [SEP]), on a vision transformer
    the class token and the registers.

    Args:
        special: how many occurrences have vectors of their own; None: as many as one input has. Occurrences beyond the
            last share its vector; vectors without an occurrence stay zero.
        layers: chosen blocks, such as ``"6-11"`` or ``"0,2,4"``; ``"all"``.
    """

    starts_as_identity: ClassVar[bool] = True
    mergeable: ClassVar[bool] = False
    touches: ClassVar[str] = "the special tokens that enter a block"

    special: int | None = Field(default=None, ge=1, le=1000)
    layers: str = "all"

    def grow(self, backbone: Backbone, seed: int) -> PastaDelta:
        """Put zero vectors on ``backbone``; the seed has nothing to decide."""
        return PastaDelta(self, backbone)

    def shape(self, backbone: Backbone) -> tuple[int, int, int]:
        """Return (chosen blocks, special tokens, width).

        Raises:
            UnfitError: inputs of this backbone have no special token.
            FrostlineError: layers out of range.
        """
        blocks = len(pick_layers(self.layers, backbone.depth))
        if not backbone.special_tokens:
            raise UnfitError(
                f"PAT 'pasta' needs special tokens (a class token, registers, [CLS] or [SEP]); the inputs of backbone "
                f"{backbone.name!r} have none. Of the prompts, 'vpt' does without."
            )
        return blocks, self.special or backbone.special_tokens, backbone.width

    def parameter_count(self, backbone: Backbone) -> int:
        """Return blocks * special tokens * width."""
        blocks, special, width = self.shape(backbone)
        return blocks * special * width


class PastaDelta(Delta):
    """Vectors for the special tokens.

    Attributes:
        vectors: float32, shape (chosen blocks, special tokens, width); zero at the start.
    """

    def __init__(self, settings: Pasta, backbone: Backbone) -> None:
        super().__init__(backbone, settings)
        self.vectors = nn.Parameter(torch.zeros(settings.shape(backbone), device=backbone.device))
        for slot, layer in enumerate(pick_layers(settings.layers, backbone.depth)):
            block = backbone.sites("block", layer)[0]
            self.before(block, lambda tokens, slot=slot: self._add(tokens, slot))  # type: ignore[misc]

    def _add(self, tokens: Tensor, slot: int) -> Tensor:
        special = self.backbone.special(tokens.shape[1])
        occurrence = (special.cumsum(dim=1) - 1).clamp(max=self.vectors.shape[1] - 1).expand(len(tokens), -1)
        row, position = special.expand(len(tokens), -1).nonzero(as_tuple=True)
        fresh = self.vectors[slot].to(tokens.dtype)[occurrence[row, position]]
        # Writing to the few places alone costs next to nothing beside a sum over all tokens, forth and back.
        return tokens.index_put((row, position), fresh, accumulate=True)
