"""FeCAM: each class has a covariance of its own, shrunk and scaled to a correlation.

Goswami, Liu, Twardowski, van de Weijer, "FeCAM: Exploiting the Heterogeneity of Class Distributions in Exemplar-Free
Continual Learning", NeurIPS 2023, arXiv 2309.14062.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from backbones.core.samples import Progress, silent
from backbones.core.settings import Settings
from continual.heads.base import check_input
from continual.heads.rows import copy_state, extend, score_rows, take_state

_NAMES = ("classes", "means", "precisions")


class Fecam(Settings):
    """Nearest class by a Mahalanobis distance of its own."""

    name: ClassVar[str] = "fecam"
    order_free: ClassVar[bool] = True

    shrinkage: float = Field(
        default=1.0, gt=0, description="mean variance added to the diagonal of a covariance, in units of it"
    )

    def build(self, seed: int) -> FecamHead:
        """Return an unfitted head; ``seed`` is not needed."""
        return FecamHead(self)


class FecamHead:
    """Scores are minus the squared Mahalanobis distance to a class (see Head for the arguments).

    Attributes:
        means_: float32, shape (c, width).
        precisions_: float32, shape (c, width, width): inverses of the shrunk correlations.
    """

    def __init__(self, settings: Fecam) -> None:
        self.settings = settings
        self.classes_ = torch.empty(0, dtype=torch.int64)
        self.means_ = torch.empty(0, 0)
        self.precisions_ = torch.empty(0, 0, 0)

    def partial_fit(self, features: Tensor, labels: Tensor, progress: Progress = silent) -> Self:
        """Store mean and precision of each new class."""
        check_input(features, labels, self.classes_)
        seen = len(self.classes_)
        self.classes_, columns = extend(self.classes_, labels)
        means, precisions = [], []
        for column in range(seen, len(self.classes_)):
            rows = features[columns == column].double()
            means.append(rows.mean(dim=0).float())
            precisions.append(_precision(rows, self.settings.shrinkage).float())
            progress("fecam", column + 1 - seen, len(self.classes_) - seen)
        self.means_ = torch.cat([self.means_, torch.stack(means)]) if seen else torch.stack(means)
        self.precisions_ = torch.cat([self.precisions_, torch.stack(precisions)]) if seen else torch.stack(precisions)
        return self

    def scores(self, features: Tensor) -> Tensor:
        """Return minus squared distances: float32, shape (n, c)."""
        means, precisions = self.means_.double(), self.precisions_.double()

        def rule(rows: Tensor) -> Tensor:
            gaps = rows - means[:, None]  # (c, 64, width)
            return -torch.einsum("crw,crw->rc", gaps @ precisions, gaps)

        return score_rows(features, rule, self.means_.shape[1] if len(self.classes_) else None)

    def predict(self, features: Tensor) -> Tensor:
        """Return int64 classes, shape (n,)."""
        return self.classes_[self.scores(features).argmax(dim=1)]

    def state(self) -> dict[str, Tensor]:
        """Return classes, means and precisions."""
        return copy_state({name: getattr(self, f"{name}_") for name in _NAMES})

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore what ``state`` returned."""
        for name, tensor in take_state(state, _NAMES, Fecam.name).items():
            setattr(self, f"{name}_", tensor)

    def translate(self, move: Callable[[Tensor], Tensor]) -> None:
        """Move the means; the precisions stay."""
        if len(self.classes_):
            self.means_ = move(self.means_).clone()

    def prototypes(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the class means as category prototypes."""
        return {"category": (self.means_, self.classes_)} if len(self.classes_) else {}

    @property
    def trainable_parameters(self) -> int:
        """Nothing is tuned by gradient."""
        return 0

    @property
    def stored_parameters(self) -> int:
        """Means and precisions."""
        return self.means_.numel() + self.precisions_.numel()


def _precision(rows: Tensor, shrinkage: float) -> Tensor:
    covariance = (rows - rows.mean(dim=0)).T @ (rows - rows.mean(dim=0)) / max(len(rows) - 1, 1)
    eye = torch.eye(rows.shape[1], dtype=rows.dtype)
    level = float(covariance.diagonal().mean())
    covariance = covariance + shrinkage * level * eye if level > 0 else eye
    scale = covariance.diagonal().sqrt()
    precision: Tensor = torch.linalg.inv(covariance / scale[:, None] / scale)
    return precision
