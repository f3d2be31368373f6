"""Distillation of a cached teacher into a ViT: the loss, the loop, its checkpoint."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from backbones.core.artifacts import write_bytes
from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.core.seed import numpy_generator, torch_generator
from backbones.recipes.images import augment, to_unit
from backbones.recipes.orthogonal import optimisers
from backbones.recipes.readers import Lesson, Readers
from backbones.recipes.student import choose_patches, cosine_ramp, encode

Tools = list[torch.optim.Optimizer]


@dataclass(frozen=True)
class Plan:
    """How long and how to train.

    Attributes:
        steps: optimiser steps; with this the run depends on the seed only. None: by ``minutes``.
        minutes: wall time of training, checkpoints included; the schedule follows the clock.
        batch: images a step.
        lr: peak learning rate (see optimisers).
        kept: patches kept of every 2 x 2 cell, as pairs (from this share of the run on, how many).
        weights: of the losses on the class token, the patch tokens and the labels.
        spread: weight of the loss on how unevenly class tokens fill their space (see Readers.losses); above 0, the
            teacher's class tokens are whitened instead of standardised.
        soft: share of the teacher's answer in the label target; the rest is the true label.
        shift: see augment, in pixels.
        jitter: see augment.
        seed: of batches, views and starts.
        shard: images a forward; the shards of a batch are shared out to ``workers``.
        workers: threads; on a shared machine better than threads inside one forward. The result does not depend
            on it.
    """

    steps: int | None = None
    minutes: float = 35.0
    batch: int = 256
    lr: float = 4e-3
    kept: tuple[tuple[float, int], ...] = ((0.0, 1), (0.3, 2), (0.8, 4))
    weights: tuple[float, float, float] = (4.0, 6.0, 0.5)
    spread: float = 0.0
    soft: float = 0.5
    shift: int = 2
    jitter: float = 0.25
    seed: int = 0
    shard: int = 32
    workers: int = 1

    def per_cell(self, done: float) -> int:
        """Return how many patches of a cell stay after the share ``done``."""
        return [count for start, count in self.kept if done >= start][-1]


@dataclass
class Course:
    """Where a run stands: steps and seconds done, and every 50 steps the share done and the mean losses since.

    ``sums`` are the losses since the last entry, added up, so that a run that was stopped has the same history.
    """

    step: int = 0
    seconds: float = 0.0
    history: list[list[float]] = field(default_factory=list)
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)


def distil(
    model: VisionTransformer,
    lesson: Lesson,
    plan: Plan,
    device: torch.device,
    checkpoint: Path | None = None,
    save_every: float = 120.0,
    progress: Progress = silent,
) -> Course:
    """Train ``model`` in place and return how it went; an interrupted run goes on from ``checkpoint``.

    ``plan.minutes`` and ``plan.workers`` may differ from those of the interrupted part.

    Args:
        model: see build_student.
        lesson: what is learned from.
        plan: how.
        device: where; bf16 autocast is used on CUDA.
        checkpoint: file to write every ``save_every`` seconds and to go on from, or None.
        save_every: in seconds.
        progress: told of every step.

    Raises:
        FrostlineError: a loss is not finite, or the checkpoint belongs to another plan.
    """
    model.to(device).train()
    readers = Readers(lesson, model.embed_dim, torch_generator(plan.seed, "readers"), plan.spread > 0).to(device)
    tools = optimisers(model, readers, plan.lr)
    base = [[group["lr"] for group in tool.param_groups] for tool in tools]
    course = _restore(checkpoint, model, readers, tools, plan)
    pool = ThreadPoolExecutor(plan.workers)
    began = saved = time.monotonic() - course.seconds
    while (done := course.step / plan.steps if plan.steps else course.seconds / (60 * plan.minutes)) < 1:
        for tool, rates in zip(tools, base, strict=True):
            for group, rate in zip(tool.param_groups, rates, strict=True):
                group["lr"] = rate * cosine_ramp(done)
        view = _view(lesson, plan, course.step, model.patch_embed.grid_size[0], plan.per_cell(done), device)
        losses = _learn(model, readers, view, plan, pool, tools)
        if not torch.isfinite(losses).all():
            raise FrostlineError(f"a loss is not finite at step {course.step}; pass a smaller --lr than {plan.lr}.")
        course.sums = [before + loss for before, loss in zip(course.sums, losses.tolist(), strict=True)]
        course.step += 1
        course.seconds = time.monotonic() - began
        if course.step % 50 == 0:
            course.history.append([round(value, 5) for value in [done, *(total / 50 for total in course.sums)]])
            course.sums = [0.0] * 4
        if checkpoint is not None and time.monotonic() - saved > save_every:
            _save(checkpoint, model, readers, tools, plan, course)
            saved = time.monotonic()
        progress("distil", course.step, plan.steps or max(course.step, int(course.step / max(done, 1e-6))))
    pool.shutdown()
    model.to("cpu").eval()
    return course


@dataclass(frozen=True)
class View:
    """What one step shows: images, kept patches, the teacher's tokens and the label targets, row by row."""

    images: torch.Tensor
    kept: torch.Tensor | None
    targets: torch.Tensor
    answers: torch.Tensor

    def part(self, rows: slice) -> View:
        """Return some of the rows."""
        kept = None if self.kept is None else self.kept[rows]
        return View(self.images[rows], kept, self.targets[rows], self.answers[rows])


def _view(lesson: Lesson, plan: Plan, step: int, grid: int, per_cell: int, device: torch.device) -> View:
    rows = _rows(len(lesson.images), plan, step)
    generator = torch_generator(plan.seed, "views", step)
    images = augment(to_unit(lesson.images[rows], device), plan.shift, plan.jitter, generator)
    targets = torch.from_numpy(lesson.targets[rows]).to(device, torch.float32)
    flipped = (torch.rand(len(rows), generator=generator) < 0.5).to(device)
    images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
    mirror = torch.arange(grid * grid).view(grid, grid).flip(1).flatten()
    mirror = torch.cat([torch.zeros(1, dtype=torch.int64), mirror + 1]).to(device)
    targets = torch.where(flipped[:, None, None], targets[:, mirror], targets)
    kept = choose_patches(len(rows), grid, per_cell, generator)
    truth = nn.functional.one_hot(torch.from_numpy(lesson.labels[rows]), lesson.scores.shape[1])
    answers = torch.from_numpy(lesson.scores[rows]).lerp(truth.float(), 1 - plan.soft).to(device)
    return View(images, None if kept is None else kept.to(device), targets, answers)


def _learn(
    model: VisionTransformer,
    readers: Readers,
    view: View,
    plan: Plan,
    pool: ThreadPoolExecutor,
    tools: Tools,
) -> torch.Tensor:
    """Take one step on ``view`` and return its mean losses; shards are summed in order, whichever thread ran them."""
    params = [*model.parameters(), *readers.parameters()]
    device = view.images.device
    count = len(view.images)
    share = torch.tensor([*plan.weights, plan.spread], device=device)

    def shard(start: int) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        part = view.part(slice(start, start + plan.shard))
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            tokens = encode(model, part.images, part.kept)
        losses = readers.losses(tokens.float(), part.kept, part.targets, part.answers) * (len(part.images) / count)
        return losses.detach().cpu(), torch.autograd.grad((losses * share).sum(), params)

    for param in params:
        param.grad = None
    total = torch.zeros(4)
    for losses, gradients in pool.map(shard, range(0, count, plan.shard)):
        total += losses
        for param, gradient in zip(params, gradients, strict=True):
            param.grad = gradient if param.grad is None else param.grad.add_(gradient)
    if torch.isfinite(total).all():
        list(pool.map(lambda tool: tool.step(), tools))
    return total


def _rows(count: int, plan: Plan, step: int) -> NDArray[np.int64]:
    batch = min(plan.batch, count)
    epoch, place = divmod(step, count // batch)
    order = numpy_generator(plan.seed, "epoch", epoch).permutation(count)
    return np.sort(order[place * batch : (place + 1) * batch])


def _fixed(plan: Plan) -> str:
    return repr(replace(plan, minutes=0.0, workers=0))  # these two may change on the way


def _save(path: Path, model: nn.Module, readers: nn.Module, tools: Tools, plan: Plan, course: Course) -> None:
    state = {"model": model.state_dict(), "readers": readers.state_dict(), "tools": [t.state_dict() for t in tools]}
    buffer = io.BytesIO()
    torch.save(state | {"plan": _fixed(plan), "course": asdict(course)}, buffer)
    write_bytes(path, buffer.getvalue())


def _restore(path: Path | None, model: nn.Module, readers: nn.Module, tools: Tools, plan: Plan) -> Course:
    if path is None or not path.exists():
        return Course()
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["plan"] != _fixed(plan):
        raise FrostlineError(
            f"{path} is of a run with other settings ({state['plan']}); remove it or pass another --out."
        )
    model.load_state_dict(state["model"])
    readers.load_state_dict(state["readers"])
    for tool, held in zip(tools, state["tools"], strict=True):
        tool.load_state_dict(held)
    return Course(**state["course"])
