"""Heads: classifiers on frozen features that learn one experience after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol, Self

import torch
from torch import Tensor

from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent


class Head(Protocol):
    """scikit-learn's habits on tensors: fit in ``partial_fit``, fitted state ends in ``_``.

    Attributes:
        classes_: int64, shape (c,): the classes seen so far, in order of arrival; columns of ``scores``.
    """

    classes_: Tensor

    def partial_fit(self, features: Tensor, labels: Tensor, progress: Progress = silent) -> Self:
        """Learn one experience.

        Args:
            features: float32, shape (n, width), all training samples of the experience.
            labels: int64, shape (n,); none of them seen in an earlier call.
            progress: told of every epoch, where there are epochs.

        Raises:
            FrostlineError: empty input, a class seen before, features that are not finite, a loss that became NaN.
        """
        ...

    def scores(self, features: Tensor) -> Tensor:
        """Return float32 scores, shape (n, c); row i depends on ``features[i]`` alone."""
        ...

    def predict(self, features: Tensor) -> Tensor:
        """Return int64 classes, shape (n,)."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Everything fitted, as tensors: ``load_state`` of it on a fresh head gives the same head, bit for bit."""
        ...

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore what ``state`` returned."""
        ...

    def translate(self, move: Callable[[Tensor], Tensor]) -> None:
        """Move what is stored in feature space after the features moved.

        Args:
            move: maps stored points, float32 of shape (m, width), to their new places, same shape.
        """
        ...

    def prototypes(self) -> dict[str, tuple[Tensor, Tensor]]:
        """For plots: kind (``"category"``, ``"example"``) -> (points (m, width), classes int64 (m,)); may be empty."""
        ...

    @property
    def trainable_parameters(self) -> int:
        """Numbers tuned by gradient in the last ``partial_fit``."""
        ...

    @property
    def stored_parameters(self) -> int:
        """Numbers kept from one experience to the next; floats of 4 bytes."""
        ...


class HeadSettings(Protocol):
    """What a head registers: a frozen, validated settings object (a ``Settings`` subclass) that builds it.

    Attributes:
        name: as in the registry.
        order_free: whether the order of the samples within an experience leaves the fitted head unchanged.
    """

    name: ClassVar[str]
    order_free: ClassVar[bool]

    def build(self, seed: int) -> Head:
        """Return an unfitted head; ``seed`` is the only source of its randomness."""
        ...


def check_input(features: Tensor, labels: Tensor, classes: Tensor) -> None:
    """Raise FrostlineError for anything that ``Head.partial_fit`` refuses."""
    if features.ndim != 2 or len(features) == 0 or len(features) != len(labels):
        raise FrostlineError(
            f"features have shape {tuple(features.shape)} and labels {tuple(labels.shape)}; "
            "a head needs (n, width) and (n,) with n >= 1."
        )
    if not torch.isfinite(features).all():
        row = int((~torch.isfinite(features)).any(dim=1).nonzero()[0])
        raise FrostlineError(
            f"the features of sample {row} are not finite; the backbone overflowed: try --precision fp32."
        )
    again = sorted(set(labels.tolist()) & set(classes.tolist()))
    if again:
        raise FrostlineError(
            f"class {again[0]} was learned in an earlier experience; a class-incremental stream gives each class once."
        )
