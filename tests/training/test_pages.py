"""Pages and pictures of the life cycle."""

from __future__ import annotations

import io
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from backbones.core.errors import FrostlineError
from backbones.page import Picture, Prose, Table, write_page
from backbones.plots import bars, lines, pareto, scatter


def size(png):
    return Image.open(io.BytesIO(png)).size


def test_a_page_holds_all_its_parts_and_escapes_them(tmp_path):
    png = bars({"a": 1.0, "b": 2.0}, "accuracy")
    table = Table(("model", "points"), [("<b>", "1.5"), ("& co", "-2")], "scores")
    path = write_page(
        tmp_path / "new", "T & T", "Lead.", [Prose("x < y"), table, Picture("p.png", png, "cap")], {"k": 1}
    )
    text = path.read_text()
    assert "T &amp; T" in text and "x &lt; y" in text and "&lt;b&gt;" in text and "data:image/png;base64," in text
    assert 'class="number">1.5' in text and (tmp_path / "new" / "p.png").read_bytes() == png
    data = json.loads((tmp_path / "new" / "report.json").read_text())
    assert data["tables"][0]["rows"] == [["<b>", "1.5"], ["& co", "-2"]] and data["facts"] == {"k": 1}


def test_rows_fit_their_header():
    with pytest.raises(FrostlineError, match="a row of 1 under 2 columns"):
        Table(("a", "b"), [("1",)])


def test_pictures_are_drawn_and_depend_on_the_values_alone():
    series = {"one": ([1, 10, 100], [0.1, 0.5, 0.9]), "two": ([1, 10, 100], [0.2, 0.3, 0.4])}
    fits = {"one": ([1, 50, 100], [0.1, 0.7, 0.9])}
    first = lines(series, "words", "accuracy", log_x=True, log_y=True, fits=fits, title="t")
    assert first == lines(series, "words", "accuracy", log_x=True, log_y=True, fits=fits, title="t")
    assert first != lines(series, "words", "accuracy") and min(size(first)) > 400
    points = {"g": [(1.0, 0.5, "a"), (2.0, 0.4, "b")], "h": [(3.0, 0.9, "c")]}
    assert scatter(points, "bytes", "accuracy", front=True, log_x=True) != scatter(points, "bytes", "accuracy")
    assert min(size(bars({"x": {"m": 1, "n": 2}, "y": {"m": 3}}, "points"))) > 400
    assert (
        min(size(bars({f"a long name {n}": float(n) for n in range(9)}, "points", errors={"a long name 1": 1}))) > 400
    )


def test_pictures_of_nothing_are_refused():
    with pytest.raises(FrostlineError, match="no series"):
        lines({}, "x", "y")
    with pytest.raises(FrostlineError, match="'a' has 2 x and 1 y values"):
        lines({"a": ([1, 2], [1])}, "x", "y")
    with pytest.raises(FrostlineError, match="no point"):
        scatter({"a": []}, "x", "y")
    with pytest.raises(FrostlineError, match="no value"):
        bars({}, "y")


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1)), min_size=1, max_size=30))
def test_nothing_beats_the_front(points):
    front = pareto(points)
    assert all(point in points for point in front)
    for x, y in points:
        assert any(fx <= x and fy >= y for fx, fy in front)
    for (x, y), (later_x, later_y) in pairwise(front):
        assert later_x > x and later_y > y
