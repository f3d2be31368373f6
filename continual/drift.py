"""Drift: how far stored points have to move when the feature space under them has moved.

Yu et al., "Semantic Drift Compensation for Class-Incremental Learning", CVPR 2020, arXiv 2004.00440.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from backbones.core.errors import FrostlineError

_ROWS = 256


def sdc(points: Tensor, old: Tensor, new: Tensor, sigma: float | None = None) -> Tensor:
    """Return the shift of each point: the mean of ``new - old``, weighted by exp(-d^2 / (2 sigma^2)).

    Weights are formed from differences of logarithms, so a point far from every sample takes the shift of the
    nearest ones instead of dividing zero by zero.

    Args:
        points: float32, shape (m, width), stored before the move.
        old: float32, shape (n, width): features of the current samples before the move.
        new: float32, shape (n, width): features of the *same* samples, in the same order, after it.
        sigma: width of the window in units of feature space; None takes the median over ``points`` of the distance
            to the nearest sample.

    Returns:
        float32, shape (m, width).

    Raises:
        FrostlineError: shapes that do not pair, no sample, values that are not finite, or sigma not above zero.
    """
    _check(points, old, new, sigma)
    if not len(points):
        return torch.zeros_like(points)
    before, shifts = old.double(), new.double() - old.double()
    blocks = [_squares(block.double(), before) for block in torch.split(points, _ROWS)]
    if sigma is None:
        nearest = torch.cat([block.min(dim=1).values for block in blocks]).sqrt()
        sigma = float(nearest.median())
    # A point that lies on a sample has distance zero; the floor keeps the window open there.
    width = max(sigma, 1e-6 * float(before.norm(dim=1).mean()), 1e-12)
    moved = [torch.softmax(-block / (2 * width**2), dim=1) @ shifts for block in blocks]
    return torch.cat(moved).to(points.dtype)


def compensation(old: Tensor, new: Tensor, sigma: float | None = None) -> Callable[[Tensor], Tensor]:
    """Return what ``Head.translate`` takes: points go where ``sdc`` says (arguments as there)."""
    return lambda points: points + sdc(points, old, new, sigma)


def _squares(points: Tensor, samples: Tensor) -> Tensor:
    """Return squared distances without the cancellation of the expanded square: float64, shape (m, n)."""
    return torch.cdist(points, samples, compute_mode="donot_use_mm_for_euclid_dist").square()


def _check(points: Tensor, old: Tensor, new: Tensor, sigma: float | None) -> None:
    if old.shape != new.shape or old.ndim != 2 or not len(old) or points.ndim != 2 or points.shape[1] != old.shape[1]:
        raise FrostlineError(
            f"drift compensation got points {tuple(points.shape)}, old {tuple(old.shape)} and new {tuple(new.shape)}; "
            "it needs (m, width) and twice (n, width) with n >= 1: features of the same samples before and after."
        )
    if not all(bool(torch.isfinite(values).all()) for values in (points, old, new)):
        raise FrostlineError("drift compensation got values that are not finite; the backbone overflowed: use fp32.")
    if sigma is not None and not sigma > 0:
        raise FrostlineError(f"sigma = {sigma}: the window of drift compensation must be above 0, or None to be found.")
