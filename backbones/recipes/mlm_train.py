"""The course of masked language modelling: batches of one length, masks, the schedule, checkpoints."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from backbones.core.artifacts import load_tensors, save_tensors
from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.core.seed import numpy_generator, torch_generator
from backbones.recipes.mlm_model import Learner
from backbones.recipes.mlm_text import Sequences


@dataclass(frozen=True)
class Plan:
    """How long and how to train.

    Attributes:
        steps: optimiser steps; with this the run depends on the seed only. None: by ``minutes``.
        minutes: wall time of training, checkpoints included; the schedule follows the clock.
        tokens: about so many tokens a step.
        lr: peak learning rate of matrices; head_lr: of the head.
        warmup: share of the run in which the rates rise; they fall linearly to zero after it.
        alone: share of the run, at the start, in which only the head learns, at its full rate.
        rates: share of the positions that are masked at the start and at the end.
        seed: of order and masks.
    """

    steps: int | None = None
    minutes: float = 85.0
    tokens: int = 512
    lr: float = 1e-3
    head_lr: float = 1.5e-3
    warmup: float = 0.05
    alone: float = 0.015
    rates: tuple[float, float] = (0.3, 0.15)
    seed: int = 0


@dataclass
class Course:
    """Where a run stands; ``history`` holds (step, share done, mean loss in nats) by intervals."""

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    history: list[list[float]] = field(default_factory=list)


def mask_places(ids: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Return the flat places to mask of ``ids`` (rows, length): the same number in every row, at least one, inside.

    Rows begin and end with a special token, which is never chosen.
    """
    rows, length = ids.shape
    inside = length - 2
    count = max(1, int(rate * inside + torch.rand((), generator=generator).item()))
    chosen = torch.rand(rows, inside, generator=generator).topk(min(count, inside), dim=1).indices + 1
    return (chosen + torch.arange(rows)[:, None] * length).flatten().sort().values


def batches_of(data: Sequences, tokens: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Return the batches of an epoch in order: rows of one length each, about ``tokens`` tokens together."""
    draw = numpy_generator(seed, "epoch", epoch)
    order = draw.permutation(len(data))
    lengths = data.lengths[order]
    found: list[NDArray[np.int64]] = []
    for length in np.unique(lengths):
        rows = order[lengths == length]
        count = max(1, tokens // int(length))
        parts = [rows[start : start + count] for start in range(0, len(rows), count)]
        found.extend(part for part in parts if 4 * len(part) >= count or len(parts) == 1)
    return [found[place] for place in draw.permutation(len(found))]


def _stream(data: Sequences, plan: Plan, step: int) -> Iterator[NDArray[np.int64]]:
    """Yield the batches from ``step`` on; epochs need not have equally many."""
    epoch = 0
    while True:
        batches = batches_of(data, plan.tokens, plan.seed, epoch)
        yield from batches[step:]
        step = max(0, step - len(batches))
        epoch += 1


def ramp(done: float, warmup: float) -> float:
    """Return the factor of the learning rate after the share ``done``: up in ``warmup``, then linearly down to 0."""
    return min(1.0, (done + 1e-3) / warmup if warmup else 1.0) * min(1.0, (1.0 - done) / (1.0 - warmup))


def optimiser_of(learner: Learner, plan: Plan) -> torch.optim.AdamW:
    """Return AdamW with groups of matrices and vectors of the delta, then of the head; only matrices decay."""
    named = dict(learner.named_parameters())
    groups = []
    for own in (True, False):
        for matrix in (True, False):
            params = [p for name, p in named.items() if name.startswith("delta") is own and (p.ndim > 1) is matrix]
            rate = plan.lr if own else plan.head_lr
            groups.append({"params": params, "lr": rate, "peak": rate, "own": own, "weight_decay": 0.01 * matrix})
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6)


def train(
    learner: Learner,
    data: Sequences,
    plan: Plan,
    checkpoint: Path | None = None,
    save_every: float = 120.0,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda text: None,
    every: int = 50,
    keep: Callable[[Course], None] = lambda course: None,
    keep_at: Sequence[int] = (),
) -> Course:
    """Train ``learner`` in place; an interrupted run goes on from ``checkpoint`` (exactly, with ``steps``).

    ``keep`` is called as soon as each of ``keep_at`` tokens has been seen (a step may see more), so that what the run
    knew at that volume can be measured later.

    Raises:
        FrostlineError: a loss is not finite, or the checkpoint belongs to another plan.
    """
    learner.backbone.module.eval()
    tool = optimiser_of(learner, plan)
    course = _restore(checkpoint, learner, tool, plan)
    batches = _stream(data, plan, course.step)
    began = saved = time.monotonic() - course.seconds
    seen: list[float] = []
    if course.step == 0 and 0 in keep_at:
        keep(course)
    while (done := course.step / plan.steps if plan.steps else course.seconds / (60 * plan.minutes)) < 1:
        for group in tool.param_groups:
            group["lr"] = _rate(group["peak"], group["own"], done, plan)
        ids = torch.from_numpy(data.rows(next(batches)))
        seen.append(_learn(learner, tool, ids, plan, course.step, done))
        course.step += 1
        course.tokens += ids.numel()
        course.seconds = time.monotonic() - began
        if any(course.tokens - ids.numel() < volume <= course.tokens for volume in keep_at):
            keep(course)
        if course.step % every == 0:
            course.history.append([course.step, round(done, 4), round(float(np.mean(seen)), 4)])
            say(f"step {course.step}, {done:.1%} of the run, loss {course.history[-1][2]:.3f}")
            seen.clear()
        if checkpoint is not None and time.monotonic() - saved > save_every:
            save(checkpoint, learner, tool, plan, course)
            saved = time.monotonic()
        share = course.seconds / (60 * plan.minutes)
        progress("training", course.step, plan.steps or max(course.step, round(course.step / share)))
    if checkpoint is not None:
        save(checkpoint, learner, tool, plan, course)
    return course


def _rate(peak: float, own: bool, done: float, plan: Plan) -> float:
    if done < plan.alone:
        return 0.0 if own else peak * min(1.0, (done + 1e-4) / (0.2 * plan.alone))
    return peak * ramp((done - plan.alone) / (1 - plan.alone), plan.warmup if own else 0.0)


def _learn(learner: Learner, tool: torch.optim.Optimizer, ids: Tensor, plan: Plan, step: int, done: float) -> float:
    """Take one step; returns the mean loss in nats."""
    first, last = plan.rates
    places = mask_places(ids, first + (last - first) * done, torch_generator(plan.seed, "masks", step))
    wanted = ids.flatten()[places]
    shown = ids.flatten().index_fill(0, places, learner.mask_id).view_as(ids)
    alone = done < plan.alone
    for name, param in learner.named_parameters():
        param.requires_grad_(not alone or name.startswith("head"))
    loss = cross_entropy(learner(shown, places), wanted)
    tool.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if not torch.isfinite(loss):
        raise FrostlineError(f"the loss is not finite at step {step}; pass a smaller --lr than {plan.lr}.")
    nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
    tool.step()
    return loss.item()


def _fixed(plan: Plan) -> str:
    return repr(replace(plan, minutes=0.0))  # the time may change on the way


def save(path: Path, learner: Learner, tool: torch.optim.Optimizer, plan: Plan, course: Course) -> None:
    """Write a checkpoint: parameters, the optimiser's moments, where the run stands."""
    tensors = {f"model.{name}": tensor for name, tensor in learner.state_dict().items()}
    for key, moments in tool.state_dict()["state"].items():
        tensors |= {f"tool.{key}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    save_tensors(path, tensors, {"plan": _fixed(plan), "course": json.dumps(asdict(course))})


def _restore(path: Path | None, learner: Learner, tool: torch.optim.Optimizer, plan: Plan) -> Course:
    if path is None or not path.exists():
        return Course()
    tensors, facts = load_tensors(path)
    if facts.get("plan") != _fixed(plan):
        raise FrostlineError(
            f"{path} is of a run with other settings ({facts.get('plan')}); remove it or pass another --out."
        )
    learner.load_state_dict({name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")})
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("tool."):
            _, key, moment = name.split(".")
            state.setdefault(int(key), {})[moment] = tensor
    tool.load_state_dict({"state": state, "param_groups": tool.state_dict()["param_groups"]})
    return Course(**json.loads(facts["course"]))
