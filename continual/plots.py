"""Pictures of a run: functions from values to PNG bytes, without pyplot and its global state.

Experiences are counted from 1 on the axes. Colours are those of Okabe and Ito (told apart by colour-blind readers) and
the cividis map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backbones.core.artifacts import write_bytes
from backbones.core.errors import FrostlineError
from backbones.plots import label as labelled
from backbones.plots import png
from continual.metrics import Floats
from continual.report import MultiReport, Report, RunReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
REFERENCE_STYLES = ((VERMILION, "--", "s"), (GREEN, "-.", "^"), (PURPLE, ":", "D"), (ORANGE, (0, (5, 1)), "v"))
GRID: dict[str, Any] = {"color": "0.9", "linewidth": 0.8}
NUMBERS_UP_TO = 12
MARKERS_UP_TO = 30
LEGEND_CHARACTERS = 88  # of a line below a picture 7 inches wide


def accuracy_plot(
    curves: Sequence[Sequence[float]],
    references: Mapping[str, Sequence[Sequence[float | None]]] | None = None,
    label: str = "this run",
) -> bytes:
    """Draw the sample-weighted A_t over experiences; several seeds as thin lines with their mean.

    Args:
        curves: for each seed, A_t in [0, 1] of each step.
        references: name -> for each seed, A_t of each step, None where there is none; a reference with a single value
            (such as a joint bound) is drawn as a point. Seeds are averaged.
        label: what the curves are.

    Raises:
        FrostlineError: no curve, or curves of different lengths.
    """
    runs = _stack(curves, "the accuracy plot")
    figure, axes = _figure(7.0, 4.2)
    steps = np.arange(1, runs.shape[1] + 1)
    marker = "o" if len(steps) <= MARKERS_UP_TO else None
    if len(runs) > 1:
        for run in runs:
            axes.plot(steps, 100 * run, color=SKY, linewidth=0.9, zorder=2)
        label = f"{label}, mean of {len(runs)} seeds"
    axes.plot(steps, 100 * runs.mean(axis=0), color=BLUE, linewidth=2.2, marker=marker, zorder=3, label=labelled(label))
    for (name, seeds), style in zip((references or {}).items(), _styles(len(references or {})), strict=True):
        _reference(axes, name, _stack(seeds, f"the reference {name!r}"), style)
    _experience_axis(axes, len(steps))
    axes.set(xlabel="experiences learned", ylabel="accuracy on all seen classes (%)", title="Accuracy over experiences")
    axes.set_ylim(0, 102)
    axes.grid(**GRID)
    _legend_below(axes)
    return _png(figure)


def matrix_plot(matrix: Floats) -> bytes:
    """Draw the accuracy matrix as a heat map; figures are written into the cells of small ones.

    Args:
        matrix: R in [0, 1], float64, shape (steps, experiences), NaN where nothing was evaluated.

    Raises:
        FrostlineError: the matrix is not two-dimensional or empty.
    """
    if matrix.ndim != 2 or not matrix.size:
        raise FrostlineError(f"an accuracy matrix of shape {matrix.shape}; it needs (steps, experiences).")
    figure, axes = _figure(6.2, 5.4)
    shown = np.ma.masked_invalid(100 * matrix)
    axes.set_facecolor("0.93")
    size = max(matrix.shape)
    image = axes.imshow(shown, cmap="cividis", vmin=0, vmax=100, aspect="equal", interpolation="nearest")
    figure.colorbar(image, ax=axes, label="accuracy (%)", shrink=0.85)
    if size <= NUMBERS_UP_TO:
        for (row, column), value in np.ndenumerate(100 * matrix):
            if np.isfinite(value):
                tone = "white" if value < 55 else "black"
                axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=tone, fontsize=9)
    for axis, count in ((axes.xaxis, matrix.shape[1]), (axes.yaxis, matrix.shape[0])):
        ticks = _ticks(count)
        axis.set_ticks([tick - 1 for tick in ticks], [str(tick) for tick in ticks])
    axes.set(xlabel="tested on experience", ylabel="after learning experience", title="Accuracy matrix")
    return _png(figure)


def drift_plot(drift: Sequence[Sequence[float | None]], forgotten: Sequence[Sequence[float | None]]) -> bytes:
    """Draw what each experience took from older classes, and what was forgotten of each experience in the end.

    Args:
        drift: for each seed, CDR in [0, 1] of each step (None at the first).
        forgotten: for each seed, forgetting of each experience before the last, one fewer than steps.

    Raises:
        FrostlineError: no seed, or seeds of different lengths.
    """
    from matplotlib.figure import Figure

    rates, lost = _stack(drift, "the drift plot"), _stack(forgotten, "the drift plot")
    figure = Figure(figsize=(7.0, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    count = rates.shape[1]
    _bars(upper, np.arange(1, count + 1), rates, BLUE)
    _bars(lower, np.arange(1, lost.shape[1] + 1), lost, ORANGE)
    upper.set(ylabel="category drift rate (%)", title="Right before, given to a class of this experience after it")
    lower.set(
        ylabel="forgetting (points)", title="Best accuracy on this experience minus its last", xlabel="experience"
    )
    _experience_axis(lower, count)
    if len(rates) > 1:
        upper.plot([], [], "s", color="0.6", markersize=9, label=f"mean of {len(rates)} seeds")
        if _shows_seeds(rates):
            upper.plot([], [], "o", color="0.25", markersize=3, label="one seed")
        _legend_below(upper)
    return _png(figure)


def draw_report(report: Report) -> dict[str, bytes]:
    """Return file name -> PNG of what a report alone can show: accuracy, matrix, drift; means over its seeds."""
    runs: tuple[RunReport, ...] = report.runs if isinstance(report, MultiReport) else (report,)
    names = [name for name in runs[0].references if all(name in run.references for run in runs)]
    references = {name: [run.references[name] for run in runs] for name in names}
    return {
        "accuracy.png": accuracy_plot([run.summary.a_t_sample for run in runs], references, report.title),
        "accuracy_matrix.png": matrix_plot(np.mean([run.matrix() for run in runs], axis=0)),
        "drift.png": drift_plot(
            [run.summary.cdr for run in runs], [run.summary.forgetting_per_experience for run in runs]
        ),
    }


def write_pictures(folder: Path, pictures: Mapping[str, bytes]) -> list[Path]:
    """Write each picture atomically and return the paths.

    Raises:
        FrostlineError: the folder cannot be written to.
    """
    for name, content in pictures.items():
        write_bytes(folder / name, content)
    return [folder / name for name in pictures]


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _png(figure: Figure) -> bytes:
    return png(figure, facecolor="white", metadata={"Software": None})


def _stack(curves: Sequence[Sequence[float | None]], where: str) -> Floats:
    if not curves or len({len(curve) for curve in curves}) != 1:
        raise FrostlineError(
            f"{where}: {len(curves)} curves of lengths {sorted({len(curve) for curve in curves})}; "
            "it needs one or more, all of one length."
        )
    return np.array([[np.nan if value is None else value for value in curve] for curve in curves], dtype=np.float64)


def _reference(axes: Axes, name: str, seeds: Floats, style: tuple[Any, Any, str]) -> None:
    colour, line, marker = style
    mean = seeds.mean(axis=0)
    held, words = np.flatnonzero(np.isfinite(mean)), labelled(name)
    if held.size == 1:
        hollow: dict[str, Any] = {"markersize": 9, "markerfacecolor": "none", "markeredgewidth": 2, "clip_on": False}
        axes.plot(held + 1, 100 * mean[held], marker, color=colour, label=words, zorder=4, **hollow)
    elif held.size:
        axes.plot(
            held + 1, 100 * mean[held], color=colour, linestyle=line, linewidth=1.6, label=labelled(name), zorder=2.5
        )


def _styles(count: int) -> list[tuple[Any, Any, str]]:
    return [REFERENCE_STYLES[index % len(REFERENCE_STYLES)] for index in range(count)]


def _bars(axes: Axes, places: Any, seeds: Floats, colour: str) -> None:
    mean = np.array([np.mean(column[np.isfinite(column)]) if np.isfinite(column).any() else 0 for column in seeds.T])
    axes.bar(places, 100 * mean, color=colour, width=0.8 if len(places) <= MARKERS_UP_TO else 1.0)
    top = float(mean.max(initial=0.0))
    if _shows_seeds(seeds):
        for run in seeds:
            axes.plot(places, 100 * run, "o", color="0.25", markersize=2.5)
        top = float(np.nanmax(seeds, initial=0.0))
    axes.set_ylim(0, max(1.0, 108 * top))
    axes.grid(axis="y", **GRID)
    axes.set_axisbelow(True)


def _shows_seeds(seeds: Floats) -> bool:
    return len(seeds) > 1 and seeds.shape[1] <= MARKERS_UP_TO


def _ticks(count: int) -> list[int]:
    step = next(step for step in (1, 2, 5, 10, 20, 25, 50, 100, 250, 500, 10**9) if count / step <= 12)
    return [1, *range(step, count + 1, step)] if step > 1 else list(range(1, count + 1))


def _experience_axis(axes: Axes, count: int) -> None:
    axes.set_xticks(_ticks(count))
    margin = 0.6 if count <= MARKERS_UP_TO else 0.02 * count
    axes.set_xlim(1 - margin, count + margin)


def _legend_below(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    widths = [len(label) + 6 for label in labels]  # in characters, with the handle
    columns = len(labels) if sum(widths) <= LEGEND_CHARACTERS else max(1, LEGEND_CHARACTERS // max(widths))
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
