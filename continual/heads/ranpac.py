"""RanPAC: features through a fixed random projection and a ReLU, classes by ridge regression.

McDonnell, Gong, Parveneh, Abbasnejad, van den Hengel, "RanPAC: Random Projections and Pre-trained Models for Continual
Learning", NeurIPS 2023, arXiv 2307.02251.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from backbones.core.samples import Progress, silent
from backbones.core.seed import torch_generator
from backbones.core.settings import Settings
from continual.heads.base import check_input
from continual.heads.rows import copy_state, extend, score_rows, take_state

_NAMES = ("classes", "gram", "totals", "weight", "ridge", "projection")
_RIDGES = tuple(10.0**power for power in range(-6, 2))
_ROWS = 4096


class Ranpac(Settings):
    """Random projection and ridge; the ridge is chosen on a held-out part of the current data."""

    name: ClassVar[str] = "ranpac"
    order_free: ClassVar[bool] = False

    units: int = Field(default=2000, ge=1, description="random features M")
    held_out: float = Field(default=0.2, gt=0, lt=1, description="share of the current samples that choose the ridge")

    def build(self, seed: int) -> RanpacHead:
        """Return an unfitted head; ``seed`` draws the projection and the held-out samples."""
        return RanpacHead(self, seed)


class RanpacHead:
    """Scores are ridge regressions on one-hot labels (see Head for the arguments).

    Attributes:
        gram_, totals_: sums of outer products, float32 (units, units), and of features by class, float32 (units, c).
        weight_: what both solve to, float32 (units, c).
        ridge_: chosen ridge as a multiple of the gram's mean diagonal.
        projection_: float32 (width, units).
    """

    def __init__(self, settings: Ranpac, seed: int) -> None:
        self.settings = settings
        self.seed = seed
        self.classes_ = torch.empty(0, dtype=torch.int64)
        self.gram_ = self.totals_ = self.weight_ = self.projection_ = torch.empty(0, 0)
        self.ridge_ = torch.zeros(())

    def partial_fit(self, features: Tensor, labels: Tensor, progress: Progress = silent) -> Self:
        """Add the experience to the sums, choose the ridge and solve."""
        check_input(features, labels, self.classes_)
        seen, units = len(self.classes_), self.settings.units
        if not seen:
            generator = torch_generator(self.seed, "ranpac", "projection")
            self.projection_ = torch.randn(features.shape[1], units, generator=generator)
            self.gram_, self.totals_ = torch.zeros(units, units), torch.zeros(units, 0)
        self.classes_, columns = extend(self.classes_, labels)
        totals = torch.cat([self.totals_, torch.zeros(units, len(self.classes_) - seen)], dim=1)
        lifted = torch.cat([self._lift(rows.float()) for rows in torch.split(features, _ROWS)])
        order = torch.randperm(len(lifted), generator=torch_generator(self.seed, "ranpac", seen))
        held, kept = (
            order[: int(self.settings.held_out * len(order))],
            order[int(self.settings.held_out * len(order)) :],
        )
        gram, totals = _add(self.gram_, totals, lifted[kept], columns[kept])
        if len(held):
            self.ridge_ = torch.tensor(_choose(gram, totals, lifted[held], columns[held]))
            gram, totals = _add(gram, totals, lifted[held], columns[held])
        self.gram_, self.totals_ = gram, totals
        self.weight_ = _solve(gram, totals, float(self.ridge_) or _RIDGES[-1])
        return self

    def _lift(self, rows: Tensor) -> Tensor:
        return torch.relu(rows @ self.projection_.to(rows.dtype))

    def scores(self, features: Tensor) -> Tensor:
        """Return regressions: float32, shape (n, c)."""
        projection, weight = self.projection_.double(), self.weight_.double()
        width = len(projection) if len(self.classes_) else None
        return score_rows(features, lambda rows: torch.relu(rows @ projection) @ weight, width)

    def predict(self, features: Tensor) -> Tensor:
        """Return int64 classes, shape (n,)."""
        return self.classes_[self.scores(features).argmax(dim=1)]

    def state(self) -> dict[str, Tensor]:
        """Return classes, sums, solution, ridge and projection."""
        return copy_state({name: getattr(self, f"{name}_") for name in _NAMES})

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore what ``state`` returned."""
        for name, tensor in take_state(state, _NAMES, Ranpac.name).items():
            setattr(self, f"{name}_", tensor)

    def translate(self, move: Callable[[Tensor], Tensor]) -> None:
        """Do nothing: the sums live behind a ReLU, where a move of features is no move."""

    def prototypes(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return nothing: no point of feature space is stored."""
        return {}

    @property
    def trainable_parameters(self) -> int:
        """Nothing is tuned by gradient."""
        return 0

    @property
    def stored_parameters(self) -> int:
        """Sums, solution and projection."""
        return sum(tensor.numel() for tensor in (self.gram_, self.totals_, self.weight_, self.projection_))


def _add(gram: Tensor, totals: Tensor, lifted: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    by_class = torch.zeros_like(totals.T).index_add_(0, columns, lifted)
    return gram + lifted.T @ lifted, (totals + by_class.T).contiguous()


def _solve(gram: Tensor, totals: Tensor, ridge: float) -> Tensor:
    level = ridge * max(float(gram.diagonal().mean()), 1e-12)
    eye = torch.eye(len(gram), dtype=torch.float64)
    weight: Tensor = torch.linalg.solve(gram.double() + level * eye, totals.double())
    return weight.float().contiguous()


def _choose(gram: Tensor, totals: Tensor, lifted: Tensor, columns: Tensor) -> float:
    """Return the ridge with the least squared error on held-out samples; one eigendecomposition serves all."""
    values, vectors = torch.linalg.eigh(gram.double())
    level = max(float(gram.diagonal().mean()), 1e-12)
    rotated, target = lifted.double() @ vectors, vectors.T @ totals.double()
    errors = []
    for ridge in _RIDGES:
        guess = (rotated / (values.clamp(min=0) + ridge * level)) @ target
        guess[torch.arange(len(columns)), columns] -= 1
        errors.append(float(guess.square().sum()))
    return _RIDGES[errors.index(min(errors))]
