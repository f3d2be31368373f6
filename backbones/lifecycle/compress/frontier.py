"""Grids of bits and sparsities: each point compressed, judged and weighed; the accuracy-bytes-latency frontier."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.labelled import Task
from backbones.core.samples import Progress, silent
from backbones.lifecycle.compress.calibrate import moments, quantise_calibrated
from backbones.lifecycle.compress.grid import Codes, quantise
from backbones.lifecycle.compress.layers import TABLE, linear_layers, quantised_layers
from backbones.lifecycle.compress.measure import Judge, Judged, sample_batch
from backbones.lifecycle.compress.packed import FULL, Packed, Weights, pack_weights
from backbones.lifecycle.compress.plan import Plan
from backbones.lifecycle.compress.prune import Masks, zeros
from backbones.lifecycle.compress.retrain import Retrainer, no_data, prune_iteratively
from backbones.training.loop import Recipe, Say, duration, mute
from backbones.training.timing import ROUNDS, Speed, compare_speed, forward_of

CALIBRATION = 256  # samples
TRAINING = 3  # a step of training in forward passes


@dataclass
class Point:
    """One compressed backbone.

    Attributes:
        bits: of a weight; sparsity: share of the weights of linear layers that are zero.
        zeros: how many that is.
        formula: bytes by the formula; file: bytes of the packed file.
        judged: accuracies, None without a task.
        speed: of a batch with the compressed weights in float32, against the dense backbone.
        packed: its weights.
        state: every tensor of the plain model.
    """

    bits: int
    sparsity: float
    zeros: int
    formula: int
    file: int
    judged: Judged | None = None
    speed: Speed | None = None
    packed: Packed = field(default_factory=Packed, repr=False)
    state: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """Such as ``4 bits, 50 % zero``."""
        bits = "float32" if self.bits == FULL else f"{self.bits} bits"
        return f"{bits}, {self.sparsity:.0%} zero" if self.sparsity else bits


@dataclass
class Frontier:
    """All points of a plan beside the dense backbone.

    Attributes:
        dense: the point without any compression; points: the others.
        chosen: the smallest point within the loss that was allowed, else the one that lost least.
        within: whether it is within it.
    """

    dense: Point
    points: list[Point]
    chosen: Point
    within: bool


def explore(
    backbone: Backbone,
    plan: Plan,
    *,
    task: Task | None = None,
    samples: Sequence[Any] = (),
    allowed: float = 0.01,
    store: Path | None = None,
    progress: Progress = silent,
    say: Say = mute,
) -> Frontier:
    """Compress a backbone in every way of a plan; it is left as it was.

    Args:
        backbone: the dense one, with nothing on it.
        plan: what to try.
        task: labelled data to judge by; None: sizes alone, and the plan must be of one point.
        samples: raw inputs for calibration and retraining; those of the task's training data if there are none.
        allowed: loss of accuracy (refitted head) that the chosen point may have.
        store: folder of features, see ``Judge``.
        progress: told of all work.
        say: told the estimates.

    Raises:
        FrostlineError: see ``Plan``, ``quantised_layers``, ``Retrainer``; several points and no data to compare by.
    """
    work = _Work(backbone, plan, task, samples if len(samples) or task is None else task.train.samples, store,
                 progress, say)  # fmt: skip
    dense = work.point(backbone, FULL, 0.0, {})
    points: list[Point] = []
    student = copy.deepcopy(backbone)
    masks: Masks = {}
    for sparsity in plan.sparsity:
        masks = work.pruned(student, sparsity, masks)
        state = _held(student)
        for bits in plan.bits:
            if bits == FULL and sparsity == 0:
                continue  # the dense one
            points.append(work.point(student, bits, sparsity, masks))
            student.module.load_state_dict(state)
    chosen, within = choose(dense, points, allowed)
    return Frontier(dense, points, chosen, within)


def choose(dense: Point, points: Sequence[Point], allowed: float) -> tuple[Point, bool]:
    """Return the smallest point that loses at most ``allowed``, and True; else the one that loses least, and False."""
    if not points or dense.judged is None:
        return next(iter(points), dense), True
    lost = [dense.judged.linear - (point.judged.linear if point.judged else math.nan) for point in points]
    good = [point for point, loss in zip(points, lost, strict=True) if loss <= allowed + 1e-9]
    if good:
        return min(good, key=lambda point: point.file), True
    return points[min(range(len(points)), key=lambda row: lost[row])], False


class _Work:
    """What all points of a frontier share."""

    def __init__(
        self,
        dense: Backbone,
        plan: Plan,
        task: Task | None,
        samples: Sequence[Any],
        store: Path | None,
        progress: Progress,
        say: Say,
    ) -> None:
        self.dense, self.plan, self.task, self.samples = dense, plan, task, samples
        self.progress, self.say = progress, say
        count = len(plan.bits) * len(plan.sparsity)
        if task is None and count > 1:
            raise FrostlineError(
                f"{count} combinations of bits and sparsity and no labelled data to compare them by; pass --data-root "
                "or --benchmark, or one value of --bits and one of --sparsity."
            )
        self.layers = quantised_layers(dense, plan.keep, embeddings=plan.embeddings)
        self.linear = linear_layers(dense, plan.keep)
        self.settings = {bits: plan.grid(bits, calibrated=len(samples) > 0) for bits in plan.bits if bits != FULL}
        self.batch = sample_batch(dense, task.train) if task is not None else None
        self._estimate(store)
        self.retrainer = self._retrainer() if max(plan.sparsity) > 0 or plan.recover else None
        self.judge = Judge(dense, task, store, progress) if task is not None else None
        self.moments: dict[str, Tensor] = {}

    def _estimate(self, store: Path | None) -> None:
        """Say how long all of it will take, from the time of one batch."""
        if self.batch is None or self.task is None:
            return
        plan, run = self.plan, forward_of(self.dense, self.batch)
        run()
        began = time.perf_counter()
        run()
        each = (time.perf_counter() - began) / len(self.batch)
        pruned = sum(share > 0 for share in plan.sparsity)
        points = len(plan.bits) * len(plan.sparsity) + 1
        judged = points * (len(self.task.train) + len(self.task.test) + 2 * ROUNDS * len(self.batch))
        steps = plan.recipe.length(len(self.samples)) if plan.retrain != "none" and len(self.samples) else 0
        trained = pruned * plan.rounds * steps * plan.recipe.batch * TRAINING
        calibrated = len(plan.sparsity) * min(CALIBRATION, len(self.samples))
        kept = ", less for features that are kept already" if store is not None else ""
        self.say(
            f"{points} points on {len(self.task.train)} training and {len(self.task.test)} test samples, {pruned} "
            f"sparsities to retrain: about {duration(each * (judged + trained + calibrated))}{kept}"
        )

    def _retrainer(self) -> Retrainer:
        plan, task = self.plan, self.task
        if plan.retrain == "features" or plan.recover:
            if plan.retrain == "labels" and task is None:
                raise no_data("labels")
            towards = Retrainer.towards(self.dense, self.samples, plan.recipe, self.progress)
            towards.way, towards.labelled = plan.retrain, task.train if task is not None else None
            return towards
        return Retrainer(plan.retrain, plan.recipe, labelled=task.train if task is not None else None)

    def pruned(self, student: Backbone, sparsity: float, masks: Masks) -> Masks:
        """Prune ``student`` further; returns its masks, none for a sparsity of 0."""
        if self.retrainer is not None and sparsity:
            masks = prune_iteratively(
                student, self.linear, sparsity, self.plan.rounds, self.retrainer, masks=masks, progress=self.progress,
                say=self.say,
            )  # fmt: skip
        if any(settings.rounding == "calibrated" for settings in self.settings.values()):
            some = [self.samples[row] for row in range(0, len(self.samples), max(1, len(self.samples) // CALIBRATION))]
            self.moments = moments(student, self._calibrated(), some, progress=self.progress)
        return masks

    def _calibrated(self) -> list[str]:
        """Return the layers whose inputs are vectors; rows of tables are looked up, not multiplied."""
        return [p for p in self.layers if not isinstance(self.dense.module.get_submodule(p), TABLE)]

    def point(self, student: Backbone, bits: int, sparsity: float, masks: Masks) -> Point:
        """Put ``student`` on a grid in place, judge and weigh it."""
        weights = self._weights(student, bits, masks)
        state = weights.plain()
        student.module.load_state_dict(state)
        if bits != FULL and self.plan.recover:
            weights, state = self._recovered(student, weights, f"{bits} bits")
        packed = pack_weights(weights)
        found = Point(bits, sparsity, zeros(masks), packed.formula, len(packed.file()), packed=packed, state=state)
        if self.judge is not None and self.batch is not None:
            found.judged = self.judge.judge(student, found.name)
            runs = {"dense": self.dense, "this": student}
            found.speed = compare_speed({name: forward_of(each, self.batch) for name, each in runs.items()})["this"]
        return found

    def _recovered(self, student: Backbone, weights: Weights, what: str) -> tuple[Weights, dict[str, Tensor]]:
        """Let the vectors of ``student`` learn the dense features, in place."""
        assert self.retrainer is not None
        recipe = Recipe(**{**self.plan.recipe.model_dump(), "steps": self.plan.recover, "epochs": None})
        vectors = {name: param for name, param in student.module.named_parameters() if param.ndim == 1}
        self.retrainer.learn_features(student, vectors, recipe, f"{what}: biases and norms", self.progress, self.say)
        state = _held(student)
        rest = {name: state[name] for name in weights.rest}
        return Weights(weights.codes, weights.masks, rest), state

    def _weights(self, student: Backbone, bits: int, masks: Masks) -> Weights:
        state = _held(student)
        codes: dict[str, Codes] = {}
        for number, path in enumerate(self.layers if bits != FULL else ()):
            weight = state.pop(f"{path}.weight")
            moment = self.moments.get(path) if self.settings[bits].rounding == "calibrated" else None
            if moment is None:
                codes[f"{path}.weight"] = quantise(weight, self.settings[bits])
            else:
                mask = masks[path].cpu() if path in masks else None
                codes[f"{path}.weight"] = quantise_calibrated(weight, self.settings[bits], moment, mask)
            self.progress(f"{bits} bits: rounding", number + 1, len(self.layers))
        return Weights(codes, {f"{path}.weight": mask for path, mask in masks.items()}, state)


def _held(backbone: Backbone) -> dict[str, Tensor]:
    """Return a copy of every weight on the CPU, where points of the frontier are kept and packed."""
    return {name: tensor.detach().cpu().clone() for name, tensor in backbone.frozen_state().items()}
