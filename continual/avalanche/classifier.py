"""A cosine classifier that grows with the classes, as Avalanche's strategies grow classifiers."""

from __future__ import annotations

import math
from typing import Any

import torch
from avalanche.models.dynamic_modules import DynamicModule
from torch import Tensor, nn
from torch.nn.functional import normalize

from backbones.core.seed import torch_generator

# What Avalanche's own IncrementalClassifier gives to classes that it has not met. Finite, so that the losses of an
# evaluation on classes to come stay numbers.
UNSEEN = -1000.0


class CosineClassifier(DynamicModule):  # type: ignore[misc]
    """Scaled cosines between features and one row per class; a row is added when its class id comes into sight.

    Column k belongs to class id k. Classes that were never trained have the logit ``UNSEEN``.

    Args:
        width: of the features.
        scale: factor on the cosines.
        seed: of the rows; the row of a class depends on seed and class id alone.
    """

    active: Tensor

    def __init__(self, width: int, scale: float = 16.0, seed: int = 1993) -> None:
        super().__init__()
        self.scale = scale
        self.seed = seed
        self.weight = nn.Parameter(torch.empty(0, width))
        self.register_buffer("active", torch.empty(0, dtype=torch.bool))
        self._grow(1)  # an optimizer refuses a model without a parameter

    @torch.no_grad()
    def adaptation(self, experience: Any) -> None:
        """Add rows up to the largest class id of ``experience``; in training, its classes count as met."""
        classes = list(experience.classes_in_this_experience)
        self._grow(max(classes) + 1)
        if self.training:
            self.active[classes] = True

    def forward(self, features: Tensor) -> Tensor:
        """Map features, float of shape (n, width), to logits, float32 of shape (n, rows)."""
        logits: Tensor = self.scale * normalize(features.float(), dim=1) @ normalize(self.weight, dim=1).T
        return logits.masked_fill(~self.active, UNSEEN)

    @torch.no_grad()
    def _grow(self, count: int) -> None:
        held, width = self.weight.shape
        if count <= held:
            return
        rows = [torch.randn(width, generator=torch_generator(self.seed, "row", row)) for row in range(held, count)]
        fresh = torch.stack(rows).to(self.weight) / math.sqrt(width)
        self.weight = nn.Parameter(torch.cat([self.weight, fresh]))
        self.active = torch.cat([self.active, self.active.new_zeros(count - held)])
