"""The course of a pre-training: when models are written on the way, what is measured of them, and the training."""

from __future__ import annotations

import shutil
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from pydantic import Field
from torch import nn

from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.core.settings import Settings
from backbones.lifecycle.pretrain.workplace import Workplace
from backbones.training import ranks
from backbones.training.loop import Course, Loss, Recipe, Say, mute, train

FIRST = 0.01  # of the run: where the first of several checkpoints lies


class Stops(Settings):
    """Which models are written on the way.

    Args:
        checkpoints: so many, in equal steps on a logarithmic scale from a hundredth of the run to its end; 0 for none.
        checkpoint_at: volumes of data seen (words, or images), in place of a number.
    """

    checkpoints: int = Field(default=0, ge=0)
    checkpoint_at: tuple[int, ...] = ()


@dataclass(frozen=True)
class Volume:
    """How much a run has seen after a number of steps; what is seen again counts again.

    Args:
        rows: of the data.
        each: units in a row, on average.
        batch: rows a step.
        unit: ``"words"`` or ``"images"``.
    """

    rows: int
    each: float
    batch: int
    unit: str

    @property
    def whole(self) -> float:
        """Units of the data."""
        return self.rows * self.each

    def after(self, step: int) -> int:
        """Return the units seen after ``step``."""
        batch = min(self.batch, self.rows)
        epochs, place = divmod(step, ceil(self.rows / batch))
        return round((epochs * self.rows + min(place * batch, self.rows)) * self.each)


def steps_of(stops: Stops, volume: Volume, steps: int) -> list[int]:
    """Return the steps after which a model is written, ascending.

    Raises:
        FrostlineError: count and volumes both, or a volume that the run does not reach.
    """
    if stops.checkpoint_at and stops.checkpoints:
        raise FrostlineError("checkpoints by number and by volume exclude each other: pass one of the two.")
    if not stops.checkpoint_at:
        gaps = max(1, stops.checkpoints - 1)
        return sorted({max(1, round(steps * FIRST ** (back / gaps))) for back in range(stops.checkpoints)})
    most = volume.after(steps)
    wrong = [each for each in stops.checkpoint_at if not 0 < each <= most]
    if wrong:
        raise FrostlineError(
            f"a checkpoint at {wrong[0]:,} {volume.unit}: the run sees {most:,} in {steps:,} steps; pass volumes from "
            "1 to that, or more steps."
        )
    return sorted({bisect_left(range(steps + 1), each, key=volume.after) for each in stops.checkpoint_at})


@dataclass(frozen=True)
class Pretrained:
    """What a pre-training wrote.

    Args:
        folder: of the run; model: of the result, an ordinary backbone.
        parameters: that were trained.
        course: of the training.
        unit: of volumes.
        figures: ``step``, ``seen`` and held-out figures, before training, at each checkpoint and at the end.
        checkpoints: folders of models on the way.
        usage: how to load the result.
    """

    folder: Path
    model: Path
    parameters: int
    course: Course
    unit: str
    figures: list[dict[str, float]]
    checkpoints: list[Path]
    usage: str


Save = Callable[[Path, Mapping[str, Any]], str]
Measure = Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class Job:
    """A model, what it learns from, how it is measured and how it is written.

    Args:
        module: the model; all its parameters are trained.
        loss: see ``backbones.training.loop.train``.
        rows: of the data.
        volume: see Volume.
        measure: returns held-out figures of the model as it is.
        save: writes it to a new folder with some facts and returns how to load it.
        phase: what to call the work.
    """

    module: nn.Module
    loss: Loss
    rows: int
    volume: Volume
    measure: Measure
    save: Save
    phase: str = "pre-training"


def rehearse(job: Job, place: Workplace) -> None:
    """Save the model as it is and throw that away: what cannot be saved or read back is said before the first step.

    Raises:
        FrostlineError: as ``job.save``.
    """
    if ranks.rank() == 0:
        trial = place.out / "trial"
        try:
            job.save(trial, {})
        finally:
            shutil.rmtree(trial, ignore_errors=True)


def run(
    job: Job,
    place: Workplace,
    recipe: Recipe,
    stops: Stops,
    *,
    save_every: float = 120.0,
    progress: Progress = silent,
    say: Say = mute,
) -> Pretrained:
    """Train, write models on the way and the result.

    Args:
        job: what.
        place: where; an interrupted run goes on from its state, with the same bits.
        recipe: how.
        stops: which models are written on the way.
        save_every: seconds between savings of the state.
        progress: told of steps.
        say: told what a user should know before a long time passes.

    Raises:
        FrostlineError: see ``train`` and ``steps_of``.
    """
    steps = recipe.length(job.rows)
    wanted = steps_of(stops, job.volume, steps)
    params = dict(job.module.named_parameters())
    alone = ranks.rank() == 0
    figures = [_figures(job, 0)] if alone else []

    def after(step: int) -> None:
        if alone and step in wanted and not place.checkpoint(step).exists():
            found = _figures(job, step)
            job.save(place.checkpoint(step), _facts(job, found))

    seen = job.volume.after(steps)
    say(f"{job.phase}: {steps:,} steps see {seen:,} {job.volume.unit} ({seen / job.volume.whole:.2g} times the data)")
    course = train(
        params,
        job.loss,
        job.rows,
        recipe,
        modules=[job.module],
        checkpoint=place.state,
        keep=True,
        save_every=save_every,
        after=after,
        progress=progress,
        say=say,
        phase=job.phase,
    )
    usage = ""
    if alone:
        keys = figures[0].keys()
        figures += [{key: place.figures(step)[key] for key in keys} for step in wanted]
        if steps not in wanted:
            figures.append(_figures(job, steps))
        usage = job.save(place.model, _facts(job, figures[-1]))
        place.state.unlink(missing_ok=True)
    return Pretrained(
        folder=place.out,
        model=place.model,
        parameters=sum(param.numel() for param in params.values()),
        course=course,
        unit=job.volume.unit,
        figures=figures,
        checkpoints=[place.checkpoint(step) for step in wanted],
        usage=usage,
    )


def _figures(job: Job, step: int) -> dict[str, float]:
    return {"step": step, "seen": job.volume.after(step), **job.measure()}


def _facts(job: Job, figures: Mapping[str, float]) -> dict[str, Any]:
    return {"made": job.phase, job.volume.unit: figures["seen"], "steps": figures["step"], **figures}
