"""Figures of a step and of a run, each under a name that says what it weighs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backbones.core.errors import FrostlineError
from backbones.core.settings import Settings
from continual.metrics import (
    NOT_EVALUATED,
    Ints,
    average,
    bwt,
    category_drift,
    experience_of,
    forgetting,
    forgetting_per_experience,
    fwt,
    hits,
    introduced_at,
    optional,
    ratio,
)


class StepFigures(Settings):
    """What one step scores on the test samples of the experiences seen so far.

    Attributes:
        accuracy: R[t, 0..t], None for an experience without test samples.
        a_t_sample: A_t over all seen test samples alike (sample-weighted).
        a_t_task: mean of R[t, 0..t] (task-weighted).
        cdr: category drift rate, see ``category_drift``; None at the first step.
        task_identification: share of seen test samples put into a class of their own experience.
    """

    accuracy: tuple[float | None, ...]
    a_t_sample: float
    a_t_task: float
    cdr: float | None
    task_identification: float


class Summary(Settings):
    """The figures of a whole run; every name says whether it weighs samples or experiences ("task") alike.

    Attributes:
        a_t_sample, a_t_task: A_t of every step.
        a_bar_sample, a_bar_task: mean of A_t over the steps.
        a_last_sample, a_last_task: A_t of the last step.
        forgetting: mean of ``forgetting_per_experience``; None after one step.
        forgetting_per_experience: best accuracy so far minus last, for every experience before the last.
        bwt, fwt: backward and forward transfer; None after one step.
        cdr: category drift rate of every step (None at the first); cdr_mean: mean over the steps that have one.
        task_identification: of every step; task_identification_last, task_identification_mean: last and mean.
    """

    a_t_sample: tuple[float, ...]
    a_t_task: tuple[float, ...]
    a_bar_sample: float
    a_bar_task: float
    a_last_sample: float
    a_last_task: float
    forgetting: float | None
    forgetting_per_experience: tuple[float | None, ...]
    bwt: float | None
    fwt: float | None
    cdr: tuple[float | None, ...]
    cdr_mean: float | None
    task_identification: tuple[float, ...]
    task_identification_last: float
    task_identification_mean: float


def step_figures(
    predictions: Ints, labels: Ints, classes: Sequence[Sequence[int]], before: Ints | None = None, *, step: int
) -> StepFigures:
    """Return the figures of step ``step`` from its predictions and those of the step before.

    Args:
        predictions: int64, shape (n,): one prediction for each test sample of the stream; -1 = not evaluated, allowed
            for samples of experiences after ``step`` only.
        labels: int64, shape (n,).
        classes: classes of every experience of the stream.
        before: predictions after the step before, int64, shape (n,); needed unless ``step`` is 0.
        step: index of the step, from 0.

    Raises:
        FrostlineError: shapes that do not fit, a class predicted before its experience, a seen sample not evaluated,
            no seen test sample at all, a missing ``before``, a step that the stream does not have.
    """
    table = introduced_at(classes)
    experiences = experience_of(labels, classes)
    right, total = hits(predictions, labels, experiences, len(classes))
    if not 0 <= step < len(classes):
        raise FrostlineError(f"step {step} of a stream of {len(classes)} experiences; steps go from 0.")
    if step and before is None:
        raise FrostlineError(f"step {step} needs the predictions of step {step - 1} for its category drift rate.")
    _check_step(predictions, experiences, table, step)
    seen = experiences <= step
    right, total = right[0, : step + 1], total[0, : step + 1]
    row = ratio(right, total)
    drift = float("nan")
    if before is not None and step:
        drift = category_drift(predictions, before, labels, experiences < step, np.asarray(classes[step]))
    return StepFigures(
        accuracy=tuple(optional(value) for value in row),
        a_t_sample=float(right.sum() / total.sum()),
        a_t_task=average(row),
        cdr=optional(drift),
        task_identification=float((table[predictions[seen]] == experiences[seen]).mean()),
    )


def summarise(predictions: Ints, labels: Ints, classes: Sequence[Sequence[int]]) -> Summary:
    """Return every figure of a run.

    Args:
        predictions: int64, shape (steps, n), at most as many steps as experiences; rows as in ``step_figures``.
        labels: int64, shape (n,).
        classes: classes of every experience of the stream.

    Raises:
        FrostlineError: as ``step_figures``; no step, or more steps than experiences.
    """
    if predictions.ndim != 2 or not 1 <= len(predictions) <= len(classes):
        raise FrostlineError(
            f"predictions have shape {predictions.shape} for {len(classes)} experiences; "
            "metrics need (steps, n) with 1 to as many steps as experiences."
        )
    figures = [
        step_figures(row, labels, classes, predictions[step - 1] if step else None, step=step)
        for step, row in enumerate(predictions)
    ]
    return combine(figures)


def combine(figures: Sequence[StepFigures]) -> Summary:
    """Return the summary of steps 0, 1, ... whose ``StepFigures`` are given, as when a run is resumed.

    Forward transfer is that of class-incremental heads, which ``step_figures`` holds to the classes they have met: 0.
    """
    size = len(figures)
    matrix = np.zeros((size, size))
    for row, item in enumerate(figures):
        matrix[row, : row + 1] = [np.nan if value is None else value for value in item.accuracy]
    sample, task = [item.a_t_sample for item in figures], [item.a_t_task for item in figures]
    drift = [item.cdr for item in figures]
    identified = [item.task_identification for item in figures]
    return Summary(
        a_t_sample=tuple(sample),
        a_t_task=tuple(task),
        a_bar_sample=average(sample),
        a_bar_task=average(task),
        a_last_sample=sample[-1],
        a_last_task=task[-1],
        forgetting=optional(forgetting(matrix)),
        forgetting_per_experience=tuple(optional(value) for value in forgetting_per_experience(matrix)),
        bwt=optional(bwt(matrix)),
        fwt=optional(fwt(matrix)),
        cdr=tuple(drift),
        cdr_mean=optional(average([value for value in drift if value is not None])),
        task_identification=tuple(identified),
        task_identification_last=identified[-1],
        task_identification_mean=average(identified),
    )


def _check_step(predictions: Ints, experiences: Ints, table: Ints, step: int) -> None:
    seen = experiences <= step
    if not seen.any():
        raise FrostlineError(f"experiences 0 to {step} have no test sample; give each class one or more test samples.")
    missing = np.flatnonzero(seen & (predictions == NOT_EVALUATED))
    if missing.size:
        raise FrostlineError(
            f"step {step} does not evaluate test sample {missing[0]} of experience {experiences[missing[0]]}; every "
            "sample of the experiences seen so far needs a prediction."
        )
    given = np.where((predictions >= 0) & (predictions < len(table)), predictions, 0)
    known = (table[given] >= 0) & (table[given] <= step) & (given == predictions)
    wrong = np.flatnonzero(~known & (predictions != NOT_EVALUATED))
    if wrong.size:
        raise FrostlineError(
            f"step {step} predicts class {predictions[wrong[0]]} for test sample {wrong[0]}; only classes of "
            f"experiences 0 to {step} can be predicted then."
        )
