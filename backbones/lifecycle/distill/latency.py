"""How fast a student is beside its teacher: measured in turns, in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from backbones.base import Backbone


@dataclass(frozen=True)
class Latency:
    """Median milliseconds for one batch, and the median of the ratios of neighbouring runs."""

    teacher: float
    student: float
    ratio: float


def latency(teacher: Backbone, student: Backbone, samples: Sequence[Any], repeats: int = 15) -> Latency:
    """Measure both models on one preprocessed batch, in one process, in turns whose order alternates.

    Args:
        teacher: in evaluation mode; student: the like.
        samples: raw inputs, one batch.
        repeats: pairs of runs, after one pair that does not count.
    """
    batch = student.preprocessing(samples).to(student.device)
    pair = (teacher, student)
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 1):
        for which in (0, 1) if turn % 2 else (1, 0):
            seconds = _timed(pair[which], batch)
            if turn:
                times[which].append(1000 * seconds)
    ratios = [slow / fast for slow, fast in zip(*times, strict=True)]
    return Latency(statistics.median(times[0]), statistics.median(times[1]), statistics.median(ratios))


def _timed(backbone: Backbone, batch: torch.Tensor) -> float:
    device = backbone.device
    with torch.inference_mode():
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        backbone.features(batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return time.perf_counter() - began
