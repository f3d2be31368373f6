"""The interval of resampled figures, written once: every page that says "95 %" takes it from here."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def percentile_interval(draws: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a figure (Efron, Annals of Statistics 1979).

    Args:
        draws: float, shape (resamples,): the figure of each resample; NaN where a resample has none.
        confidence: share of the draws inside, in (0, 1); half of the rest lies beyond each end.

    Example:
        >>> percentile_interval(range(1001))
        (25.0, 975.0)
    """
    beyond = (100 - 100 * confidence) / 2
    low, high = np.nanpercentile(np.asarray(draws, dtype=np.float64), [beyond, 100 - beyond])
    return float(low), float(high)
