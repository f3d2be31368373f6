"""NCM: the nearest class mean by cosine, the least a head can do and a strong baseline.

Zhou et al., "Revisiting Class-Incremental Learning with Pre-Trained Models" (SimpleCIL), arXiv 2303.07338.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Self

import torch
from torch import Tensor

from backbones.core.samples import Progress, silent
from backbones.core.settings import Settings
from continual.heads.base import check_input
from continual.heads.rows import class_means, copy_state, extend, score_rows, take_state, unit


class Ncm(Settings):
    """Nearest class mean: nothing to set."""

    name: ClassVar[str] = "ncm"
    order_free: ClassVar[bool] = True

    def build(self, seed: int) -> NcmHead:
        """Return an unfitted head; ``seed`` is not needed."""
        return NcmHead()


class NcmHead:
    """Scores are cosines of a feature and the class means (see Head for the arguments)."""

    def __init__(self) -> None:
        self.classes_ = torch.empty(0, dtype=torch.int64)
        self.means_ = torch.empty(0, 0)

    def partial_fit(self, features: Tensor, labels: Tensor, progress: Progress = silent) -> Self:
        """Store one mean for each new class."""
        check_input(features, labels, self.classes_)
        seen = len(self.classes_)
        self.classes_, columns = extend(self.classes_, labels)
        means = class_means(features, columns - seen, len(self.classes_) - seen).float()
        self.means_ = torch.cat([self.means_, means]) if seen else means
        return self

    def scores(self, features: Tensor) -> Tensor:
        """Return cosines: float32, shape (n, c)."""
        centres = unit(self.means_.double()).T
        width = self.means_.shape[1] if len(self.classes_) else None
        return score_rows(features, lambda rows: unit(rows) @ centres, width)

    def predict(self, features: Tensor) -> Tensor:
        """Return int64 classes, shape (n,)."""
        return self.classes_[self.scores(features).argmax(dim=1)]

    def state(self) -> dict[str, Tensor]:
        """Return classes and means."""
        return copy_state({"classes": self.classes_, "means": self.means_})

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore what ``state`` returned."""
        ready = take_state(state, ("classes", "means"), Ncm.name)
        self.classes_, self.means_ = ready["classes"], ready["means"]

    def translate(self, move: Callable[[Tensor], Tensor]) -> None:
        """Move the class means."""
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
        """One mean for each class."""
        return self.means_.numel()
