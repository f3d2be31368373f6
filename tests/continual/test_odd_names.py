"""Texts are data: no name of a class or of a series ends a run after its work or is shown as something else."""

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from tiny_runs import write_image_folders, write_tiny_backbone

from backbones.features import FeatureStore
from backbones.plots import bars, lines, plain, png, scatter
from benchmarks.images import ArrayImages
from benchmarks.types import Dataset
from continual.figures_map import feature_map
from continual.plan import prepare
from continual.plots import accuracy_plot
from continual.runner import Run, draw
from continual.settings import RunSettings

ODD = ["$^$ refund", "US$ to AU$", "$\\frac{$", "[/bold]", "a/b", "new\nline", "\x1b[31mred", "\ud800 half", "_under",
       "n" * 5000, "\U0001f600 \u202e", "{x} %s \\", ""]  # fmt: skip


@pytest.fixture
def texts(monkeypatch):
    """Collect what pictures say."""
    said = []
    save = Figure.savefig

    def spy(figure, *args, **named):
        save(figure, *args, **named)
        said.extend(text.get_text() for text in figure.findobj(Text))

    monkeypatch.setattr(Figure, "savefig", spy)
    return said


def test_pictures_show_any_name_as_it_is(texts):
    curve = [0.5, 0.6]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bars(dict.fromkeys(ODD, 1.0), "y $^$", title="US$ $^$")
        bars({name: dict.fromkeys(ODD[:5], 1.0) for name in ODD[:3]}, "y")
        lines({name: ([1, 2], [3, 4]) for name in ODD}, "$^$ x", "y", log_x=True)
        scatter({name: [(1.0, 2.0, name)] for name in ODD}, "x", "y")
        accuracy_plot([curve], {name: [curve] for name in ODD[:-1]}, "$^$ run")
        features = np.random.default_rng(0).normal(size=(2 * len(ODD), 4))
        feature_map(features, np.arange(2 * len(ODD)) % len(ODD), {}, ODD)
    for name in ("$^$ refund", "US$ to AU$", "$\\frac{$", " _under", "\u241b[31mred", "$^$ x", "US$ $^$"):
        assert name in texts, name
    assert max(map(len, texts)) <= 60


def test_a_text_is_cut_where_a_picture_ends():
    assert plain("n" * 500) == "n" * 119 + "…"
    figure = Figure()
    figure.text(0, 0, "n" * 10**5)
    assert png(figure)


def test_names_that_utf8_cannot_hold_are_spelt():
    images = ArrayImages(np.zeros((1, 2, 2, 3), np.uint8), [0])
    assert Dataset("d", ("caf\udce9", "é"), images, images).class_names == ("caf\\udce9", "é")


def test_a_page_that_cannot_be_drawn_costs_no_figure(tmp_path, monkeypatch):
    def fail(*_args):
        raise ValueError("no font\nat all")

    write_image_folders(tmp_path / "data")
    write_tiny_backbone(tmp_path / "vit")
    values = {"benchmark": "folder", "data_root": str(tmp_path / "data"), "backbone": str(tmp_path / "vit")}
    run = Run(prepare(RunSettings.parse({**values, "increment": 2}, "test")), tmp_path / "run", FeatureStore(None))
    monkeypatch.setattr("continual.plots.draw_report", fail)
    run.begin(resumed=False)
    list(run.steps())
    report = run.finish()
    (note,) = run.notes
    assert note.startswith("the pictures could not be drawn (no font); all figures are kept: cil-run report")
    assert (tmp_path / "run" / "report.json").exists() and (tmp_path / "run" / "plots" / "map.png").exists()
    monkeypatch.setattr("continual.page.page", fail)
    assert "report.html" in draw(tmp_path / "run", report)[-1]
