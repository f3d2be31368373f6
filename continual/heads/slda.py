"""SLDA: linear discriminant analysis with class means and one running covariance.

Hayes, Kanan, "Lifelong Machine Learning with Deep Streaming Linear Discriminant Analysis", arXiv 1909.01520.
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
from continual.heads.metric import Metric
from continual.heads.rows import class_means, copy_state, extend, score_rows, take_state


class Slda(Settings):
    """Streaming LDA with equal class priors."""

    name: ClassVar[str] = "slda"
    order_free: ClassVar[bool] = True

    shrinkage: float = Field(default=0.01, ge=0, le=1, description="least shrinkage of the covariance (see Metric)")

    def build(self, seed: int) -> SldaHead:
        """Return an unfitted head; ``seed`` is not needed."""
        return SldaHead(self)


class SldaHead:
    """Scores are minus half the squared distance to a class mean in the within-class metric (see Head)."""

    def __init__(self, settings: Slda) -> None:
        self.classes_ = torch.empty(0, dtype=torch.int64)
        self.means_ = torch.empty(0, 0)
        self.metric_ = Metric("within", settings.shrinkage)

    def partial_fit(self, features: Tensor, labels: Tensor, progress: Progress = silent) -> Self:
        """Store one mean for each new class and add to the covariance."""
        check_input(features, labels, self.classes_)
        seen = len(self.classes_)
        self.classes_, columns = extend(self.classes_, labels)
        self.metric_ = self.metric_.observed(features, columns - seen)
        means = class_means(features, columns - seen, len(self.classes_) - seen).float()
        self.means_ = torch.cat([self.means_, means]) if seen else means
        return self

    def scores(self, features: Tensor) -> Tensor:
        """Return log-posteriors up to a constant of the row: float32, shape (n, c)."""
        means = self.metric_.to(self.means_.double()) if len(self.classes_) else self.means_
        offset = means.square().sum(dim=1) / 2
        width = self.means_.shape[1] if len(self.classes_) else None
        return score_rows(features, lambda rows: self.metric_.to(rows) @ means.T - offset, width)

    def predict(self, features: Tensor) -> Tensor:
        """Return int64 classes, shape (n,)."""
        return self.classes_[self.scores(features).argmax(dim=1)]

    def state(self) -> dict[str, Tensor]:
        """Return classes, means and the metric."""
        own = {"classes": self.classes_, "means": self.means_}
        return copy_state(own | {f"metric.{name}": tensor for name, tensor in self.metric_.state().items()})

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore what ``state`` returned."""
        ready = take_state(state, tuple(self.state()), Slda.name)
        self.classes_, self.means_ = ready["classes"], ready["means"]
        self.metric_.load_state({name: ready[f"metric.{name}"] for name in self.metric_.state()})

    def translate(self, move: Callable[[Tensor], Tensor]) -> None:
        """Move means and centre; the covariance stays."""
        if len(self.classes_):
            self.means_ = move(self.means_).clone()
            self.metric_.translate(move)

    def prototypes(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the class means as category prototypes."""
        return {"category": (self.means_, self.classes_)} if len(self.classes_) else {}

    @property
    def trainable_parameters(self) -> int:
        """Nothing is tuned by gradient."""
        return 0

    @property
    def stored_parameters(self) -> int:
        """Means and the covariance."""
        return self.means_.numel() + self.metric_.stored_parameters
