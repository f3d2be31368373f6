"""Percentile bootstrap over documents: what figures would be on other documents like these."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from backbones.core.intervals import percentile_interval
from backbones.core.seed import numpy_generator
from zeroshot.evaluate.report import Interval

Array = NDArray[np.float64]
_CELLS = 4_000_000  # weights held at once


def f1(counts: Array) -> Array:
    """Return F1 from (right, predicted, gold) in the last axis: float64, that axis gone, 0 where nothing is there."""
    total = counts[..., 1] + counts[..., 2]
    return np.divide(2.0 * counts[..., 0], total, out=np.zeros_like(total), where=total > 0)


def resampled(counts: Array, figure: Callable[[Array], Array], *, times: int, seed: int) -> Array:
    """Draw documents with replacement and compute a figure of the summed counts.

    Args:
        counts: float64, shape (documents, ...): counts of each document; the same ``seed`` and number of documents
            draw the same documents, so that figures of two predictions are paired.
        figure: from counts of shape (resamples, ...) to float64 of shape (resamples,) or (resamples, figures).
        times: number of resamples; seed: of the own generator.

    Returns:
        The figure of each resample: float64, first axis of length times.
    """
    documents = len(counts)
    generator = numpy_generator(seed, "evaluate", "bootstrap")
    flat = counts.reshape(documents, -1)
    even = np.full(documents, 1.0 / documents)
    parts: list[Array] = []
    step = max(1, _CELLS // documents)
    for start in range(0, times, step):
        draws = generator.multinomial(documents, even, size=min(step, times - start)).astype(np.float64)
        parts.append(figure((draws @ flat).reshape(len(draws), *counts.shape[1:])))
    return np.concatenate(parts) if parts else np.zeros(0)


def interval(values: Array) -> Interval | None:
    """Return the 95 % percentile interval, None of nothing."""
    return percentile_interval(values) if len(values) else None
