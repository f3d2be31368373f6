"""Every interval that the product prints covers 95 per cent: each function against a written-out reference."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import backbones
from backbones.core.intervals import percentile_interval
from backbones.lifecycle.infuse.asking import Answers
from backbones.lifecycle.offsite.ways import DIRECT, PLUGGED, ZERO, Way
from backbones.lifecycle.offsite.ways import interval as of_the_gain
from continual.metrics import interval as over_seeds
from zeroshot.evaluate.bootstrap import interval as over_documents

SPREAD = stats.norm.ppf(0.975)  # of a normal figure, in standard deviations


def test_percentiles_leave_one_fortieth_beyond_each_end() -> None:
    assert percentile_interval(range(1001)) == (25.0, 975.0)
    assert over_documents(np.arange(1001.0)) == (25.0, 975.0)
    assert percentile_interval(range(1001), confidence=0.5) == (250.0, 750.0)


def test_draws_without_a_figure_do_not_count() -> None:
    assert percentile_interval([*range(1001), float("nan")]) == (25.0, 975.0)


def test_the_interval_over_seeds_is_students_at_ninety_five_per_cent() -> None:
    """Table of Student's t: 4.3027 at two degrees of freedom, 2.7764 at four, two-sided 95 %."""
    assert over_seeds([1.0, 2.0, 3.0]).half_width == pytest.approx(4.302653 / 3**0.5, abs=1e-5)
    assert over_seeds([1.0, 2.0, 3.0, 4.0, 5.0]).half_width == pytest.approx(2.776445 * 0.5**0.5, abs=1e-5)


def test_the_gain_of_infusion_has_the_interval_of_its_normal_limit() -> None:
    wanted = np.zeros(400, dtype=np.int64)
    frozen = np.ones_like(wanted)
    infused = (np.arange(400) % 2).astype(np.int64)  # right in every second case, the frozen one never
    answers = Answers("which", wanted, frozen, frozen, infused, infused, 1)
    mean, low, high = answers.gain(draws=4000)
    assert mean == 0.5
    assert (high - low) / 2 == pytest.approx(SPREAD * 0.5 / 400**0.5, rel=0.06)


def test_the_share_of_the_gain_has_the_interval_of_its_normal_limit() -> None:
    hits = np.zeros((3, 2, 400), dtype=bool)
    hits[1, :, ::2] = True  # plugged in: every second one right
    hits[2] = True  # the full model: all of them
    ways = {name: Way(name, 0, 0, hits=each) for name, each in zip((ZERO, PLUGGED, DIRECT), hits, strict=True)}
    low, high = of_the_gain(ways, draws=4000)
    assert (low + high) / 2 == pytest.approx(0.5, abs=0.01)
    assert (high - low) / 2 == pytest.approx(SPREAD * 0.5 / 400**0.5, rel=0.06)


def test_no_other_place_cuts_percentiles_of_its_own() -> None:
    """What the tests above hold is held of every page, because the product has one percentile interval."""
    root = Path(backbones.__file__).parent.parent
    own = re.compile(r"percentile\(|quantile\([^)]*0\.0?25|97\.5|0\.975")
    places = {
        path.relative_to(root).as_posix()
        for package in ("backbones", "benchmarks", "continual", "zeroshot")
        for path in (root / package).rglob("*.py")
        if own.search(path.read_text(encoding="utf-8").replace("percentile_interval(", ""))
    }
    assert places == {"backbones/core/intervals.py"}
