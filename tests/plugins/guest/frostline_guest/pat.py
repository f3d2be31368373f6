"""A PAT from outside: one learnt factor for each channel of the embedded input."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

from backbones.base import Backbone
from backbones.core.settings import Settings
from backbones.delta import Delta


class InputScale(Settings):
    """Scale what leaves the embedding.

    Args:
        start: initial factor.
    """

    starts_as_identity: ClassVar[bool] = True
    mergeable: ClassVar[bool] = False
    touches: ClassVar[str] = "what leaves the embedding"

    start: float = Field(default=1.0, gt=0)

    def grow(self, backbone: Backbone, seed: int) -> Delta:
        """Put the factors on ``backbone``; nothing is drawn, so ``seed`` is not needed."""
        return InputScaleDelta(self, backbone)

    def parameter_count(self, backbone: Backbone) -> int:
        """Return the width."""
        return backbone.width


class InputScaleDelta(Delta):
    """The factors: float32, shape (width,)."""

    def __init__(self, settings: InputScale, backbone: Backbone) -> None:
        super().__init__(backbone, settings)
        self.scale = nn.Parameter(torch.full((backbone.width,), settings.start, device=backbone.device))
        self.after(backbone.sites("embed")[0], lambda tokens: tokens * self.scale.to(tokens.dtype))
