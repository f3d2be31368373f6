"""How fast a student is beside its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backbones.base import Backbone
from backbones.training.timing import compare_speed, forward_of


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
    runs = {"teacher": forward_of(teacher, batch), "student": forward_of(student, batch)}
    found = compare_speed(runs, repeats, alternate=True)
    return Latency(found["teacher"].milliseconds, found["student"].milliseconds, found["student"].ratio[1])
