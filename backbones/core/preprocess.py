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
from backbones.core.reading import beyond, limits

MODES = {
    "direct": "resize both sides to the input size",
    "crop": "resize the shorter side to size / crop_share, then crop the centre",
}

KERNELS = {"bicubic": "bicubic", "bilinear": "bilinear", "nearest": "nearest-exact"}


@dataclass(frozen=True)
class Preprocessing:
    """How raw images become a batch.

    Args:
        size: side of the square input in pixels.
        mode: ``"direct"`` or ``"crop"`` (see MODES).
        crop_share: side of the crop divided by the resized shorter side (0.875 is 224 of 256).
        interpolation: ``"bicubic"`` or ``"bilinear"``, with antialiasing, or ``"nearest"``; on 8-bit values.
        mean: mean of each channel, of scaled values.
        std: standard deviation of each channel, of scaled values.
        scale: factor on values of 0 to 255.
    """

    size: int
    mode: str = "direct"
    crop_share: float = 0.875
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    scale: float = 1 / 255

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown("preprocessing", self.mode, MODES)
        if self.interpolation not in KERNELS:
            raise unknown("interpolation", self.interpolation, KERNELS)
        if self.size < 1 or not 0 < self.crop_share <= 1:
            raise FrostlineError(
                f"preprocessing: size {self.size} must be at least 1 and crop_share {self.crop_share} in (0, 1]."
            )
        if not all(value > 0 for value in self.std):
            raise FrostlineError(f"preprocessing: std {self.std} must be above 0 in every channel.")
        if not self.scale > 0:
            raise FrostlineError(f"preprocessing: scale {self.scale} must be above 0.")

    @property
    def edge(self) -> int:
        """Length of the shorter side before the centre is cropped, in pixels."""
        return max(self.size, round(self.size / self.crop_share))

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
        if not any(self.mean) and set(self.std) == {1.0}:
            return (pixels.float() * self.scale).contiguous()
        mean, std = (torch.tensor(row).view(1, 3, 1, 1) * (1.0 / self.scale) for row in (self.mean, self.std))
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
            short = min(height, width)
            target = (self.edge * height // short, self.edge * width // short)  # whole pixels, as torchvision has it
            if target[0] * target[1] > limits().pixels:
                raise beyond(
                    f"an image of {width} x {height} becomes one of {target[1]} x {target[0]} pixels", "pixels"
                )
        if target != (height, width):
            smooth = {"antialias": True, "align_corners": False} if self.interpolation != "nearest" else {}
            pixels = interpolate(pixels, size=target, mode=KERNELS[self.interpolation], **smooth)
        top, left = ((side - self.size) // 2 for side in pixels.shape[-2:])
        return pixels[..., top : top + self.size, left : left + self.size]


def _shape(image: NDArray[np.uint8]) -> tuple[int, ...]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise FrostlineError(
            f"an image is a {image.dtype} array of shape {image.shape}; it must be uint8 of shape (height, width, 3)."
        )
    return image.shape
