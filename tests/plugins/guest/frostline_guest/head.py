"""A head from outside: the class whose mean is nearest in Euclidean distance."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Self

import torch
from torch import Tensor

from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.core.settings import Settings
from continual.heads.base import check_input


class Centroid(Settings):
    """Nothing to set."""

    name: ClassVar[str] = "guest-head"
    order_free: ClassVar[bool] = True

    def build(self, seed: int) -> CentroidHead:
        """Return an unfitted head; ``seed`` is not needed."""
        return CentroidHead()


class CentroidHead:
    """Class means and negative distances to them (see continual.heads.base.Head for the arguments)."""

    def __init__(self) -> None:
        self.classes_ = torch.empty(0, dtype=torch.int64)
        self.means_ = torch.empty(0, 0)

    def partial_fit(self, features: Tensor, labels: Tensor, progress: Progress = silent) -> Self:
        """Store one mean for each new class."""
        check_input(features, labels, self.classes_)
        fresh = torch.unique(labels)
        means = torch.stack([features[labels == label].double().mean(dim=0) for label in fresh]).float()
        self.means_ = torch.cat([self.means_, means]) if len(self.classes_) else means
        self.classes_ = torch.cat([self.classes_, fresh])
        return self

    def scores(self, features: Tensor) -> Tensor:
        """Return negative distances: float32, shape (n, c)."""
        if not len(self.classes_) or features.shape[1:] != self.means_.shape[1:]:
            shapes = tuple(features.shape), tuple(self.means_.shape)
            raise FrostlineError(f"features of shape {shapes[0]} do not fit class means of shape {shapes[1]}.")
        # One row at a time, so that a score never depends on the rows beside it.
        rows = [-(row.double() - self.means_.double()).square().sum(dim=1).sqrt() for row in features]
        return torch.stack(rows).float() if rows else features.new_empty(0, len(self.classes_))

    def predict(self, features: Tensor) -> Tensor:
        """Return int64 classes, shape (n,)."""
        return self.classes_[self.scores(features).argmax(dim=1)]

    def state(self) -> dict[str, Tensor]:
        """Return classes and means."""
        return {"classes": self.classes_.clone(), "means": self.means_.clone()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore what ``state`` returned."""
        self.classes_, self.means_ = state["classes"].clone(), state["means"].clone()

    def translate(self, move: Callable[[Tensor], Tensor]) -> None:
        """Move the means."""
        if len(self.classes_):
            self.means_ = move(self.means_).clone()

    def prototypes(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the means."""
        return {"category": (self.means_, self.classes_)} if len(self.classes_) else {}

    @property
    def trainable_parameters(self) -> int:
        """Nothing is tuned."""
        return 0

    @property
    def stored_parameters(self) -> int:
        """One mean for each class."""
        return self.means_.numel()
