"""Tuning: the losses of prototype heads with their gradients written out, and the loop that descends them.

The gradients are short enough to write down, and on two cores writing them down costs half of what autograd does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress
from continual.heads.rows import unit


@dataclass(frozen=True)
class Schedule:
    """How the loop descends: epochs, batch size, peak learning rate, momentum, cosine decay to zero or none."""

    epochs: int
    batch_size: int
    lr: float
    momentum: float
    decay: bool


class Descent:
    """Points on the unit sphere under stochastic gradient descent with momentum.

    A cosine sees directions alone, so each step goes back onto the sphere: the length of a point cannot grow and slow
    it down.

    Attributes:
        value: float32, shape (rows, width), rows of length 1.
    """

    def __init__(self, points: Tensor) -> None:
        self.value = unit(points)
        self._speed = torch.zeros_like(self.value)

    def step(self, gradient: Tensor, lr: float, momentum: float) -> None:
        """Descend once."""
        self._speed.mul_(momentum).add_(gradient)
        self.value = unit(self.value.add_(self._speed, alpha=-lr))


def softmax_loss(logits: Tensor, columns: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted cross-entropy (a scalar) and its gradient with respect to the logits.

    Args:
        logits: float32, shape (n, c).
        columns: int64, shape (n,): the right column of each row.
        weights: float32, shape (n,): weight of each row.
    """
    logs = torch.log_softmax(logits, dim=1)
    rows = torch.arange(len(columns))
    loss = -(logs[rows, columns] * weights).sum()
    gradient = logs.exp_()
    gradient[rows, columns] -= 1
    return loss, gradient.mul_(weights[:, None])


def cosine_loss(
    points: Tensor, prototypes: Tensor, columns: Tensor, weights: Tensor, tau: float
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of ``cos(point, prototype) / tau`` and its gradient with respect to the prototypes.

    Args:
        points: float32, shape (n, width), rows of length 1.
        prototypes: float32, shape (c, width), rows of length 1.
        columns, weights: as in ``softmax_loss``.
        tau: temperature.
    """
    loss, pull = softmax_loss(points @ prototypes.T / tau, columns, weights)
    return loss, _tangent(pull.T @ points / tau, prototypes)


def maximum_similarity_loss(points: Tensor, columns: Tensor, examples: Tensor, owners: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean(1 - max_k cos(point, example_k of its class)) and its gradient with respect to the examples.

    Only the winner of each point moves, so the examples of a class spread over it.

    Args:
        points: float32, shape (n, width), rows of length 1.
        columns: int64, shape (n,): class of each point.
        examples: float32, shape (m, width), rows of length 1; every class in ``columns`` owns at least one.
        owners: int64, shape (m,): class of each example.
    """
    best, winners = winning(points, columns, examples, owners)
    pull = torch.zeros_like(examples).index_add_(0, winners, points, alpha=-1 / len(points))
    return 1 - best.mean(), _tangent(pull, examples)


def winning(points: Tensor, columns: Tensor, directions: Tensor, owners: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest cosine of each point with an example of its class, and which example that is."""
    cosines = (points @ directions.T).masked_fill_(columns[:, None] != owners, -math.inf)
    best: tuple[Tensor, Tensor] = tuple(cosines.max(dim=1))  # type: ignore[assignment]
    return best


def steps(
    count: int, schedule: Schedule, generator: torch.Generator, progress: Progress, phase: str
) -> Iterator[tuple[Tensor, float, str]]:
    """Yield shuffled mini-batches for all epochs: rows (int64), learning rate, and where we are, for messages."""
    total = schedule.epochs * math.ceil(count / schedule.batch_size)
    done = 0
    for epoch in range(schedule.epochs):
        for number, rows in enumerate(torch.split(torch.randperm(count, generator=generator), schedule.batch_size)):
            rate = schedule.lr
            if schedule.decay:
                rate *= 0.5 + 0.5 * math.cos(math.pi * done / total)
            yield rows, rate, f"epoch {epoch + 1}, step {number + 1}"
            done += 1
        progress(phase, epoch + 1, schedule.epochs)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread inside, and as many as before afterwards.

    The steps are too small to share: on a busy machine threads that wait for each other cost ten times the work, and
    the result would hang on their number.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def require_finite(loss: Tensor, where: str, head: str) -> None:
    """Raise FrostlineError if the loss is not a number any more."""
    if not math.isfinite(float(loss)):
        raise FrostlineError(
            f"the loss of head {head!r} became {float(loss)} in {where}; lower its learning rate "
            "(head setting lr) or raise tau."
        )


def _tangent(gradient: Tensor, directions: Tensor) -> Tensor:
    return gradient - directions * (gradient * directions).sum(dim=1, keepdim=True)


__all__ = [
    "Descent",
    "Schedule",
    "cosine_loss",
    "maximum_similarity_loss",
    "one_thread",
    "require_finite",
    "softmax_loss",
    "steps",
    "winning",
]
