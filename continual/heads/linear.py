"""Cosine and linear: classifiers trained on the current data alone, the baselines that show what forgetting is."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from backbones.core.samples import Progress, silent
from backbones.core.seed import torch_generator
from backbones.core.settings import Settings
from continual.heads.base import check_input
from continual.heads.metric import Kind, Metric
from continual.heads.rows import copy_state, extend, score_rows, take_state, unit
from continual.heads.tuning import Schedule, cosine_loss, one_thread, require_finite, softmax_loss, steps


class _Trained(Settings):
    """What both classifiers can be told."""

    order_free: ClassVar[bool] = False

    mask: Literal["none", "new"] = Field(
        default="none", description="logits in the loss: of all seen classes, or new ones"
    )
    epochs: int = Field(default=10, ge=0, description="passes over the current data")
    batch_size: int = Field(default=64, ge=1)
    lr: float = Field(default=0.05, gt=0, description="peak learning rate")
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0, description="on the rows that are trained")
    decay: bool = Field(default=True, description="cosine decay of the learning rate to zero within an experience")

    def schedule(self) -> Schedule:
        """Return what the loop needs."""
        return Schedule(self.epochs, self.batch_size, self.lr, self.momentum, self.decay)


class Cosine(_Trained):
    """Cosine classifier: logits cos(z, w) / tau, w random at first."""

    name: ClassVar[str] = "cosine"
    tau: float = Field(default=1 / 16, gt=0, description="temperature of the logits")

    def build(self, seed: int) -> TrainedHead:
        """Return an unfitted head; ``seed`` is the only source of its randomness."""
        return TrainedHead(self, seed, self.name, "none", CosineRule(self.tau))


class Linear(_Trained):
    """Linear classifier with a bias on features standardised by the first experience, zero at first."""

    name: ClassVar[str] = "linear"

    def build(self, seed: int) -> TrainedHead:
        """Return an unfitted head; ``seed`` is the only source of its randomness."""
        return TrainedHead(self, seed, self.name, "standard", LinearRule())


class CosineRule:
    """Cosines of rows of any length."""

    def __init__(self, tau: float) -> None:
        self.tau = tau

    def inputs(self, points: Tensor) -> Tensor:
        """Return rows of length 1."""
        return unit(points)

    def fresh(self, count: int, width: int, generator: torch.Generator) -> Tensor:
        """Return random directions."""
        return unit(torch.randn(count, width, generator=generator))

    def loss(self, inputs: Tensor, rows: Tensor, columns: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy and its gradient with respect to ``rows``."""
        length = rows.norm(dim=1, keepdim=True)
        loss, gradient = cosine_loss(inputs, rows / length, columns, weights, self.tau)
        return loss, gradient / length

    def logits(self, inputs: Tensor, rows: Tensor) -> Tensor:
        """Return logits, shape (n, c)."""
        return inputs @ unit(rows).T / self.tau


class LinearRule:
    """Products of rows that carry their bias in a last column."""

    def inputs(self, points: Tensor) -> Tensor:
        """Append the column of ones that meets the bias; scaled so that an input has length near 1."""
        ones = points.new_ones(len(points), 1)
        return torch.cat([points / points.shape[1] ** 0.5, ones], dim=1)

    def fresh(self, count: int, width: int, generator: torch.Generator) -> Tensor:
        """Return zeros."""
        return torch.zeros(count, width + 1)

    def loss(self, inputs: Tensor, rows: Tensor, columns: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy and its gradient with respect to ``rows``."""
        loss, gradient = softmax_loss(inputs @ rows.T, columns, weights)
        return loss, gradient.T @ inputs

    def logits(self, inputs: Tensor, rows: Tensor) -> Tensor:
        """Return logits, shape (n, c)."""
        return inputs @ rows.T


class TrainedHead:
    """The fitted side of Cosine and Linear (see Head for the arguments).

    Attributes:
        weight_: float32, one row for each class (with the bias in its last column, where there is one).
    """

    def __init__(self, settings: _Trained, seed: int, name: str, metric: Kind, rule: CosineRule | LinearRule) -> None:
        self.settings = settings
        self.seed = seed
        self.name = name
        self.rule = rule
        self.classes_ = torch.empty(0, dtype=torch.int64)
        self.weight_ = torch.empty(0, 0)
        self.metric_ = Metric(metric, 0.0)
        self.experience_ = torch.zeros((), dtype=torch.int64)
        self._tuned = 0

    @one_thread()
    def partial_fit(self, features: Tensor, labels: Tensor, progress: Progress = silent) -> Self:
        """Train on the current data alone."""
        check_input(features, labels, self.classes_)
        own, seen = self.settings, len(self.classes_)
        classes, columns = extend(self.classes_, labels)
        features = features.detach().float()
        generator = torch_generator(self.seed, self.name, int(self.experience_))
        metric = self.metric_.observed(features, columns - seen)
        inputs = self.rule.inputs(metric.to(features))
        rows = self.rule.fresh(len(classes) - seen, features.shape[1], generator)
        rows = torch.cat([self.weight_, rows]) if seen else rows
        start = seen if own.mask == "new" else 0
        trained, columns = rows[start:].clone(), columns - start
        speed = torch.zeros_like(trained)
        for batch, lr, where in steps(len(inputs), own.schedule(), generator, progress, self.name):
            weights = torch.full((len(batch),), 1 / len(batch))
            loss, gradient = self.rule.loss(inputs[batch], trained, columns[batch], weights)
            require_finite(loss, f"experience {int(self.experience_)}, {where}", self.name)
            speed = own.momentum * speed + gradient + own.weight_decay * trained
            trained = trained - lr * speed
        self.weight_ = torch.cat([rows[:start], trained])
        self.classes_, self.experience_ = classes, self.experience_ + 1
        self.metric_, self._tuned = metric, trained.numel()
        return self

    def scores(self, features: Tensor) -> Tensor:
        """Return logits: float32, shape (n, c)."""
        weight = self.weight_.double()
        width = len(self.metric_.centre) if len(self.classes_) else None
        return score_rows(
            features, lambda rows: self.rule.logits(self.rule.inputs(self.metric_.to(rows)), weight), width
        )

    def predict(self, features: Tensor) -> Tensor:
        """Return int64 classes, shape (n,)."""
        return self.classes_[self.scores(features).argmax(dim=1)]

    def state(self) -> dict[str, Tensor]:
        """Return classes, weights, the metric and the count of experiences."""
        own = {"classes": self.classes_, "weight": self.weight_, "experience": self.experience_}
        own["tuned"] = torch.tensor(self._tuned)
        return copy_state(own | {f"metric.{name}": tensor for name, tensor in self.metric_.state().items()})

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore what ``state`` returned."""
        ready = take_state({"tuned": torch.tensor(0), **state}, tuple(self.state()), self.name)  # older ones lack it
        self.classes_, self.weight_, self.experience_ = ready["classes"], ready["weight"], ready["experience"]
        self._tuned = int(ready["tuned"])
        self.metric_.load_state({name: ready[f"metric.{name}"] for name in self.metric_.state()})

    def translate(self, move: Callable[[Tensor], Tensor]) -> None:
        """Do nothing: a decision boundary is no point of feature space."""

    def prototypes(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return nothing, for the same reason."""
        return {}

    @property
    def trainable_parameters(self) -> int:
        """Numbers of the rows that the last experience trained."""
        return self._tuned

    @property
    def stored_parameters(self) -> int:
        """Weights and, for ``linear``, the standardisation."""
        return self.weight_.numel() + self.metric_.stored_parameters
