"""Fine-tuning curves: accuracy against the number of training examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from backbones.analysis.probes import fit_probe
from backbones.analysis.ranking import pick_strength
from backbones.base import Backbone
from backbones.core.labelled import Labelled
from backbones.core.samples import Progress, silent
from backbones.training.loop import Recipe, Say, mute
from backbones.training.tasks import accuracy, finetune

STEPS = (1, 2, 5)  # times powers of ten: samples of each class


@dataclass(frozen=True)
class Point:
    """One size of training data.

    Args:
        samples: training examples of all classes together.
        accuracy: on the held-out rows, in [0, 1].
    """

    samples: int
    accuracy: float


def sizes(labels: NDArray[np.int64]) -> list[int]:
    """Return samples of each class for a curve: 1, 2, 5, 10 ... and at last the most that a class has."""
    most = int(np.bincount(labels).max())
    found = [step * 10**power for power in range(9) for step in STEPS]
    return [size for size in found if size < most] + [most]


def nested(labels: NDArray[np.int64], per_class: int, seed: int) -> NDArray[np.int64]:
    """Return rows with at most ``per_class`` of each class; those of a smaller number are among them."""
    numbered = Labelled(range(len(labels)), labels, tuple(map(str, range(int(labels.max()) + 1))))
    return np.asarray(list(numbered.few(per_class, seed).samples), dtype=np.int64)


def frozen_curve(
    known: tuple[Tensor, NDArray[np.int64]],
    held: tuple[Tensor, NDArray[np.int64]],
    classes: int,
    *,
    per_class: Sequence[int] | None = None,
    seed: int = 0,
    progress: Progress = silent,
    phase: str = "curve of a head",
) -> list[Point]:
    """Return how good a linear head on frozen features is with more and more samples.

    Args:
        known: features, float32 of shape (n, width), and int64 labels to learn from.
        held: features and labels to judge by.
        classes: outputs of the head.
        per_class: numbers of samples of each class, None for 1, 2, 5, 10 ...; each holds the smaller ones.
        seed: of the choice of samples.
        progress: told (phase, points done, points in all).
        phase: what to call the work.
    """
    features, labels = known
    found: list[Point] = []
    wanted = list(per_class or sizes(labels))
    for number, size in enumerate(wanted):
        progress(phase, number, len(wanted))
        rows = nested(labels, size, seed)
        mine, targets = features[rows][:, None], labels[rows]
        probe = fit_probe(mine, targets, classes, l2=pick_strength(mine, targets, classes, seed))
        found.append(Point(len(rows), probe.accuracy(held[0][:, None], held[1])))
    progress(phase, len(wanted), len(wanted))
    return found


def tuned_curve(
    make: Callable[[], Backbone],
    known: Labelled,
    held: Labelled,
    recipe: Recipe,
    *,
    per_class: Sequence[int] | None = None,
    progress: Progress = silent,
    say: Say = mute,
) -> list[Point]:
    """Return how good a backbone is whose every weight is fine-tuned on more and more samples.

    Args:
        make: loads the backbone afresh: fine-tuning changes it.
        known: rows to learn from.
        held: rows to judge by.
        recipe: of every fine-tuning.
        per_class: see ``frozen_curve``.
        progress: told of every step of training.
        say: told the estimate of each training.
    """
    found = []
    for size in per_class or sizes(known.labels):
        mine, backbone = known.few(size, recipe.seed), make()
        phase = f"fine-tuning {backbone.name} on {len(mine)} samples"
        tuned = finetune(backbone, mine, recipe, full=True, progress=progress, say=say, phase=phase)
        found.append(Point(len(mine), accuracy(backbone, tuned.head, held, progress=progress)))
    return found


def steps_for(samples: int, batch: int, epochs: float, least: int) -> int:
    """Return optimizer steps of ``epochs`` over ``samples``, but no fewer than ``least``: few samples need epochs."""
    return max(least, math.ceil(epochs * samples / batch))
