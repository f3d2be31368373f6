"""How long a distillation will take, from one forward pass of each model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from backbones.base import Backbone
from backbones.lifecycle.distill.distil import Plan
from backbones.lifecycle.distill.student import Shape
from backbones.training.loop import Recipe, duration

BACKWARD = 3.0  # a training step costs about three forward passes


def estimate(
    teacher: Backbone,
    student: Backbone | Shape,
    plan: Plan,
    corpus: Sequence[Any] | None,
    data: Sequence[Any] | None,
    tuned: bool,
) -> str:
    """Return how many steps a distillation takes and about how long, as a sentence.

    Args:
        teacher, student, plan: see ``distil``.
        corpus: raw inputs of the general stage; data: those of the task.
        tuned: whether the teacher has its head already.
    """
    jobs: list[tuple[Recipe | None, Sequence[Any], float, float]] = []  # recipe, inputs, teacher's passes, student's
    if corpus is not None:
        jobs.append((plan.general, corpus, 1.0, BACKWARD))
    if data is not None:
        jobs += [(None if tuned else plan.tune, data, BACKWARD, 0.0), (plan.layers, data, 1.0, BACKWARD)]
        jobs.append((plan.answers, data, 0.0, BACKWARD))
    share = student.layers / teacher.depth if isinstance(student, Shape) else student.depth / teacher.depth
    width = student.width or teacher.width
    share *= (width / teacher.width) ** 2
    total, steps = 0.0, 0
    for recipe, samples, theirs, mine in jobs:
        if recipe is None:
            continue
        once = _forward(teacher, [samples[row] for row in range(min(recipe.batch, len(samples)))])
        count = recipe.length(len(samples))
        steps += count
        total += count * once * (theirs + mine * share)
    return f"{steps:,} steps in {sum(job[0] is not None for job in jobs)} stages, about {duration(total)} in all"


def _forward(backbone: Backbone, raw: Sequence[Any]) -> float:
    batch = backbone.preprocessing(raw).to(backbone.device)
    with torch.no_grad():
        backbone.features(batch)
        began = time.perf_counter()
        backbone.features(batch)
        if batch.device.type == "cuda":
            torch.cuda.synchronize(batch.device)
    return time.perf_counter() - began
