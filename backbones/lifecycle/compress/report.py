"""A frontier as table, pictures and plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backbones.lifecycle.compress.frontier import Frontier, Point
from backbones.lifecycle.compress.packed import FULL
from backbones.page import Picture, Prose, Table
from backbones.plots import scatter

MEGA = 1e6
HEADER = ("weights", "zero", "bytes (MB)", "file (MB)", "smaller", "linear", "change", "kept head", "NCM",
          "same answer", "ms a batch", "speed")  # fmt: skip


def table_of(frontier: Frontier, caption: str = "") -> Table:
    """Return one row for each point, the dense backbone first."""
    rows = [_row(point, frontier.dense) for point in (frontier.dense, *frontier.points)]
    width = len(HEADER) if frontier.dense.judged is not None else 5
    return Table(HEADER[:width], [row[:width] for row in rows], caption)


SHORT = (0, 1, 3, 5, 6, 7, 8, 10)  # columns that a terminal has room for


def short_table(frontier: Frontier) -> Table:
    """Return ``table_of`` with the columns that a terminal of 80 characters has room for."""
    whole = table_of(frontier)
    chosen = [column for column in SHORT if column < len(whole.header)]
    return Table(
        tuple(whole.header[column] for column in chosen), [[row[column] for column in chosen] for row in whole.rows]
    )


def _row(point: Point, dense: Point) -> tuple[str, ...]:
    bits = "float32" if point.bits == FULL else f"{point.bits} bits"
    sizes = (f"{point.formula / MEGA:.3f}", f"{point.file / MEGA:.3f}", f"{dense.file / point.file:.2f}x")
    if point.judged is None or dense.judged is None:
        return (bits, f"{point.sparsity:.0%}", *sizes)
    judged, speed = point.judged, point.speed
    change = judged.linear - dense.judged.linear
    return (
        bits,
        f"{point.sparsity:.0%}",
        *sizes,
        f"{judged.linear:.1%}",
        "" if point is dense else f"{100 * change:+.1f} ± {100 * judged.sampling:.1f}",
        f"{judged.kept:.1%}",
        f"{judged.ncm:.1%}",
        f"{judged.agreed:.1%}",
        "" if speed is None else f"{speed.milliseconds:,.1f}",
        "" if speed is None else f"{speed.ratio[1]:.2f} ({speed.ratio[0]:.2f} to {speed.ratio[2]:.2f})",
    )


READING = (
    "Bytes are by the formula: a weight of n numbers of which m are left, at b bits with s scales, takes "
    "m*b/8 + mask + 2*s bytes, with a mask of n bits or m gaps, whichever is smaller, or n*b/8 + 2*s without a mask "
    "where that is less; all else counts at its dtype. File is the packed file as written. Linear: logistic regression "
    "fitted to the compressed features; kept head: the one fitted to the dense features; NCM: nearest class mean; same "
    "answer: share of test samples with the class that the dense backbone gives. After ± stands the standard deviation "
    "that the draw of test samples brings to the change. Speed: the compressed weights in float32 against the dense "
    "ones, timed in turn (median, lowest to highest): weights on a grid make files smaller, not this computation "
    "faster; for that see backbone export --format int8."
)


def parts_of(frontier: Frontier) -> list[Table | Picture | Prose]:
    """Return the parts of a page."""
    parts: list[Table | Picture | Prose] = [table_of(frontier, "Accuracy, bytes, latency"), Prose(READING)]
    if frontier.dense.judged is not None:
        every = (frontier.dense, *frontier.points)
        parts.append(
            Picture("bytes.png", _picture(every, "file, MB", [p.file / MEGA for p in every]),
                    "Accuracy of a refitted head against the size of the packed file; towards the upper left is better")
        )  # fmt: skip
        times = [p.speed.milliseconds if p.speed else 0.0 for p in every]
        parts.append(
            Picture("latency.png", _picture(every, "ms a batch, float32", times, log=False),
                    "Accuracy against measured latency: all points compute in float32 and differ by noise alone")
        )  # fmt: skip
    return parts


def _picture(points: Sequence[Point], x: str, across: Sequence[float], *, log: bool = True) -> bytes:
    groups: dict[str, list[tuple[float, float, str]]] = {}
    for point, place in zip(points, across, strict=True):
        assert point.judged is not None
        label = "float32" if point.bits == FULL else str(point.bits)
        group = f"{point.sparsity:.0%} zero" if point.sparsity else "not pruned"
        groups.setdefault(group, []).append((place, 100 * point.judged.linear, label))
    return scatter(groups, x, "linear probe, % right", title="labels: bits", log_x=log, front=log)


def facts_of(frontier: Frontier) -> dict[str, Any]:
    """Return the figures as JSON values."""
    return {
        "points": [_facts(point) for point in (frontier.dense, *frontier.points)],
        "chosen": frontier.chosen.name,
        "within": frontier.within,
    }


def _facts(point: Point) -> dict[str, Any]:
    found: dict[str, Any] = {
        "bits": point.bits,
        "sparsity": point.sparsity,
        "zeros": point.zeros,
        "bytes": point.formula,
        "file": point.file,
    }
    if point.judged is not None:
        found |= vars(point.judged)
    if point.speed is not None:
        found |= {"milliseconds": point.speed.milliseconds, "speed": list(point.speed.ratio)}
    return found
