"""Figures of a class-incremental run: pure functions of the predictions, the accuracy matrix and the classes.

The *accuracy matrix* is R, float64 of shape (steps, experiences): R[t, i] is the accuracy in [0, 1] on the test samples
of experience i after step t, NaN where nothing was evaluated. A figure that is undefined (forgetting after one
experience, for example) is NaN here and None in a ``Summary`` (figures_summary.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backbones.core.errors import FrostlineError
from backbones.core.settings import Settings

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
NOT_EVALUATED = -1


class Interval(Settings):
    """Mean over seeds with its confidence interval; the bounds are None for a single seed."""

    mean: float
    half_width: float | None
    low: float | None
    high: float | None
    n: int
    confidence: float


def introduced_at(classes: Sequence[Sequence[int]]) -> Ints:
    """Return the experience that introduces each class: int64, shape (largest class + 1,), -1 for no class.

    Raises:
        FrostlineError: no experience, an experience without classes, a negative class or one that comes twice.
    """
    if not classes or not all(len(part) for part in classes):
        raise FrostlineError(
            f"classes = {classes!r}: a stream has one or more experiences, each of at least one class."
        )
    flat = [int(label) for part in classes for label in part]
    if min(flat) < 0:
        raise FrostlineError(f"class {min(flat)} is negative; classes are counted from 0.")
    table = np.full(max(flat) + 1, -1, dtype=np.int64)
    for index, part in enumerate(classes):
        for label in part:
            if table[label] != -1:
                raise FrostlineError(
                    f"class {label} comes in experiences {table[label]} and {index}; a class-incremental stream gives "
                    "each class once."
                )
            table[label] = index
    return table


def experience_of(labels: Ints, classes: Sequence[Sequence[int]]) -> Ints:
    """Return the experience of each sample.

    Args:
        labels: int64, shape (n,).
        classes: the classes of each experience.

    Raises:
        FrostlineError: a label that no experience has.
    """
    table = introduced_at(classes)
    labels = np.asarray(labels)
    outside = (labels < 0) | (labels >= len(table))
    found = np.where(outside, -1, table[np.where(outside, 0, labels)])
    if (found < 0).any():
        row = int(np.flatnonzero(found < 0)[0])
        raise FrostlineError(f"test sample {row} has class {int(labels[row])}, which no experience of the stream has.")
    return found.astype(np.int64)


def hits(predictions: Ints, labels: Ints, experiences: Ints, size: int | None = None) -> tuple[Ints, Ints]:
    """Return right answers and evaluated samples, both int64 of shape (steps, experiences).

    Args:
        predictions: int64, shape (steps, n); -1 = not evaluated.
        labels: int64, shape (n,).
        experiences: int64, shape (n,), the experience of each sample.
        size: number of experiences; by default one more than the largest in ``experiences``.

    Raises:
        FrostlineError: shapes that do not fit, or no sample.
    """
    predictions, labels, experiences = np.atleast_2d(predictions), np.asarray(labels), np.asarray(experiences)
    if not len(labels) or predictions.shape[1:] != labels.shape or labels.shape != experiences.shape:
        raise FrostlineError(
            f"predictions have shape {predictions.shape}, labels {labels.shape} and experiences {experiences.shape}; "
            "metrics need (steps, n), (n,) and (n,) with n >= 1."
        )
    size = int(experiences.max()) + 1 if size is None else size
    evaluated = predictions != NOT_EVALUATED
    right = evaluated & (predictions == labels)
    counts = np.stack([np.bincount(experiences[row], minlength=size) for row in evaluated])
    scored = np.stack([np.bincount(experiences[row], minlength=size) for row in right])
    return scored.astype(np.int64), counts.astype(np.int64)


def counts(predictions: Ints, labels: Ints, experiences: Ints, size: int | None = None) -> Ints:
    """Return the number of evaluated samples, int64 of shape (steps, experiences); arguments as ``hits``."""
    return hits(predictions, labels, experiences, size)[1]


def accuracy_matrix(predictions: Ints, labels: Ints, experiences: Ints, size: int | None = None) -> Floats:
    """Return R, float64 of shape (steps, experiences), NaN where nothing was evaluated; arguments as ``hits``."""
    right, total = hits(predictions, labels, experiences, size)
    return ratio(right, total)


def a_t_sample(matrix: Floats, total: Ints) -> Floats:
    """Return the sample-weighted A_t, float64 of shape (steps,): accuracy over all samples of experiences 0..t.

    Args:
        matrix: R, shape (steps, experiences).
        total: evaluated samples, same shape (see ``counts``).
    """
    weights = np.where(_seen(matrix), total, 0)
    return ratio((np.nan_to_num(matrix) * weights).sum(axis=1), weights.sum(axis=1))


def a_t_task(matrix: Floats) -> Floats:
    """Return the task-weighted A_t, float64 of shape (steps,): mean of R[t, 0..t]."""
    present = _seen(matrix) & np.isfinite(matrix)
    return ratio(np.where(present, matrix, 0.0).sum(axis=1), present.sum(axis=1))


def forgetting_per_experience(matrix: Floats) -> Floats:
    """Return max over t >= i of R[t, i] minus R[last, i] for each experience before the last, shape (steps - 1,).

    The maximum includes the last step, so forgetting is never negative; Chaudhry et al. 2018 (arXiv 1801.10112) leave
    the last step out. Avalanche's ``forgetting`` is R[i, i] - R[last, i], which is ``-bwt`` here; the two agree
    wherever accuracy never rises after its own step.
    """
    steps = len(matrix)
    past = np.where(_seen(matrix), matrix, np.nan)[:, : steps - 1]
    return np.asarray(np.fmax.reduce(past, axis=0) - past[-1], dtype=np.float64)


def forgetting(matrix: Floats) -> float:
    """Return the mean of ``forgetting_per_experience``; NaN after one step."""
    return average(forgetting_per_experience(matrix))


def bwt(matrix: Floats) -> float:
    """Return backward transfer, mean over i < last of R[last, i] - R[i, i] (Lopez-Paz and Ranzato 2017).

    It is NaN after one step, and never below ``-forgetting``.
    """
    earlier = np.arange(len(matrix) - 1)
    return average(matrix[-1, earlier] - matrix[earlier, earlier])


def fwt(matrix: Floats, baseline: Floats | None = None) -> float:
    """Return forward transfer, mean over i >= 1 of R[i - 1, i] - baseline[i] (Lopez-Paz and Ranzato 2017).

    A class-incremental head cannot predict a class that it has not met: R[i - 1, i] and the accuracy before anything is
    learned are both 0, hence so is forward transfer. It says something only for heads that know future classes.

    Args:
        matrix: R, shape (steps, experiences).
        baseline: accuracy on each experience before the first step, shape (experiences,); zeros by default.
    """
    later = np.arange(1, len(matrix))
    before = np.zeros(matrix.shape[1]) if baseline is None else np.asarray(baseline, dtype=np.float64)
    return average(matrix[later - 1, later] - before[later])


def category_drift(now: Ints, before: Ints, labels: Ints, old: NDArray[np.bool_], new_classes: Ints) -> float:
    """Return CDR(t), the share of what was right after step t - 1 that step t gives to a class it introduced.

    The denominator is the test samples of old classes that were **right after t - 1**, not all samples of old classes:
    only so does a learner that forgets everything reach 1; over all old samples the rate could not exceed the accuracy
    they had before. After Deng et al., arXiv 2204.03410, whose formula is not public: this one is a reconstruction.

    Args:
        now, before: predictions after t and after t - 1, int64, shape (n,).
        labels: int64, shape (n,).
        old: bool, shape (n,), samples of the experiences before t.
        new_classes: int64, the classes introduced at t.

    Returns:
        A value in [0, 1]; NaN where no old sample was right.
    """
    kept = old & (before == labels)
    drifted = kept & np.isin(now, new_classes)
    return float(drifted.sum() / kept.sum()) if kept.any() else float("nan")


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the mean over seeds and its two-sided Student-t confidence interval (n - 1 degrees of freedom).

    Raises:
        FrostlineError: no value, a value that is not finite, or a confidence outside (0, 1).
    """
    from scipy import stats

    sample = np.asarray(values, dtype=np.float64)
    if not sample.size or not np.isfinite(sample).all() or not 0 < confidence < 1:
        raise FrostlineError(
            f"an interval of {list(values)!r} at confidence {confidence!r}: it needs one or more finite values and a "
            "confidence between 0 and 1, such as 0.95."
        )
    mean = float(sample.mean())
    if sample.size == 1:
        return Interval(mean=mean, half_width=None, low=None, high=None, n=1, confidence=confidence)
    half = float(stats.t.ppf((1 + confidence) / 2, sample.size - 1) * stats.sem(sample))
    return Interval(mean=mean, half_width=half, low=mean - half, high=mean + half, n=sample.size, confidence=confidence)


def optional(value: float) -> float | None:
    """Return ``value`` as float, None for NaN: JSON has no NaN."""
    return None if np.isnan(value) else float(value)


def _seen(matrix: Floats) -> NDArray[np.bool_]:
    steps, experiences = matrix.shape
    return np.asarray(np.arange(experiences)[None, :] <= np.arange(steps)[:, None])


def ratio(top: Floats | Ints, bottom: Ints) -> Floats:
    """Return ``top / bottom`` element by element, NaN where ``bottom`` is 0."""
    empty: Floats = np.full(np.shape(top), np.nan)
    return np.asarray(np.divide(top, bottom, out=empty, where=bottom > 0), dtype=np.float64)


def average(values: Sequence[float] | Floats) -> float:
    """Return the mean of the values that are not NaN, NaN if there is none."""
    finite = [float(value) for value in values if not np.isnan(value)]
    return float(np.mean(finite)) if finite else float("nan")
