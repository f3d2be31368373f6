"""Labelled data as plain values: raw inputs, classes, and a division into training and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbones.core.errors import FrostlineError
from backbones.core.seed import numpy_generator


@dataclass(frozen=True)
class Labelled:
    """Raw inputs with their classes.

    Args:
        samples: texts, or images as uint8 arrays of shape (height, width, 3), RGB; read when asked for.
        labels: int64, shape (n,), indices into ``classes``.
        classes: names.
        modality: ``"image"`` or ``"text"``.

    Raises:
        FrostlineError: nothing, as many labels as samples missing, or a label without a name.
    """

    samples: Sequence[Any]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    modality: str = "text"

    def __post_init__(self) -> None:
        if len(self.samples) != len(self.labels):
            raise FrostlineError(f"{len(self.samples)} samples have {len(self.labels)} labels; give each sample one.")
        if len(self.samples) == 0:
            raise FrostlineError("there is no sample; pass data with some.")
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= len(self.classes):
            raise FrostlineError(f"labels run from {low} to {high}, but there are {len(self.classes)} classes.")

    def __len__(self) -> int:
        return len(self.samples)

    def raw(self, rows: Sequence[int]) -> list[Any]:
        """Return the raw inputs of ``rows``."""
        return [self.samples[int(row)] for row in rows]

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Labelled:
        """Return the rows in that order."""
        chosen = np.asarray(rows, dtype=np.int64)
        return Labelled(_Rows(self.samples, chosen), self.labels[chosen], self.classes, self.modality)

    def few(self, per_class: int | None, seed: int) -> Labelled:
        """Return ``per_class`` samples of each class (all of a smaller one; None: everything), drawn by ``seed``."""
        if per_class is None:
            return self
        if per_class < 1:
            raise FrostlineError(f"{per_class} samples a class leave nothing to learn from; pass 1 or more.")
        order = numpy_generator(seed, "few").permutation(len(self))
        rank = np.empty(len(self), dtype=np.int64)
        for label in range(len(self.classes)):
            mine = order[self.labels[order] == label]
            rank[mine] = np.arange(len(mine))
        return self.take(np.flatnonzero(rank < per_class))

    def split(self, share: float, seed: int) -> tuple[Labelled, Labelled]:
        """Divide class by class into (rest, held out); ``share`` of each class, at least one sample, is held out.

        A class with a single sample stays in the rest.

        Raises:
            FrostlineError: a share outside (0, 1), or nothing that could be held out.
        """
        if not 0 < share < 1:
            raise FrostlineError(f"a share of {share:g} cannot be held out; pass a number between 0 and 1.")
        order = numpy_generator(seed, "split").permutation(len(self))
        held = np.zeros(len(self), dtype=bool)
        for label in range(len(self.classes)):
            mine = order[self.labels[order] == label]
            if len(mine) > 1:
                held[mine[: min(len(mine) - 1, max(1, round(share * len(mine))))]] = True
        if not held.any():
            raise FrostlineError("no class has two samples, so that none can be held out; pass more data.")
        return self.take(np.flatnonzero(~held)), self.take(np.flatnonzero(held))


@dataclass(frozen=True)
class Task:
    """Training and test data over one list of classes."""

    name: str
    train: Labelled
    test: Labelled


def check_task(task: Task) -> Task:
    """Return ``task``; raises FrostlineError if its training data are of one class, from which nothing is learned."""
    present = np.unique(task.train.labels)
    if len(present) < 2:
        only = task.train.classes[int(present[0])]
        raise FrostlineError(
            f"all {len(task.train)} training samples of {task.name} are of one class, {only!r}; pass data of two or "
            "more classes."
        )
    return task


class _Rows(Sequence[Any]):
    """Some rows of a sequence, read when asked for."""

    def __init__(self, base: Sequence[Any], rows: NDArray[np.int64]) -> None:
        self.base: Sequence[Any] = base
        self.rows = rows
        if isinstance(base, _Rows):  # two selections become one
            self.base, self.rows = base.base, base.rows[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return _Rows(self.base, self.rows[index])
        return self.base[int(self.rows[index])]
