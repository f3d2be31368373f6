"""Pictures: drawn from values alone, at every size, the same each time, and the errors."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import backbones
import benchmarks
import continual
import zeroshot
from backbones.core.errors import FrostlineError
from continual import plots
from continual.figures_map import COLOURED_OF_MORE, _looks, feature_map


def pixels(png: bytes) -> np.ndarray:
    """Decode the PNG into 0xRRGGBB of shape (height, width); it must hold more than its background."""
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
    red, green, blue = np.asarray(image.convert("RGB"), dtype=np.int32).transpose(2, 0, 1)
    found = np.asarray(red << 16 | green << 8 | blue)
    assert np.count_nonzero(np.bincount(found.ravel())) > 20
    return found


def has(image: np.ndarray, colour: str, least: int = 30) -> bool:
    """Say whether ``least`` pixels have exactly this colour: the inside of lines, bars and markers."""
    return int((image == int(colour[1:], 16)).sum()) >= least


def triangle(size: int) -> np.ndarray:
    rows, columns = np.indices((size, size))
    return np.where(columns <= rows, 0.9 - 0.5 * (rows - columns) / size, np.nan)


@pytest.mark.parametrize("size", [1, 2, pytest.param(300, marks=pytest.mark.slow)])
def test_every_size_is_drawn(size: int) -> None:
    curve = np.linspace(0.9, 0.5, size).tolist()
    references = {"NCM": [np.linspace(0.8, 0.4, size).tolist()] * 2, "joint": [[None] * (size - 1) + [0.7]] * 2}
    image = pixels(plots.accuracy_plot([curve, curve[::-1]], references))
    assert has(image, plots.BLUE)
    assert has(image, plots.VERMILION)
    assert has(image, plots.GREEN)
    pixels(plots.matrix_plot(triangle(size)))
    drift = plots.drift_plot([[None, *curve[1:]]] * 2, [curve[1:]] * 2)
    assert has(pixels(drift), plots.BLUE) == (size > 1)


def test_a_single_run_without_references_is_drawn() -> None:
    image = pixels(plots.accuracy_plot([[0.9, 0.8]]))
    assert has(image, plots.BLUE)
    assert not has(image, plots.VERMILION)
    assert not has(image, plots.SKY)


def test_the_accuracy_plot_is_the_same_each_time_and_follows_its_values() -> None:
    first = plots.accuracy_plot([[0.9, 0.8]])
    assert plots.accuracy_plot([[0.9, 0.8]]) == first
    assert plots.accuracy_plot([[0.9, 0.4]]) != first


def test_the_end_of_a_long_legend_is_not_cut() -> None:
    names = ["a long name of a reference, spelt out " + letter for letter in "abc"]
    image = pixels(plots.accuracy_plot([[0.9, 0.8]], {name: [[0.5, 0.4]] for name in names}, "x" * 45))
    assert (image[:, :4] == 0xFFFFFF).all()
    assert (image[:, -4:] == 0xFFFFFF).all()


def test_cells_that_were_not_evaluated_are_grey() -> None:
    image = pixels(plots.matrix_plot(triangle(2)))
    assert has(image, "#EDEDED", 10_000)


def test_pyplot_is_never_imported() -> None:
    named = set()
    for package in (backbones, benchmarks, continual, zeroshot):
        for path in Path(package.__path__[0]).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    named |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    named |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert any(name.startswith("matplotlib.figure") for name in named)  # the walk sees what is imported
    assert not [name for name in named if "pyplot" in name or "pylab" in name]


def test_pictures_are_written(tmp_path: Path) -> None:
    content = plots.matrix_plot(np.eye(2))
    paths = plots.write_pictures(tmp_path / "plots", {"accuracy_matrix.png": content})
    assert [path.read_bytes() for path in paths] == [content]
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["accuracy_matrix.png"]


def test_pictures_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "plots").write_text("in the way")
    with pytest.raises(FrostlineError, match="cannot write"):
        plots.write_pictures(tmp_path / "plots", {"a.png": b""})


def test_curves_of_different_lengths_are_refused() -> None:
    with pytest.raises(FrostlineError, match=r"the accuracy plot: 2 curves of lengths \[1, 2\]"):
        plots.accuracy_plot([[0.5], [0.5, 0.6]])
    with pytest.raises(FrostlineError, match="the accuracy plot: 0 curves"):
        plots.accuracy_plot([])
    with pytest.raises(FrostlineError, match="the reference 'NCM': 2 curves"):
        plots.accuracy_plot([[0.5]], {"NCM": [[0.5], [0.5, 0.6]]})
    with pytest.raises(FrostlineError, match="the drift plot: 2 curves"):
        plots.drift_plot([[None], [None, 0.1]], [[], [0.1]])


def test_an_empty_matrix_is_refused() -> None:
    with pytest.raises(FrostlineError, match=r"shape \(0, 0\)"):
        plots.matrix_plot(np.empty((0, 0)))


def cloud(classes: int, width: int = 8, each: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    centres = random.normal(size=(classes, width)) * 4
    labels = np.repeat(np.arange(classes), each)
    return centres, (centres[labels] + random.normal(size=(len(labels), width))).astype(np.float32), labels


@pytest.mark.parametrize("classes", [20, 100])
def test_maps_of_few_and_many_classes_are_drawn(classes: int) -> None:
    centres, features, labels = cloud(classes)
    owners = np.arange(classes)
    prototypes = {"category": (centres, owners), "example": (np.repeat(centres + 0.5, 3, axis=0), np.repeat(owners, 3))}
    names = [f"class {label}" for label in owners]
    image = pixels(feature_map(features, labels, prototypes, names))
    assert has(image, plots.BLUE)  # the fill of the first class's star
    assert has(image, "#D1D1D1", 1000) == (classes > 20)


def test_a_map_of_more_samples_than_it_shows_repeats() -> None:
    _, features, labels = cloud(3, each=1000)
    names = ["a", "b", "a very long name of a class that nobody would read to its end"]
    once = feature_map(features, labels, {"other": (features[:2], labels[:2])}, names)
    assert once == feature_map(features, labels, {"other": (features[:2], labels[:2])}, names)
    pixels(once)


def test_up_to_twenty_classes_have_looks_of_their_own() -> None:
    looks = _looks(np.arange(20))
    assert len(set(looks.values())) == len(looks) == 20
    many = _looks(np.arange(300))
    assert len(set(many.values())) == len(many) == COLOURED_OF_MORE
    assert {0, 299} <= set(many)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"features": np.zeros((4, 1))}, "n and width of 2 or more"),
        ({"labels": np.zeros(3, int)}, r"shape \(4, 3\) with 3 labels"),
        ({"features": np.full((4, 3), np.nan)}, "feature points are not finite"),
        ({"labels": np.full(4, 9)}, "outside the 2 class names"),
        ({"prototypes": {"category": (np.zeros((2, 5)), np.zeros(2, int))}}, r"category prototypes of shape \(2, 5\)"),
        ({"prototypes": {"example": (np.full((1, 3), np.inf), np.zeros(1, int))}}, "example points are not finite"),
    ],
)
def test_what_cannot_be_mapped_is_refused(change: dict[str, object], words: str) -> None:
    good: dict[str, object] = {
        "features": np.random.default_rng(0).normal(size=(4, 3)),
        "labels": np.array([0, 1, 0, 1]),
        "prototypes": {},
        "class_names": ["a", "b"],
    }
    pixels(feature_map(**good))  # type: ignore[arg-type]
    with pytest.raises(FrostlineError, match=words):
        feature_map(**(good | change))  # type: ignore[arg-type]
