"""Pictures of the life cycle: functions from values to PNG bytes, without pyplot and its global state.

Colours are those of Okabe and Ito, told apart by colour-blind readers.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from backbones.core.errors import FrostlineError
from backbones.core.visible import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000", "#999999")
MARKERS = "os^Dv<>P"
STYLES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
GRID: dict[str, Any] = {"color": "0.9", "linewidth": 0.8}
MARKED = 40  # points up to which each has a marker
LONGEST = 120  # characters of a text
LABELS = 30  # points up to which each has its label

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def lines(
    series: Series,
    x: str,
    y: str,
    *,
    title: str = "",
    log_x: bool = False,
    log_y: bool = False,
    fits: Series | None = None,
    points: bool = True,
) -> bytes:
    """Draw curves over a common axis.

    Args:
        series: name -> (x values, y values), in this order.
        x: what the horizontal axis is, with its unit; y: the vertical one.
        title: above the picture.
        log_x: whether the axis is logarithmic; log_y: likewise.
        fits: name of a series -> (x values, y values), drawn dashed in its colour.
        points: whether short series have markers.

    Raises:
        FrostlineError: no series, or one whose values do not pair up.
    """
    _check(series, "picture of curves")
    figure, axes = _figure(7.0, 4.2)
    for number, (name, (across, up)) in enumerate(series.items()):
        colour, fitted = COLOURS[number % len(COLOURS)], name in (fits or {})
        marker = MARKERS[number % len(MARKERS)] if points and len(across) <= MARKED else None
        style = "none" if fitted and marker else STYLES[number // len(COLOURS) % len(STYLES)]
        axes.plot(across, up, color=colour, marker=marker, linestyle=style, label=label(name), zorder=3)
        if fitted:
            assert fits is not None
            axes.plot(*fits[name], color=colour, linestyle="--", linewidth=1.2, zorder=2)
    _scales(axes, log_x, log_y)
    return _png(figure, axes, x, y, title, len(series))


def scatter(
    groups: Mapping[str, Sequence[tuple[float, float, str]]],
    x: str,
    y: str,
    *,
    title: str = "",
    log_x: bool = False,
    front: bool = False,
) -> bytes:
    """Draw points of several groups, each point with a label while they are few.

    Args:
        groups: name -> points (x, y, label).
        x: what the horizontal axis is, with its unit; y: the vertical one.
        title: above the picture.
        log_x: whether the axis is logarithmic.
        front: draw the Pareto front of all points, for which less of x and more of y is better.

    Raises:
        FrostlineError: no point.
    """
    every = [point for points in groups.values() for point in points]
    if not every:
        raise FrostlineError("picture of points: there is no point; pass one or more.")
    figure, axes = _figure(7.0, 4.6)
    for number, (name, points) in enumerate(groups.items()):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        axes.scatter(
            [p[0] for p in points],
            [p[1] for p in points],
            color=colour,
            marker=marker,
            s=36,
            label=label(name),
            zorder=3,
        )
        for across, up, words in points if len(every) <= LABELS else ():
            axes.annotate(label(words), (across, up), textcoords="offset points", xytext=(5, 4), fontsize=8)
    if front:
        best = pareto([(across, up) for across, up, _ in every])
        axes.plot(*zip(*best, strict=True), color="0.5", linewidth=1.0, drawstyle="steps-post", zorder=1, label="front")
    _scales(axes, log_x, log_y=False)
    return _png(figure, axes, x, y, title, len(groups) + front)


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other beats with less x and more y, by ascending x."""
    best: list[tuple[float, float]] = []
    for across, up in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or up > best[-1][1]:
            best.append((across, up))
    return best


def bars(
    values: Mapping[str, float | Mapping[str, float]],
    y: str,
    *,
    title: str = "",
    errors: Mapping[str, float] | None = None,
) -> bytes:
    """Draw a bar for each name, or a group of bars where a name has several values.

    Args:
        values: name -> height, or name -> {member: height}; members have one colour in all groups.
        y: what the vertical axis is, with its unit.
        title: above the picture.
        errors: name -> half the length of an error bar, for names with one height.

    Raises:
        FrostlineError: no value.
    """
    if not values:
        raise FrostlineError("picture of bars: there is no value; pass one or more.")
    grouped = {name: each if isinstance(each, Mapping) else {"": each} for name, each in values.items()}
    members = list(dict.fromkeys(member for each in grouped.values() for member in each))
    figure, axes = _figure(max(5.0, min(14.0, 1.2 + 0.45 * len(grouped) * max(1.5, len(members)))), 4.2)
    wide = 0.8 / len(members)
    for number, member in enumerate(members):
        places = [place + (number - (len(members) - 1) / 2) * wide for place in range(len(grouped))]
        heights = [each.get(member, float("nan")) for each in grouped.values()]
        spread = [errors.get(name, 0.0) for name in grouped] if errors and not member else None
        axes.bar(
            places,
            heights,
            wide * 0.92,
            color=COLOURS[number % len(COLOURS)],
            yerr=spread,
            label=label(member),
            zorder=3,
        )
    axes.set_xticks(range(len(grouped)), [label(name) for name in grouped])
    if max(map(len, grouped)) * len(grouped) > 70:
        axes.tick_params(axis="x", rotation=35)
        for text in axes.get_xticklabels():
            text.set_horizontalalignment("right")
    return _png(figure, axes, "", y, title, len(members) if members != [""] else 1)


def png(figure: Figure, **how: Any) -> bytes:
    """Return a figure as PNG; its texts are data: no mathematics, nothing that acts, and not without end.

    Args:
        figure: drawn on with any of matplotlib's means.
        how: passed on to ``savefig``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
        if (words := plain(text.get_text())) != text.get_text():
            text.set_text(words)
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # it is shown as a box
        figure.savefig(buffer, format="png", dpi=DPI, **how)
    return buffer.getvalue()


def plain(text: str, longest: int = LONGEST) -> str:
    """Return ``text`` as a picture can show it: visible, and at most ``longest`` characters long."""
    shown = visible(text)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def label(name: str) -> str:
    """Return ``name`` as a label that leaves room for the picture.

    A space goes before an underscore: matplotlib hides series whose labels begin with one.
    """
    return plain(f" {name}" if name.startswith("_") else name, 44)


def _check(series: Series, what: str) -> None:
    if not series:
        raise FrostlineError(f"{what}: there is no series; pass one or more.")
    for name, (across, up) in series.items():
        if len(across) != len(up) or len(across) == 0:
            raise FrostlineError(f"{what}: series {name!r} has {len(across)} x and {len(up)} y values.")


def _figure(wide: float, high: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide, high), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(True, **GRID)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _scales(axes: Axes, log_x: bool, log_y: bool) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    for wanted, scale, axis in ((log_x, axes.set_xscale, axes.xaxis), (log_y, axes.set_yscale, axes.yaxis)):
        if wanted:
            scale("log")
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=9))
            axis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
            axis.set_minor_formatter(NullFormatter())  # between the powers of ten labels would overlap


def _png(figure: Figure, axes: Axes, x: str, y: str, title: str, named: int) -> bytes:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if title:
        axes.set_title(title, fontsize=11)
    if named > 1:
        columns = 1 if named <= 6 else 2
        axes.legend(frameon=False, fontsize=8, ncols=columns, loc="best")
    return png(figure, metadata={"Software": "frostline"})
