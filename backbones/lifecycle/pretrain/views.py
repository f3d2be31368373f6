"""Views of images to learn from: random crops, flips, colours, and mixtures of two images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from backbones.core.labelled import Labelled
from backbones.core.settings import Settings

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601
TRIES = 10  # boxes drawn until one lies inside the image


class Augmentation(Settings):
    """How an image changes from one look to the next.

    Args:
        least: smallest share of the area that a random crop keeps (Szegedy et al. 2015); 1 for none.
        stretch: largest ratio of the sides of a crop.
        flip: share of images that are mirrored.
        jitter: brightness, contrast and saturation are multiplied by up to 1 +- jitter.
        mixup: images are mixed in pairs by a share drawn from Beta(mixup, mixup) (Zhang et al. 2018); 0 for none.
        smoothing: share of a label that goes to all classes alike.
    """

    least: float = Field(default=0.35, gt=0, le=1)
    stretch: float = Field(default=4 / 3, ge=1)
    flip: float = Field(default=0.5, ge=0, le=1)
    jitter: float = Field(default=0.3, ge=0, lt=1)
    mixup: float = Field(default=0.0, ge=0)
    smoothing: float = Field(default=0.1, ge=0, lt=1)


@dataclass(frozen=True)
class View:
    """A batch: float32 images, shape (n, 3, size, size), in -1 to 1; labels, int64, of each and of what is mixed in.

    Args:
        share: of the first label, 1 where nothing is mixed.
    """

    images: Tensor
    labels: Tensor
    others: Tensor
    share: float

    def loss(self, logits: Tensor, smoothing: float) -> Tensor:
        """Return the mean cross-entropy of float logits, shape (n, classes), in nats."""
        first, second = (
            cross_entropy(logits, labels.to(logits.device), label_smoothing=smoothing)
            for labels in (self.labels, self.others)
        )
        return self.share * first + (1 - self.share) * second


def view_of(data: Labelled, rows: Sequence[int], size: int, change: Augmentation, generator: torch.Generator) -> View:
    """Return a view of some rows; all draws come from ``generator``."""
    draw = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    images = torch.stack([_crop(image, size, change, draw) for image in data.raw(rows)])
    mirrored = torch.from_numpy(draw.random(len(images)) < change.flip)
    images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    if change.jitter:
        images = _coloured(images, change.jitter, draw)
    labels = torch.from_numpy(data.labels[np.asarray(rows)])
    share = float(draw.beta(change.mixup, change.mixup)) if change.mixup else 1.0
    order = torch.from_numpy(draw.permutation(len(images)))
    if change.mixup:
        images = share * images + (1 - share) * images[order]
    return View(images * 2 - 1, labels, labels[order] if change.mixup else labels, share)


def _crop(image: NDArray[np.uint8], size: int, change: Augmentation, draw: np.random.Generator) -> Tensor:
    """Return a random part of an image, resized: float32, shape (3, size, size), in 0 to 1."""
    from torchvision.transforms.v2 import functional

    pixels: Any = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    top, left, height, width = _box(image.shape[0], image.shape[1], change, draw)
    if (height, width) == (size, size):
        part: Tensor = pixels[:, top : top + size, left : left + size]
    else:
        part = functional.resized_crop(pixels, top, left, height, width, [size, size], antialias=True)
    return part.float() / 255


def _box(height: int, width: int, change: Augmentation, draw: np.random.Generator) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of a random part; the largest square in the middle if none fits."""
    for _ in range(TRIES if change.least < 1 else 0):
        area = height * width * draw.uniform(change.least, 1)
        ratio = exp(draw.uniform(-log(change.stretch), log(change.stretch)))
        down, across = round(sqrt(area / ratio)), round(sqrt(area * ratio))
        if 0 < down <= height and 0 < across <= width:
            top, left = int(draw.integers(height - down + 1)), int(draw.integers(width - across + 1))
            return top, left, down, across
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def _coloured(images: Tensor, jitter: float, draw: np.random.Generator) -> Tensor:
    factors = torch.from_numpy(draw.uniform(1 - jitter, 1 + jitter, (3, len(images), 1, 1, 1)).astype(np.float32))
    images = images * factors[0]
    mean = images.mean((1, 2, 3), keepdim=True)
    images = mean + (images - mean) * factors[1]
    grey = (images * torch.tensor(GREY).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return (grey + (images - grey) * factors[2]).clamp(0, 1)
