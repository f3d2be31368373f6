"""Preprocessing of images: a named, recorded setting, because it is worth points of accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from backbones.core.errors import FrostlineError, unknown

MODES = {
    "direct": "resize both sides to the input size",
    "crop": "resize the shorter side to size / crop_share, then crop the centre",
}


@dataclass(frozen=True)
class Preprocessing:
    """How raw images become a batch.

    Args:
        size: side of the square input in pixels.
        mode: ``"direct"`` or ``"crop"`` (see MODES).
        crop_share: side of the crop divided by the resized shorter side (0.875 is 224 of 256).
        interpolation: ``"bicubic"`` or ``"bilinear"``, with antialiasing, on 8-bit values.
        mean: mean of each channel, on the scale 0 to 1.
        std: standard deviation of each channel, on the scale 0 to 1.
    """

    size: int
    mode: str = "direct"
    crop_share: float = 0.875
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown("preprocessing", self.mode, MODES)
        if self.interpolation not in ("bicubic", "bilinear"):
            raise unknown("interpolation", self.interpolation, ("bicubic", "bilinear"))
        if self.size < 1 or not 0 < self.crop_share <= 1:
            raise FrostlineError(
                f"preprocessing: size {self.size} must be at least 1 and crop_share {self.crop_share} in (0, 1]."
            )
        if not all(value > 0 for value in self.std):
            raise FrostlineError(f"preprocessing: std {self.std} must be above 0 in every channel.")

    def described(self) -> dict[str, Any]:
        """Return all settings, for reports and keys."""
        return asdict(self)

    def with_mode(self, mode: str) -> Preprocessing:
        """Return the same preprocessing with another mode; raises FrostlineError for an unknown one."""
        return replace(self, mode=mode)

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return float32 of shape (len(images), 3, size, size).

        Args:
            images: uint8 arrays of shape (height, width, 3), RGB; sizes may differ.

        Raises:
            FrostlineError: an array of another type or shape.
        """
        if any(isinstance(image, str) for image in images):
            raise FrostlineError(
                "a vision backbone met a text as input; it takes images. For texts choose a text backbone, such as "
                "minilm."
            )
        shapes = {_shape(image) for image in images}
        if len(shapes) == 1:
            pixels = self._resize(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2))
        elif shapes:
            single = [torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] for image in images]
            pixels = torch.cat([self._resize(image) for image in single])
        else:
            pixels = torch.empty(0, 3, self.size, self.size)
        mean, std = (torch.tensor(row).view(1, 3, 1, 1) * 255 for row in (self.mean, self.std))
        # Contiguous: a convolution of another memory layout sums in another order, and bits must not depend on that.
        return ((pixels.float() - mean) / std).contiguous()

    def groups(self, raw: Sequence[NDArray[np.uint8]]) -> list[int]:
        """Return 0 for every image: all batches have one shape."""
        return [0] * len(raw)

    def pack(self, batch: Tensor, tokens: Tensor) -> Tensor:
        """Return ``tokens``: nothing of an image is needed above the block that they enter."""
        return tokens

    def unpack(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        """Return one blank image and the hidden states."""
        return packed.new_zeros(1, 3, self.size, self.size), packed

    def groups_of(self, packed: Tensor) -> list[int]:
        """Return 0 for every row."""
        return [0] * len(packed)

    def cut(self, packed: Tensor, group: int) -> Tensor:
        """Return ``packed``."""
        return packed

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Stack packed rows."""
        return torch.cat(list(parts))

    def remarks(self) -> list[str]:
        """Return nothing."""
        return []

    def _resize(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        if self.mode == "direct":
            target = (self.size, self.size)
        else:
            scale = max(self.size, round(self.size / self.crop_share)) / min(height, width)
            target = (max(self.size, round(height * scale)), max(self.size, round(width * scale)))
        if target != (height, width):
            pixels = interpolate(pixels, size=target, mode=self.interpolation, antialias=True, align_corners=False)
        top, left = ((side - self.size) // 2 for side in pixels.shape[-2:])
        return pixels[..., top : top + self.size, left : left + self.size]


def _shape(image: NDArray[np.uint8]) -> tuple[int, ...]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise FrostlineError(
            f"an image is a {image.dtype} array of shape {image.shape}; it must be uint8 of shape (height, width, 3)."
        )
    return image.shape
