"""What a student is told while it learns: the lesson, and the readers whose losses compare its tokens with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from backbones.core.errors import FrostlineError

SHARPNESS = 16.0  # of the cosines that stand for labels
ROWS = 4096  # of which means and covariances are taken


@dataclass(frozen=True)
class Lesson:
    """What is learned from, row by row.

    Attributes:
        images: uint8, shape (n, s, s, 3).
        labels: int64, shape (n,).
        targets: float16, shape (n, 1 + patches, width): see teacher.look.
        scores: float32, shape (n, classes): the teacher's probabilities.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    targets: NDArray[np.float16]
    scores: NDArray[np.float32]


class Readers(nn.Module):
    """What reads the student's tokens while it trains, and the teacher's means and deviations; thrown away after.

    The class token is compared with the teacher's standardised or whitened one directly, so that the shipped features
    live in a centred space; patch tokens pass through one linear map. Labels are read by cosine to one vector a class,
    since frozen features are asked for nearest class means later, which sees directions only. For the same reason
    whitening pays: a direction in which all features vary together otherwise decides most cosines.

    Args:
        lesson: means and covariances are taken of up to 4,096 of its rows.
        width: of the student; the class tokens are compared directly, so the teacher must be as wide.
        generator: CPU generator.
        white: whiten the teacher's class tokens, instead of giving each channel the deviation 1.

    Raises:
        FrostlineError: the widths differ.
    """

    class_mean: torch.Tensor
    class_scale: torch.Tensor
    patch_mean: torch.Tensor
    patch_deviation: torch.Tensor

    def __init__(self, lesson: Lesson, width: int, generator: torch.Generator, white: bool = False) -> None:
        super().__init__()
        wide = lesson.targets.shape[2]
        if wide != width:
            raise FrostlineError(f"the teacher is {wide} wide and the student {width}; pass a teacher of {width}.")
        some = torch.from_numpy(np.asarray(lesson.targets[:ROWS], dtype=np.float32))
        self.patch: nn.Linear = nn.utils.skip_init(nn.Linear, width, width)  # draws nothing
        self.label: nn.Linear = nn.utils.skip_init(nn.Linear, width, lesson.scores.shape[1], bias=False)
        with torch.no_grad():
            for layer in (self.patch, self.label):
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) / width**0.5)
            self.patch.bias.zero_()
        patches = some[:, 1:].flatten(0, 1)
        deviation = some[:, 0].std(0) + 1e-4
        scale = whitener(some[:, 0] / deviation) / deviation[:, None] if white else torch.diag(1 / deviation)
        self.register_buffer("class_mean", some[:, 0].mean(0))
        self.register_buffer("class_scale", scale)
        self.register_buffer("patch_mean", patches.mean(0))
        self.register_buffer("patch_deviation", patches.std(0) + 1e-4)

    def losses(
        self, tokens: torch.Tensor, kept: torch.Tensor | None, targets: torch.Tensor, label_targets: torch.Tensor
    ) -> torch.Tensor:
        """Return the four losses: 1 - cosine of class tokens and of patch tokens, cross-entropy of labels, spread.

        Spread is the mean squared cosine between class tokens of different images: of all features with a given
        mean length, centred and white ones have the smallest, 1 / width. Unlike a covariance, a mean over pairs has
        no bias from few images, so that it may be taken shard by shard.

        Args:
            tokens: the student's, shape (n, 1 + k, width).
            kept: see encode.
            targets: the teacher's, shape (n, 1 + patches, width).
            label_targets: probabilities, shape (n, classes).
        """
        wanted = (targets[:, 0] - self.class_mean) @ self.class_scale
        patches = (targets[:, 1:] - self.patch_mean) / self.patch_deviation
        if kept is not None:
            patches = patches.gather(1, kept[..., None].expand(-1, -1, patches.shape[-1]))
        feature = 1 - nn.functional.cosine_similarity(tokens[:, 0], wanted, dim=-1).mean()
        patch = 1 - nn.functional.cosine_similarity(self.patch(tokens[:, 1:]), patches, dim=-1).mean()
        names = nn.functional.normalize(self.label.weight, dim=-1)
        unit = nn.functional.normalize(tokens[:, 0], dim=-1)
        label = nn.functional.cross_entropy(SHARPNESS * unit @ names.T, label_targets)
        return torch.stack([feature, patch, label, spread(unit)])


def whitener(rows: torch.Tensor, floor: float = 0.01) -> torch.Tensor:
    """Return the symmetric matrix, shape (width, width), that gives ``rows`` (n, width) the identity as covariance.

    ``floor`` times the mean variance is added to every variance first, so that directions without any are not blown up.
    """
    values, vectors = torch.linalg.eigh(torch.cov(rows.T))
    scaled: torch.Tensor = vectors * (values + floor * values.mean()).rsqrt() @ vectors.T
    return scaled


def spread(unit: torch.Tensor) -> torch.Tensor:
    """Return the mean squared cosine between different rows of ``unit`` (n, width), of length 1; 0 for one row."""
    count = len(unit)
    cosines = unit @ unit.T
    return (cosines.square().sum() - cosines.diagonal().square().sum()) / max(1, count * (count - 1))
