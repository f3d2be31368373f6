"""Metrics: the affine map of feature space in which cosines are taken, learned from the stream itself."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Literal

import torch
from torch import Tensor

from continual.heads.rows import class_means, copy_state

Kind = Literal["none", "standard", "within"]
_NAMES = ("centre", "scatter", "count", "degrees")


class Metric:
    """An affine map ``(x - centre) @ into`` and its inverse ``y @ back + centre``, float64.

    Kinds:
        none: the features as they are.
        standard: zero mean and unit variance by the first experience's samples, fixed from then on.
        within: zero running mean and, as in linear discriminant analysis, a running covariance *within* classes
            that becomes the identity. The covariance is pooled over all experiences (exact sums, nothing of a single
            sample or class is kept) and shrunk towards a multiple of the identity by ``shrinkage`` or by the OAS rule
            (Chen, Wiesel, Eldar, Hero, IEEE TSP 2010), whichever is larger.

    Args:
        kind: see above.
        shrinkage: least share of the identity, in [0, 1]; for ``within``.
    """

    def __init__(self, kind: Kind, shrinkage: float) -> None:
        self.kind = kind
        self.shrinkage = shrinkage
        self.centre = torch.empty(0)
        self.scatter = torch.empty(0, 0)
        self.count = torch.zeros((), dtype=torch.int64)
        self.degrees = torch.zeros((), dtype=torch.int64)
        self.into = self.back = torch.empty(0, 0, dtype=torch.float64)

    def observed(self, features: Tensor, positions: Tensor) -> Metric:
        """Return the metric after one experience: features (n, width), position of each row's class int64 (n,)."""
        after = copy(self)
        _OBSERVE[self.kind](after, features.double(), positions)
        after.count = self.count + len(features)
        after._solve()
        return after

    def to(self, points: Tensor) -> Tensor:
        """Map points of feature space into the metric; the dtype is kept."""
        return (points - self.centre.to(points.dtype)) @ self.into.to(points.dtype)

    def fro(self, points: Tensor) -> Tensor:
        """Map points of the metric back into feature space; the dtype is kept."""
        return points @ self.back.to(points.dtype) + self.centre.to(points.dtype)

    def translate(self, move: Callable[[Tensor], Tensor]) -> None:
        """Move the centre with the features (``move`` as in Head.translate); scales and covariance stay."""
        if self.kind != "none":
            self.centre = move(self.centre[None])[0].clone()

    def state(self) -> dict[str, Tensor]:
        """Return what was learned; ``into`` and ``back`` follow from it."""
        return copy_state({name: getattr(self, name) for name in _NAMES})

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore what ``state`` returned."""
        for name, tensor in copy_state(state).items():
            setattr(self, name, tensor)
        if int(self.count):
            self._solve()

    @property
    def stored_parameters(self) -> int:
        """Numbers kept from one experience to the next."""
        return 0 if self.kind == "none" else self.centre.numel() + self.scatter.numel()

    def _solve(self) -> None:
        self.into, self.back = _SOLVE[self.kind](self)


def _observe_nothing(metric: Metric, features: Tensor, positions: Tensor) -> None:
    metric.centre = torch.zeros(features.shape[1])


def _observe_first(metric: Metric, features: Tensor, positions: Tensor) -> None:
    if int(metric.count):
        return
    metric.centre = features.mean(dim=0).float()
    metric.scatter = (features - features.mean(dim=0)).square().mean(dim=0).float()


def _observe_within(metric: Metric, features: Tensor, positions: Tensor) -> None:
    classes = int(positions.max()) + 1
    rest = features - class_means(features, positions, classes)[positions]
    scatter = rest.T @ rest
    total = features.sum(dim=0)
    seen = int(metric.count)
    if seen:
        scatter = scatter + metric.scatter.double()
        total = total + metric.centre.double() * seen
    metric.scatter = scatter.float()
    metric.centre = (total / (seen + len(features))).float()
    metric.degrees = metric.degrees + len(features) - classes


def _solve_nothing(metric: Metric) -> tuple[Tensor, Tensor]:
    eye = torch.eye(len(metric.centre), dtype=torch.float64)
    return eye, eye


def _solve_standard(metric: Metric) -> tuple[Tensor, Tensor]:
    # A feature that never varied in the first experience gets the mean scale instead of an infinite one.
    scale = metric.scatter.double().sqrt()
    mean = scale.mean()
    if not mean > 0:
        return _solve_nothing(metric)
    scale = torch.where(scale > 1e-4 * mean, scale, mean)
    return torch.diag(1 / scale), torch.diag(scale)


def _solve_within(metric: Metric) -> tuple[Tensor, Tensor]:
    width = len(metric.centre)
    covariance = metric.scatter.double() / max(int(metric.degrees), 1)
    covariance = (covariance + covariance.T) / 2
    level = float(covariance.trace()) / width
    if not level > 0:  # one sample for each class so far: no spread is known yet
        return _solve_nothing(metric)
    share = max(oas_share(covariance, int(metric.degrees)), metric.shrinkage)
    values, vectors = torch.linalg.eigh((1 - share) * covariance)
    values = (values.clamp(min=0) + max(share, 1e-6) * level).sqrt()
    return (vectors / values) @ vectors.T, (vectors * values) @ vectors.T


def oas_share(covariance: Tensor, degrees: int) -> float:
    """Return the OAS share of the identity in [0, 1] for a (width, width) covariance of ``degrees`` samples."""
    width = len(covariance)
    squares = float(covariance.square().sum())
    trace = float(covariance.trace()) ** 2
    above = (1 - 2 / width) * squares + trace
    below = (degrees + 1 - 2 / width) * (squares - trace / width)
    return 1.0 if below <= 0 else min(1.0, max(0.0, above / below))


_OBSERVE = {"none": _observe_nothing, "standard": _observe_first, "within": _observe_within}
_SOLVE = {"none": _solve_nothing, "standard": _solve_standard, "within": _solve_within}
