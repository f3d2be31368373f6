"""Learning curves: a logistic function of four parameters in the logarithm of what grows.

Zhang et al., "When Do You Need Billions of Words of Pretraining Data?", ACL 2021, arXiv 2011.04946.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backbones.core.errors import FrostlineError

LEAST = 4  # points, as many as parameters
POOR = 0.9  # a share of the variance below which a fit is called poor
SURE = 1e5  # ratio of the largest to the least effect of the parameters above which they cannot be told apart

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Logistic:
    """y = left + (right - left) / (1 + exp(-slope (ln x - ln middle))).

    Args:
        left, right: what y comes from and goes to.
        slope: per unit of ln x, above 0.
        middle: the x at which y is halfway.
        errors: standard errors of the four, of ``middle`` in units of ln x; None where there is no point to spare.
        r2: share of the variance of y that is explained.
        rmse: root of the mean square of what is not.
        identifiable: whether the points decide all four parameters.
        notes: why not, and what else weakens the fit.
    """

    left: float
    right: float
    slope: float
    middle: float
    errors: dict[str, float] | None
    r2: float
    rmse: float
    identifiable: bool
    notes: tuple[str, ...]

    def __call__(self, x: ArrayLike) -> Floats:
        """Return y at ``x``."""
        return _curve(np.log(np.asarray(x, dtype=np.float64)), self.left, self.right, self.slope, math.log(self.middle))

    def described(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return asdict(self)

    def line(self, low: float, high: float, points: int = 60) -> tuple[list[float], list[float]]:
        """Return the curve between two x, for a picture."""
        at = np.geomspace(low, high, points)
        return at.tolist(), self(at).tolist()


def fit_logistic(x: Sequence[float], y: Sequence[float]) -> Logistic:
    """Fit a logistic function of ln x by least squares (scipy), from several starts within wide bounds.

    Args:
        x: what grows, above 0, such as words of pre-training; four different values or more.
        y: the figure at each.

    Raises:
        FrostlineError: fewer points, an x that is not above 0, values that are not finite, or as many y missing.
    """
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    _check(first, second)
    at = np.log(first)
    centre, reach = float(at.mean()), float(np.ptp(at))
    low, span = float(second.min()), float(np.ptp(second))
    if span <= 1e-12 * max(1.0, abs(low)):
        return _flat(float(second.mean()), math.exp(centre))
    scaled, values = (at - centre) / reach, (second - low) / span
    found = _best(scaled, values)
    left, right, slope, middle = found
    fitted = _curve(scaled, *found)
    rest = float(((fitted - values) ** 2).sum())
    r2 = 1.0 - rest / float(((values - values.mean()) ** 2).sum())
    errors, sure = _errors(scaled, found, rest)
    notes = _notes(scaled, found, r2, sure)
    return Logistic(
        low + span * left,
        low + span * right,
        slope / reach,
        math.exp(centre + reach * middle),
        None if errors is None else dict(zip(NAMES, (errors * (span, span, 1 / reach, reach)).tolist(), strict=True)),
        r2,
        span * math.sqrt(rest / len(values)),
        not any(note.startswith(UNDECIDED) for note in notes),
        notes,
    )


NAMES = ("left", "right", "slope", "middle")
UNDECIDED = "not identifiable"
# In units of the range of ln x and of y: the plateaus may lie twice as far out as the points, the middle a range away.
LOWER, UPPER = (-2.0, -2.0, 0.05, -1.5), (3.0, 3.0, 400.0, 1.5)


def _curve(at: Floats, left: float, right: float, slope: float, middle: float) -> Floats:
    from scipy.special import expit

    found: Floats = left + (right - left) * expit(slope * (at - middle))
    return found


def _slopes(at: Floats, left: float, right: float, slope: float, middle: float) -> Floats:
    """Return the derivatives of ``_curve`` by its parameters, shape (points, 4)."""
    from scipy.special import expit

    share = expit(slope * (at - middle))
    bend = (right - left) * share * (1 - share)
    return np.stack([1 - share, share, bend * (at - middle), -bend * slope], axis=1)


def _check(x: Floats, y: Floats) -> None:
    if x.shape != y.shape or x.ndim != 1:
        raise FrostlineError(f"a fit needs one y for each x, but there are {x.size} x and {y.size} y.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise FrostlineError("a fit needs finite numbers; leave out the points that have none.")
    if x.size and x.min() <= 0:
        raise FrostlineError(f"x = {x.min():g} has no logarithm; pass numbers above 0, such as words seen.")
    if len(np.unique(x)) < LEAST:
        raise FrostlineError(
            f"a logistic function has four parameters, but there are {len(np.unique(x))} different x; add checkpoints "
            f"until there are {LEAST} or more."
        )


def _flat(value: float, middle: float) -> Logistic:
    note = f"{UNDECIDED}: all points have the same y, so that there is no curve"
    return Logistic(value, value, 1.0, middle, None, 0.0, 0.0, False, (note,))


def _best(at: Floats, values: Floats) -> tuple[float, float, float, float]:
    from scipy.optimize import OptimizeWarning, curve_fit

    rises = np.corrcoef(at, values)[0, 1] >= 0
    best: tuple[float, Floats] | None = None
    for up in (rises, not rises):
        ends = (0.0, 1.0) if up else (1.0, 0.0)
        for slope in (3.0, 10.0, 40.0):
            for middle in np.quantile(at, (0.15, 0.5, 0.85)):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", OptimizeWarning)
                    try:
                        found, _ = curve_fit(
                            _curve, at, values, (*ends, slope, middle), bounds=(LOWER, UPPER), jac=_slopes, max_nfev=200
                        )
                    except RuntimeError:  # this start did not converge; others do
                        continue
                rest = float(((_curve(at, *found) - values) ** 2).sum())
                if best is None or rest < best[0]:
                    best = rest, found
        if best is not None and best[0] < 1e-3 * len(values):  # it goes the way of the points and through them
            break
    if best is None:
        raise FrostlineError("no logistic function could be fitted to these points; look at them for outliers.")
    left, right, slope, middle = map(float, best[1])
    return left, right, slope, middle


def _errors(at: Floats, found: tuple[float, float, float, float], rest: float) -> tuple[Floats | None, bool]:
    """Return standard errors, and whether a change of any parameter would be noticed."""
    jacobian = _slopes(at, *found)
    effects = np.linalg.svd(jacobian * np.array([1.0, 1.0, found[2], 1.0]), compute_uv=False)
    sure = bool(effects[-1] * SURE > effects[0])
    free = len(at) - len(found)
    if free == 0 or not sure:
        return None, sure
    covariance = np.linalg.inv(jacobian.T @ jacobian) * (rest / free)
    return np.sqrt(np.diag(covariance)), sure


def _notes(at: Floats, found: tuple[float, float, float, float], r2: float, sure: bool) -> tuple[str, ...]:
    _, _, slope, middle = found
    notes = []
    bound = [
        name
        for name, value, low, high in zip(NAMES, found, LOWER, UPPER, strict=True)
        if name != "slope" and min(value - low, high - value) < 1e-3 * (high - low)
    ]
    if not 1.2 * LOWER[2] < slope < 0.9 * UPPER[2]:
        bound.append("slope")
    if bound:
        notes.append(f"{UNDECIDED}: {' and '.join(bound)} ran to the end of what is allowed")
    elif not sure:
        notes.append(f"{UNDECIDED}: several curves pass these points alike")
    if r2 < POOR:
        notes.append(f"a poor fit: it explains {max(r2, 0.0):.0%} of the variance")
    if len(at) == LEAST:
        notes.append("as many parameters as points: nothing is left to test the curve with")
    ends = 1 / (1 + np.exp(-np.clip(slope * (np.array([at.min(), at.max()]) - middle), -50, 50)))
    if ends[0] > 0.25:
        notes.append("where it comes from lies below the points and is a guess")
    if ends[1] < 0.75:
        notes.append("where it goes to lies beyond the points and is a guess")
    return tuple(notes)
