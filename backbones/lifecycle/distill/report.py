"""What a distillation shows: teacher and student beside each other, and the curve of every loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backbones.base import Backbone
from backbones.core.labelled import Labelled
from backbones.core.samples import Progress, silent
from backbones.lifecycle.distill.distil import Distilled
from backbones.lifecycle.distill.latency import Latency, latency
from backbones.page import Part, Picture, Prose, Table
from backbones.plots import lines
from backbones.training.loop import Course, duration
from backbones.training.tasks import accuracy

TIMED = 32  # inputs of the batch that is timed
TERMS = ("embedding", "hidden", "attention", "soft", "hard", "loss")


@dataclass(frozen=True)
class Compared:
    """A teacher and its student, in this order: accuracies in [0, 1] (None without a task), sizes, and speed."""

    accuracy: tuple[float, float] | None
    parameters: tuple[int, int]
    bytes: tuple[int, int]
    latency: Latency


def compare(
    teacher: Backbone,
    done: Distilled,
    samples: Sequence[Any],
    test: Labelled | None = None,
    progress: Progress = silent,
) -> Compared:
    """Score both on ``test`` and time both on the first inputs of ``samples``, in turns in this process."""
    student = done.student.backbone
    scores: tuple[float, float] | None = None
    if test is not None and done.teacher_head is not None and done.student_head is not None:
        scores = (
            accuracy(teacher, done.teacher_head, test, progress=progress),
            accuracy(student, done.student_head, test, progress=progress),
        )
    progress("timing", 0, 1)
    timed = latency(teacher, student, [samples[row] for row in range(min(TIMED, len(samples)))])
    progress("timing", 1, 1)
    pair = (teacher, student)
    sizes = tuple(sum(t.numel() * t.element_size() for t in each.frozen_state().values()) for each in pair)
    return Compared(scores, (teacher.parameter_count, student.parameter_count), (sizes[0], sizes[1]), timed)


def table_of(found: Compared) -> Table:
    """Return teacher and student as the rows of a table."""
    rows = []
    for which, name in enumerate(("teacher", "student")):
        score = "-" if found.accuracy is None else f"{100 * found.accuracy[which]:.2f}"
        speed = (found.latency.teacher, found.latency.student)[which]
        ratio = "1.00" if which == 0 else f"{found.latency.ratio:.2f}"
        size = f"{found.bytes[which] / 1e6:.1f}"
        rows.append([name, score, f"{found.parameters[which]:,}", size, f"{speed:.1f}", ratio])
    header = ("", "accuracy %", "parameters", "MB", "ms a batch", "times faster")
    return Table(header, rows, "Teacher and student")


def lead_of(found: Compared, done: Distilled) -> str:
    """Return what came out in one sentence."""
    student, layers = done.student, ", ".join(map(str, done.layers))
    said = (
        f"A student of {student.backbone.depth} layers, {student.backbone.width} wide, learned from the teacher's "
        f"layers {layers}; {student.copied} of its {student.tensors} tensors began as the teacher's."
    )
    if found.accuracy is None:
        return said
    kept = found.accuracy[1] / found.accuracy[0] if found.accuracy[0] else 0.0
    return (
        f"{said} It keeps {100 * kept:.1f} % of the teacher's accuracy and is {found.latency.ratio:.2f} times as fast."
    )


def parts_of(found: Compared, done: Distilled) -> list[Part]:
    """Return the table and a picture for each stage."""
    parts: list[Part] = [table_of(found)]
    for stage, course in done.courses.items():
        series = {name: course.curve(name) for name in TERMS if course.curve(name)[0]}
        if not series:
            continue
        caption = f"{stage}: {course.steps:,} steps in {duration(course.seconds)}"
        parts.append(Picture(f"{stage}.png", lines(series, "step", "loss", log_y=_positive(course)), caption))
    parts.append(
        Prose(
            "Each term is a mean over inputs of the mean over their own tokens (for attention: over heads and pairs of "
            f"tokens), summed over layers. Times are medians over alternating runs of both models on one batch of "
            f"{TIMED} inputs (fewer where there are fewer) in one process."
        )
    )
    return parts


def facts_of(found: Compared, done: Distilled) -> dict[str, Any]:
    """Return all figures as JSON values."""
    return {
        "layers": list(done.layers),
        "copied": done.student.copied,
        "tensors": done.student.tensors,
        "accuracy": None if found.accuracy is None else list(found.accuracy),
        "parameters": list(found.parameters),
        "bytes": list(found.bytes),
        "milliseconds": [found.latency.teacher, found.latency.student],
        "times_faster": found.latency.ratio,
        "stages": {
            stage: {"steps": course.steps, "seconds": course.seconds, "history": course.history}
            for stage, course in done.courses.items()
        },
    }


def _positive(course: Course) -> bool:
    return all(value > 0 for entry in course.history for name, value in entry.items() if name in TERMS)
