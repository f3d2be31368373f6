"""Logistic fits: planted parameters come back, and what the points do not decide is said."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.analysis.logistic import fit_logistic
from backbones.core.errors import FrostlineError

X = np.geomspace(1e5, 1e9, 9)


def curve(x, left, right, slope, middle):
    return left + (right - left) / (1 + (np.asarray(x) / middle) ** -slope)


@settings(max_examples=25, deadline=None)
@given(
    left=st.floats(-50, 50),
    height=st.floats(0.5, 60),
    up=st.booleans(),
    slope=st.floats(0.5, 3),
    middle=st.floats(math.log(1e6), math.log(1e8)),
)
def test_planted_parameters_come_back(left: float, height: float, up: bool, slope: float, middle: float) -> None:
    right = left + height if up else left - height
    fit = fit_logistic(X, curve(X, left, right, slope, math.exp(middle)))
    assert fit.identifiable and fit.r2 == pytest.approx(1.0)
    assert fit.left == pytest.approx(left, abs=1e-3 * height)
    assert fit.right == pytest.approx(right, abs=1e-3 * height)
    assert fit.slope == pytest.approx(slope, rel=1e-3)
    assert math.log(fit.middle) == pytest.approx(middle, abs=1e-3)


def test_noise_moves_parameters_by_about_their_standard_errors() -> None:
    wanted = {"left": 50.0, "right": 85.0, "slope": 0.9, "middle": math.log(1e7)}
    off: dict[str, list[float]] = {name: [] for name in wanted}
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(0, 0.5, 12)
        x = np.geomspace(1e5, 1e9, 12)
        fit = fit_logistic(x, curve(x, 50, 85, 0.9, 1e7) + noise)
        assert fit.errors is not None and 0.1 < fit.rmse < 1.0
        found = {"left": fit.left, "right": fit.right, "slope": fit.slope, "middle": math.log(fit.middle)}
        for name in wanted:
            off[name].append((found[name] - wanted[name]) / fit.errors[name])
    for name, scores in off.items():
        assert 0.6 < np.std(scores) < 1.6, name


def test_units_do_not_matter() -> None:
    y = curve(X, 1, 2, 0.8, 1e7) + 0.01 * np.sin(np.arange(9))
    first, second = fit_logistic(X, y), fit_logistic(X * 1000, 100 * y - 7)
    assert second.middle == pytest.approx(1000 * first.middle, rel=1e-3)
    assert second.right == pytest.approx(100 * first.right - 7, rel=1e-3)
    assert second.slope == pytest.approx(first.slope, rel=1e-3) and second.r2 == pytest.approx(first.r2, abs=1e-6)


def test_the_curve_and_its_line() -> None:
    fit = fit_logistic(X, curve(X, 10, 20, 1.0, 1e7))
    assert fit([1e7])[0] == pytest.approx(15.0, abs=1e-3)
    across, up = fit.line(1e5, 1e9)
    assert across[0] == pytest.approx(1e5) and across[-1] == pytest.approx(1e9) and up == sorted(up)
    assert fit.described()["slope"] == fit.slope


def test_what_is_weak_is_said() -> None:
    four = fit_logistic([1e5, 1e6, 1e7, 1e8], [1, 2, 8, 9])
    assert any("as many parameters as points" in note for note in four.notes) and four.errors is None
    beyond = fit_logistic(X, curve(X, 0, 100, 0.5, 1e10))
    assert any("where it goes to lies beyond the points" in note for note in beyond.notes)
    before = fit_logistic(X, curve(X, 0, 100, 0.5, 1e4))
    assert any("where it comes from lies below" in note for note in before.notes)
    wild = fit_logistic(X, [5, 1, 9, 2, 8, 1, 9, 2, 5])
    assert any(note.startswith("a poor fit") for note in wild.notes)
    flat = fit_logistic(X, np.full(9, 3.0))
    assert not flat.identifiable and "no curve" in flat.notes[0] and flat([1.0])[0] == 3.0


def test_a_jump_and_a_straight_line_do_not_decide_all_parameters() -> None:
    jump = fit_logistic(X, [0, 0, 0, 0, 1, 1, 1, 1, 1])
    assert not jump.identifiable and any("not identifiable" in note for note in jump.notes)
    line = fit_logistic(X, np.log(X))
    assert not line.identifiable


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        ([1, 2, 3], [1, 2, 3], "3 different x; add checkpoints until there are 4"),
        ([1, 2, 2, 3, 1], [1, 2, 2, 3, 1], "3 different x"),
        ([0, 1, 2, 3], [1, 2, 3, 4], "x = 0 has no logarithm"),
        ([1, 2, 3, 4], [1, 2, 3, math.nan], "finite numbers"),
        ([1, 2, 3, 4], [1, 2, 3], "one y for each x"),
    ],
)
def test_what_cannot_be_fitted_is_named(x: list[float], y: list[float], words: str) -> None:
    with pytest.raises(FrostlineError, match=words):
        fit_logistic(x, y)
