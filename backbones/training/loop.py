"""The training loop of the life cycle: any loss, any weights, resumable to the bit, on one process or many."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from backbones.core.errors import FrostlineError
from backbones.core.launch import autocast, pick_precision
from backbones.core.samples import Progress, silent
from backbones.core.seed import derive, lent_generator, torch_generator
from backbones.core.settings import Settings
from backbones.training import ranks
from backbones.training.kept import Kept

Loss = Callable[[list[int], torch.Generator], "Tensor | dict[str, Tensor]"]
Say = Callable[[str], None]
POINTS = 100  # of the loss curve, about
TIMED = 3  # steps after which the whole is estimated; the first, which allocates, does not count


def mute(text: str) -> None:
    """A Say that tells nobody."""


class Recipe(Settings):
    """How long and how fast to train.

    Args:
        steps: optimizer steps; one of ``steps`` and ``epochs`` is given.
        epochs: passes over the data.
        batch: samples a step.
        micro: samples a forward pass, whose gradients are summed; None for the whole batch, or for the share of each
            of several processes.
        lr: peak rate of AdamW (0.9, 0.999, 1e-6).
        warmup: share of the steps over which the rate rises linearly.
        decay: how it falls after that, to zero.
        weight_decay: of tensors with two dimensions or more; norms and biases have none.
        clip: largest norm of the gradient.
        precision: ``"fp32"``, ``"bf16"`` or ``"auto"``, which is bf16 where the device computes it natively.
        seed: of the order of the data, of dropout and of what a loss draws.
    """

    steps: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0)
    batch: int = Field(default=32, ge=1)
    micro: int | None = Field(default=None, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    decay: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = 0

    @model_validator(mode="after")
    def _one_length(self) -> Recipe:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"steps = {self.steps} and epochs = {self.epochs}: give exactly one of them")
        return self

    def length(self, count: int) -> int:
        """Return the number of steps over ``count`` samples."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, round(self.epochs * math.ceil(count / self.batch)))

    def rate(self, step: int, steps: int) -> float:
        """Return the share of the peak rate in ``step`` (from 0) of ``steps``."""
        rise = round(self.warmup * steps)
        if step < rise:
            return (step + 1) / (rise + 1)
        done = (step - rise) / max(1, steps - rise)
        return {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[self.decay]


@dataclass
class Course:
    """How a training went.

    Args:
        steps: done, of which ``resumed`` before this call.
        seconds: of this call and of those that it went on from.
        history: ``step``, ``lr`` and the means of the losses since the entry before.
    """

    steps: int = 0
    seconds: float = 0.0
    resumed: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def seconds_per_step(self) -> float:
        """Mean seconds of a step."""
        return self.seconds / max(1, self.steps)

    def curve(self, name: str = "loss") -> tuple[list[float], list[float]]:
        """Return steps and values of one loss."""
        rows = [entry for entry in self.history if name in entry]
        return [entry["step"] for entry in rows], [entry[name] for entry in rows]


def train(
    params: Mapping[str, nn.Parameter],
    loss: Loss,
    count: int,
    recipe: Recipe,
    *,
    modules: Sequence[nn.Module] = (),
    rates: Mapping[str, float] | None = None,
    checkpoint: Path | None = None,
    keep: bool = False,
    save_every: float = 120.0,
    after: Callable[[int], None] | None = None,
    progress: Progress = silent,
    say: Say = mute,
    phase: str = "training",
) -> Course:
    """Train ``params`` in place.

    Args:
        params: what is trained, by names that do not change between calls; they need gradients meanwhile.
        loss: maps rows of the data and a generator of the step's own to the mean loss over these rows, or to several
            by name, which are summed. It is called once per forward pass.
        count: rows of the data; each epoch has its own order.
        recipe: how.
        modules: in training mode meanwhile, in evaluation mode after.
        rates: factor on the rate of the parameters whose name begins so, such as ``{"head.": 10}``.
        checkpoint: file to save to and to go on from; a run that goes on gives the same bits. It is removed at the end.
        keep: leave the final state in ``checkpoint``, to be removed once what was trained is saved.
        save_every: seconds between savings.
        after: called after each step with its number, from 1.
        progress: told of every step.
        say: told the estimate of the time after the first steps.
        phase: what to call the work.

    Raises:
        FrostlineError: nothing to train on, fewer samples a step than processes, a loss that is not finite, or a
            checkpoint of another run.
    """
    if count < 1 or not params:
        raise FrostlineError(f"{phase}: {count} samples and {len(params)} tensors to train; both must be 1 or more.")
    recipe = _shared_out(recipe, count, phase, say)
    steps, device = recipe.length(count), next(iter(params.values())).device
    precision = pick_precision(recipe.precision, device)
    optimizer = _optimizer(params, recipe, rates or {})
    kept = Kept(checkpoint, params, optimizer, {"recipe": recipe.model_dump(), "count": count, "phase": phase})
    course = Course()
    course.steps, course.seconds, course.history = kept.load()
    course.resumed = course.steps
    ranks.share(params)
    work = _Work(params, loss, count, recipe, steps, device, precision, optimizer)
    with _training(params, modules):
        try:
            _run(work, course, kept, save_every, after, progress, say, phase)
        except KeyboardInterrupt:  # weights are those after a whole step nearly always, and are kept then
            if work.taken == work.settled == course.steps and not work.updating:
                kept.save(course.steps, course.seconds, course.history)
            raise
    if keep:
        kept.save(course.steps, course.seconds, course.history)
    else:
        kept.remove()
    return course


def _shared_out(recipe: Recipe, count: int, phase: str, say: Say) -> Recipe:
    """Return the recipe whose forward passes are small enough that every process has a part in every full step."""
    batch, processes = min(recipe.batch, count), ranks.world()
    if batch < processes:
        raise FrostlineError(
            f"{phase}: {batch} samples a step leave {processes - batch} of {processes} processes without any; pass "
            f"--batch {processes} or more, or start fewer processes."
        )
    most = math.ceil(batch / processes)
    if processes == 1 or (recipe.micro is not None and recipe.micro <= most):
        return recipe
    say(f"{phase}: {processes} processes share the {batch} samples of a step, {most} at a time (--micro {most})")
    return recipe.model_copy(update={"micro": most})


@dataclass
class _Work:
    params: Mapping[str, nn.Parameter]
    loss: Loss
    count: int
    recipe: Recipe
    steps: int
    device: torch.device
    precision: str
    optimizer: torch.optim.Optimizer
    taken: int = 0  # steps after which the weights are
    settled: int = 0  # steps after which all is done that follows from one
    updating: bool = False

    def step(self, number: int) -> dict[str, float]:
        """Take step ``number`` (from 0); returns the mean losses."""
        share = self.recipe.rate(number, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        self.optimizer.zero_grad(set_to_none=True)
        rows = rows_of(number, self.count, self.recipe)
        found = self._gradients(number, rows)
        nn.utils.clip_grad_norm_(self.params.values(), self.recipe.clip)
        self.updating = True
        self.optimizer.step()
        self.taken, self.updating = number + 1, False
        return found

    def _gradients(self, number: int, rows: list[int]) -> dict[str, float]:
        micro = self.recipe.micro or len(rows)
        parts = [rows[start : start + micro] for start in range(0, len(rows), micro)]
        sums: dict[str, float] = {}
        for index, part in list(enumerate(parts))[ranks.rank() :: ranks.world()]:
            generator = torch_generator(self.recipe.seed, "step", number, index)
            with lent_generator(derive(self.recipe.seed, "dropout", number, index), self.device):
                with autocast(self.device, self.precision):
                    found = self.loss(part, generator)
                losses = found if isinstance(found, dict) else {"loss": found}
                total = torch.stack([value.float() for value in losses.values()]).sum() * (len(part) / len(rows))
                if total.requires_grad:
                    total.backward()  # type: ignore[no-untyped-call]
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) * len(part) / len(rows)
        sums = ranks.add(self.params, sums)
        return sums if set(sums) == {"loss"} else {"loss": sum(sums.values()), **sums}


def rows_of(step: int, count: int, recipe: Recipe) -> list[int]:
    """Return the rows of ``step``: every epoch is a permutation of its own, cut into batches; the last may be short."""
    batch = min(recipe.batch, count)
    epoch, place = divmod(step, math.ceil(count / batch))
    return _order(recipe.seed, epoch, count)[place * batch : (place + 1) * batch].tolist()


@lru_cache(maxsize=1)  # every step of an epoch asks for it
def _order(seed: int, epoch: int, count: int) -> Tensor:
    return torch.randperm(count, generator=torch_generator(seed, "epoch", epoch))


def _run(
    work: _Work,
    course: Course,
    kept: Kept,
    save_every: float,
    after: Callable[[int], None] | None,
    progress: Progress,
    say: Say,
    phase: str,
) -> None:
    before, began = course.seconds, time.monotonic()
    saved, first = began, began
    every = max(1, work.steps // POINTS)
    since, sums = kept.since
    work.taken = work.settled = course.steps
    progress(phase, course.steps, work.steps)
    for number in range(course.steps, work.steps):
        found = work.step(number)
        if not all(math.isfinite(value) for value in found.values()):
            raise FrostlineError(
                f"{phase}: the loss became {found['loss']} in step {number + 1} of {work.steps}; try a smaller rate "
                f"than lr = {work.recipe.lr:g}, or precision fp32. What was saved before is kept."
            )
        sums = {name: sums.get(name, 0.0) + value for name, value in found.items()}
        course.steps, since = number + 1, since + 1
        course.seconds = before + time.monotonic() - began
        if course.steps % every == 0 or course.steps == work.steps:
            rate = work.optimizer.param_groups[0]["lr"]
            course.history.append({"step": course.steps, "lr": rate} | {k: v / since for k, v in sums.items()})
            sums, since = {}, 0
        kept.since = (since, sums)
        done = course.steps - course.resumed
        first = time.monotonic() if done == 1 else first
        if done == TIMED and work.steps > TIMED:
            each = (time.monotonic() - first) / (TIMED - 1)
            say(f"{phase}: {work.steps:,} steps, {each:.2g} s each, about {duration(each * (work.steps - number))}")
        progress(phase, course.steps, work.steps)
        if after is not None:
            after(course.steps)
        if time.monotonic() - saved > save_every and course.steps < work.steps:
            kept.save(course.steps, course.seconds, course.history)
            saved = time.monotonic()
        work.settled = course.steps


def duration(seconds: float) -> str:
    """Return seconds as a reader says them: ``"40 s"``, ``"3 min"``, ``"2 h 5 min"``."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _optimizer(params: Mapping[str, nn.Parameter], recipe: Recipe, rates: Mapping[str, float]) -> torch.optim.Optimizer:
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, param in params.items():
        factor = next((value for start, value in rates.items() if name.startswith(start)), 1.0)
        decay = recipe.weight_decay if param.ndim > 1 else 0.0
        groups.setdefault((recipe.lr * factor, decay), []).append(param)
    ready: list[dict[str, Any]] = [
        {"params": each, "lr": lr, "peak": lr, "weight_decay": decay} for (lr, decay), each in groups.items()
    ]
    return torch.optim.AdamW(ready, betas=(0.9, 0.999), eps=1e-6, fused=True)


@contextmanager
def _training(params: Mapping[str, nn.Parameter], modules: Sequence[nn.Module]) -> Any:
    """Let the parameters have gradients for a while, and the modules be in training mode."""
    before = {name: param.requires_grad for name, param in params.items()}
    for param in params.values():
        param.requires_grad_(True)
    for module in modules:
        module.train()
    try:
        yield
    finally:
        for module in modules:
            module.eval()
        for name, param in params.items():
            param.requires_grad_(before[name])
            param.grad = None
