"""IPT: incremental prototype tuning, a reconstruction from the words of the paper.

Deng, Hu, Zhang, Wang, "Incremental Prototype Tuning for Class Incremental Learning", arXiv 2204.03410. The formulas,
constants and code of the paper were not available: what follows is inferred from its abstract and opening pages, the
defaults are the winners of a study on held-out training data (benchmarks/results/ipt-study.md), and no figure of
ours is a figure of the paper.

After each experience the head keeps, instead of samples: one tuned *category prototype* for each class, up to K
*example prototypes* for each class with the share of the class each stands for, one number for the spread around
them, and one class-agnostic metric. It descends

    CE(current data -> all seen classes) + lambda * MSL(examples of the new classes)
        + w * CE(old examples -> all seen classes)

in the logits cos(z, C) / tau. Old examples are frozen; each step replays a sample of them of fixed size, so that
an experience costs the same however many came before.

The plainest reading, without our additions, is ``Ipt(prototypes=5, tau=1/16, metric="none", noise=0, settle=False,
balance=False, average=False, replay_weight="index", epochs=30, batch_size=64, lr=0.05, decay=False)``, but for the
replay of a sample of fixed size instead of all stored prototypes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from backbones.core.samples import Progress, silent
from backbones.core.seed import torch_generator
from backbones.core.settings import Settings
from continual.heads.base import check_input
from continual.heads.metric import Kind, Metric
from continual.heads.replay import Bank, condense, first_examples
from continual.heads.rows import class_means, copy_state, extend, score_rows, take_state, unit
from continual.heads.tuning import (
    Descent,
    Schedule,
    cosine_loss,
    maximum_similarity_loss,
    one_thread,
    require_finite,
    steps,
)

Weight = Literal["classes", "index"]


class Ipt(Settings):
    """Incremental prototype tuning; every constant is a setting, the defaults are the study's winner."""

    name: ClassVar[str] = "ipt"
    order_free: ClassVar[bool] = False

    prototypes: int = Field(
        default=50, ge=1, description="example prototypes K for each class (fewer where samples are)"
    )
    tau: float = Field(default=1 / 24, gt=0, description="temperature of the cosine logits")
    metric: Kind = Field(default="within", description="where cosines are taken: none, standard or within (see Metric)")
    shrinkage: float = Field(default=0.05, ge=0, le=1, description="least shrinkage of the within-class covariance")
    similarity_weight: float = Field(default=1.0, ge=0, description="lambda, weight of the maximum-similarity loss")
    replay_weight: Weight | Annotated[float, Field(ge=0)] = Field(
        default="classes",
        union_mode="left_to_right",
        description="w: old classes per new class, index of the experience, or a constant",
    )
    average: bool = Field(
        default=True, description="divide the cross-entropies by 1 + w, so that w does not raise the step"
    )
    replay_size: int = Field(default=512, ge=1, description="old example prototypes replayed in each step")
    noise: float = Field(
        default=0.85, ge=0, description="spread around replayed prototypes, as a multiple of the class's own"
    )
    balance: bool = Field(
        default=True, description="replay a prototype as often as its share of the class; else all alike"
    )
    settle: bool = Field(
        default=True, description="after tuning, move each example to the mean of the features it wins"
    )
    epochs: int = Field(default=10, ge=0, description="passes over the current data")
    batch_size: int = Field(default=128, ge=1, description="current samples in each step")
    lr: float = Field(default=0.1, gt=0, description="peak learning rate")
    momentum: float = Field(default=0.9, ge=0, lt=1)
    decay: bool = Field(default=True, description="cosine decay of the learning rate to zero within an experience")

    def build(self, seed: int) -> IptHead:
        """Return an unfitted head; ``seed`` is the only source of its randomness."""
        return IptHead(self, seed)

    def schedule(self) -> Schedule:
        """Return what the loop needs."""
        return Schedule(self.epochs, self.batch_size, self.lr, self.momentum, self.decay)


@dataclass(frozen=True)
class _Sample:
    """The current data in the metric: directions (n, width), columns (n,), rows picked as first examples (m,)."""

    directions: Tensor
    columns: Tensor
    picked: Tensor


class IptHead:
    """The fitted side of Ipt (see Head for the arguments).

    Attributes:
        category_: category prototypes, float32, shape (c, width), in feature space.
        bank_: example prototypes with their owners, shares and spreads.
        metric_: where cosines are taken.
        experience_: int64 scalar: experiences learned so far.
    """

    def __init__(self, settings: Ipt, seed: int) -> None:
        self.settings = settings
        self.seed = seed
        self.classes_ = torch.empty(0, dtype=torch.int64)
        self.category_ = torch.empty(0, 0)
        self.bank_ = Bank()
        self.metric_ = Metric(settings.metric, settings.shrinkage)
        self.experience_ = torch.zeros((), dtype=torch.int64)
        self._tuned = 0

    @one_thread()
    def partial_fit(self, features: Tensor, labels: Tensor, progress: Progress = silent) -> Self:
        """Learn one experience: metric, category prototypes, example prototypes."""
        check_input(features, labels, self.classes_)
        seen = len(self.classes_)
        classes, columns = extend(self.classes_, labels)
        features = features.detach().float()
        generator = torch_generator(self.seed, "ipt", int(self.experience_))
        metric = self.metric_.observed(features, columns - seen)
        means = class_means(features, columns - seen, len(classes) - seen).float()
        start = metric.to(torch.cat([self.category_, means]) if seen else means)
        points = metric.to(features)
        picked = first_examples(columns, self.settings.prototypes, generator)
        batch = _Sample(unit(points), columns, picked)
        category, turned = self._tune(batch, start, metric, generator, progress)
        examples = turned * points[picked].norm(dim=1, keepdim=True)
        # Tuning turns category prototypes; each keeps the length of its class mean, so a later metric may move it.
        self.category_ = metric.fro(category * start.norm(dim=1, keepdim=True))
        fresh = condense(points, columns, examples, columns[picked], self.settings.settle)
        self.bank_.add(fresh, metric.fro)
        self.classes_, self.metric_ = classes, metric
        self._tuned = category.numel() + examples.numel()
        self.experience_ = self.experience_ + 1
        return self

    def _tune(
        self, sample: _Sample, start: Tensor, metric: Metric, generator: torch.Generator, progress: Progress
    ) -> tuple[Tensor, Tensor]:
        """Descend the loss in the metric; returns directions of category and example prototypes."""
        own, seen = self.settings, len(self.classes_)
        category, tuned = Descent(start), Descent(sample.directions[sample.picked])
        owners = sample.columns[sample.picked]
        weight = self._weight(len(start) - seen)
        scale = 1 / (1 + weight) if own.average else 1.0
        draw = self.bank_.sampler(own.balance) if weight else None
        for rows, lr, where in steps(len(sample.columns), own.schedule(), generator, progress, "IPT"):
            batch, targets = sample.directions[rows], sample.columns[rows]
            similarity, pull = maximum_similarity_loss(batch, targets, tuned.value, owners)
            tuned.step(own.similarity_weight * pull, lr, own.momentum)
            weights = torch.full((len(rows),), scale / len(rows))
            if draw is not None:
                old, old_columns = draw(own.replay_size, own.noise, generator, metric.to)
                batch, targets = torch.cat([batch, unit(old)]), torch.cat([targets, old_columns])
                weights = torch.cat([weights, torch.full((len(old),), scale * weight / len(old))])
            loss, gradient = cosine_loss(batch, category.value, targets, weights, own.tau)
            require_finite(
                loss + own.similarity_weight * similarity, f"experience {int(self.experience_)}, {where}", "ipt"
            )
            category.step(gradient, lr, own.momentum)
        return category.value, tuned.value

    def _weight(self, fresh: int) -> float:
        """Weight of replay when ``fresh`` classes arrive; 0 in the first experience."""
        if not len(self.classes_):
            return 0.0
        known: dict[Weight | float, float] = {
            "classes": len(self.classes_) / fresh,
            "index": float(self.experience_),
        }
        weight = self.settings.replay_weight
        return known[weight] if weight in known else float(weight)

    def scores(self, features: Tensor) -> Tensor:
        """Return logits cos / tau: float32, shape (n, c)."""
        prototypes = unit(self.metric_.to(self.category_.double())).T if len(self.classes_) else self.category_
        return score_rows(
            features,
            lambda rows: unit(self.metric_.to(rows)) @ prototypes / self.settings.tau,
            self.category_.shape[1] if len(self.classes_) else None,
        )

    def predict(self, features: Tensor) -> Tensor:
        """Return int64 classes, shape (n,)."""
        return self.classes_[self.scores(features).argmax(dim=1)]

    def state(self) -> dict[str, Tensor]:
        """Return classes, prototypes, metric and the count of experiences."""
        own = {"classes": self.classes_, "category": self.category_, "experience": self.experience_}
        own["tuned"] = torch.tensor(self._tuned)
        metric = {f"metric.{name}": tensor for name, tensor in self.metric_.state().items()}
        bank = {f"bank.{name}": tensor for name, tensor in self.bank_.state().items()}
        return copy_state({**own, **metric, **bank})

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore what ``state`` returned."""
        ready = take_state({"tuned": torch.tensor(0), **state}, tuple(self.state()), Ipt.name)  # older ones lack it
        self.classes_, self.category_, self.experience_ = ready["classes"], ready["category"], ready["experience"]
        self._tuned = int(ready["tuned"])
        self.metric_.load_state({name: ready[f"metric.{name}"] for name in self.metric_.state()})
        self.bank_.load_state({name: ready[f"bank.{name}"] for name in self.bank_.state()})

    def translate(self, move: Callable[[Tensor], Tensor]) -> None:
        """Move category prototypes, example prototypes and the centre of the metric; spreads and covariance stay."""
        if len(self.classes_):
            self.category_ = move(self.category_).clone()
            self.bank_.points = move(self.bank_.points).clone()
            self.metric_.translate(move)

    def prototypes(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return category and example prototypes in feature space."""
        if not len(self.classes_):
            return {}
        examples = (self.bank_.points, self.classes_[self.bank_.owners])
        return {"category": (self.category_, self.classes_), "example": examples}

    @property
    def trainable_parameters(self) -> int:
        """Category prototypes of all seen classes and example prototypes of the last experience."""
        return self._tuned

    @property
    def stored_parameters(self) -> int:
        """Category and example prototypes, owners, shares, spreads, metric."""
        return self.category_.numel() + self.bank_.stored_parameters + self.metric_.stored_parameters
