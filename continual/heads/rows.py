"""Rows: what every head does to labels and to rows of features before its own idea begins."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from backbones.core.errors import FrostlineError

ROWS = 64


def extend(classes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Add the classes of one experience.

    Args:
        classes: int64, shape (c,), seen so far, in order of arrival.
        labels: int64, shape (n,), of the experience.

    Returns:
        The classes with the new ones behind, in ascending order, and the column of each label: int64, shape (n,).
    """
    fresh, inverse = torch.unique(labels, return_inverse=True)
    return torch.cat([classes, fresh]), inverse + len(classes)


def class_means(features: Tensor, positions: Tensor, count: int) -> Tensor:
    """Return float64 means, shape (count, width), of the rows that share a position (int64, shape (n,))."""
    totals = features.new_zeros(count, features.shape[1], dtype=torch.float64)
    totals.index_add_(0, positions, features.double())
    return totals / torch.bincount(positions, minlength=count).clamp(min=1)[:, None]


def score_rows(features: Tensor, rule: Callable[[Tensor], Tensor], width: int | None) -> Tensor:
    """Score rows so that each result depends on its own row alone.

    A matrix product may take another path, and round another way, for another shape; so the rows go through ``rule``
    in blocks of one size, the last filled up with zeros, in float64, and only the result is rounded.

    Args:
        features: float, shape (n, width).
        rule: maps float64 (64, width) to float64 (64, c), row by row.
        width: what the head was fitted on; None if it was not fitted.

    Returns:
        float32, shape (n, c).

    Raises:
        FrostlineError: the head was not fitted, or the features have another width.
    """
    if width is None:
        raise FrostlineError("this head has not learned a class yet; call partial_fit before scores or predict.")
    if features.ndim != 2 or features.shape[1] != width:
        raise FrostlineError(
            f"features have shape {tuple(features.shape)}; this head was fitted on (n, {width}): "
            "use the backbone and delta that it was fitted with."
        )
    blocks = []
    for start in range(0, max(len(features), 1), ROWS):
        rows = features[start : start + ROWS]
        block = torch.zeros(ROWS, width, dtype=torch.float64)
        block[: len(rows)] = rows.detach().cpu().double()
        blocks.append(rule(block)[: len(rows)].float())
    return torch.cat(blocks)


def unit(points: Tensor) -> Tensor:
    """Return rows of length 1; a row of zeros stays one."""
    return torch.nn.functional.normalize(points, dim=-1)


def copy_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors, so that neither side sees what the other does next and memory is aligned as in a fresh tensor."""
    return {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}


def take_state(state: dict[str, Tensor], names: tuple[str, ...], head: str) -> dict[str, Tensor]:
    """Copy ``state`` after checking its names; raises FrostlineError if it was saved by another head."""
    if set(state) != set(names):
        wrong = sorted(set(state) ^ set(names))
        raise FrostlineError(
            f"this state does not belong to the head {head!r} (wrong or missing: {', '.join(wrong)}); "
            "load it into a head with the name and settings that saved it."
        )
    return copy_state(state)
