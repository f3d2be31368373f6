"""Speeds that can be compared: functions timed in turn, in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from backbones.base import Backbone
from backbones.core.samples import Progress, silent

ROUNDS = 7


@dataclass(frozen=True)
class Speed:
    """Milliseconds of a run, median, and how many times faster than the first one: lowest, median, highest ratio."""

    milliseconds: float
    ratio: tuple[float, float, float]


def compare_speed(
    runs: Mapping[str, Callable[[], object]],
    rounds: int = ROUNDS,
    progress: Progress = silent,
    *,
    alternate: bool = False,
) -> dict[str, Speed]:
    """Time functions in turn, so that what else the machine does hits all of them; the first is the reference.

    Each is called once before the clock starts. Ratios are taken within a round.

    Args:
        runs: name -> what to time; threads are the caller's affair.
        rounds: times each is called.
        progress: told of the rounds.
        alternate: turn the order round in every other round.
    """
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        turn = list(runs.items())
        for name, run in reversed(turn) if alternate and number % 2 else turn:
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
        progress("timing", number + 1, rounds)
    first = seconds[next(iter(runs))]
    found = {}
    for name, mine in seconds.items():
        ratios = sorted(reference / own for reference, own in zip(first, mine, strict=True))
        found[name] = Speed(1e3 * statistics.median(mine), (ratios[0], statistics.median(ratios), ratios[-1]))
    return found


def forward_of(backbone: Backbone, batch: Tensor) -> Callable[[], Tensor]:
    """Return a function that computes the features of a preprocessed batch and waits until they are there."""

    def run() -> Tensor:
        with torch.inference_mode():
            found = backbone.features(batch)
        if batch.device.type == "cuda":
            torch.cuda.synchronize(batch.device)
        return found

    return run
