"""The page of ``benchmarks.studies.volumes``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import stdev
from typing import Any

from backbones.analysis.volumes import Curve

PAIRS_NAME = "minimal pairs"
UNITS = {PAIRS_NAME: "%", "held-out loss": "nats a masked token"}  # of figures that are no codes


def page(facts: Mapping[str, Any], curves: Sequence[Curve], name: str, pictures: Sequence[str]) -> str:
    """Return the page.

    Args:
        facts: what the study writes as JSON.
        curves: of the figures over the checkpoints from ``since`` on.
        name: of the files.
        pictures: file names.
    """
    rows: list[dict[str, Any]] = facts["rows"]
    figures, unit = list(rows[0]["figures"]), rows[0]["unit"]
    fitted = sum(x > 0 for x in curves[0].x)
    since = f" from {facts['since']:,.0f} {unit} on (`--since`)" if facts["since"] else ""
    return "\n".join(
        [
            "# What checkpoints of one pre-training know",
            "",
            "    python -m benchmarks.studies.volumes CHECKPOINT... --spans TASK.jsonl... --pairs blimp.json \\",
            f"        --each {facts['each']} --since {facts['since']:.0f} --name {name} --work DIR \\",
            "        --out benchmarks/results",
            "",
            *_what(rows, facts["each"]),
            "",
            f"| {unit} seen | " + " | ".join(f"{figure}, {UNITS.get(figure, 'kbit')}" for figure in figures) + " |",
            "|" + "---:|" * (len(figures) + 1),
            *(
                f"| {row['seen']:,.0f} | " + " | ".join(f"{row['figures'][figure]:.3f}" for figure in figures) + " |"
                for row in rows
            ),
            "",
            f"Curves over these checkpoints{since}, and logistic fits over the {fitted} of them that have seen",
            "anything: y = from + (to - from) / (1 + exp(-slope (ln x - ln middle))).",
            "",
            f"| figure | monotone | largest step back | from | to | middle, {unit} | slope | R2 | remarks |",
            "|---|---|---:|---:|---:|---:|---:|---:|---|",
            *(_fit_row(curve) for curve in curves),
            "",
            "Beside the codes, the standard error of each from its orders, the share of right answers of a linear",
            "probe of the last layer on held-out texts, and the code that the embeddings alone give in one order:",
            "",
            *_beside(rows),
            "",
            *(f"![{picture}]({picture})" for picture in pictures),
            "",
        ]
    )


def _what(rows: Sequence[Mapping[str, Any]], each: int) -> Iterator[str]:
    """Yield what was measured."""
    error = 50 / math.sqrt(each * len(rows[0]["paradigms"]))
    size = rows[0]["parameters"] / 1e6
    yield f"{len(rows)} checkpoints of one run ({rows[0]['made']}), an encoder of {size:.1f} M parameters, one seed;"
    yield "what run it was, and how to read this, stands in the README of results. Codes: online code"
    yield "(minimum description length) of labelled spans, with probes on the frozen last layer, mean of"
    yield f"{len(next(iter(rows[0]['codes'].values()))['orders'])} orders of the rows:"
    yield ""
    for name, code in rows[0]["codes"].items():
        yield (
            f"- {name}: {code['known']:,} targets of {code['classes']} classes; a code that knows nothing takes "
            f"{code['last']['mdl']['uniform kbit']:.3f} kbit"
        )
    yield ""
    yield f"Minimal pairs: {each} of each of the {len(rows[0]['paradigms'])} paradigms of BLiMP, the same ones of every"
    yield f"checkpoint, by pseudo-log-likelihood; chance 50 %, standard error of one figure about {error:.1f} points."


def step_back(y: Sequence[float]) -> float:
    """Return the largest step of a curve against the way from its first point to its last; 0 where it is monotone."""
    way = 1 if y[-1] >= y[0] else -1
    return max([0.0, *(way * (before - after) for before, after in pairwise(y))])


def _fit_row(curve: Curve) -> str:
    monotone = f"{'yes' if curve.monotone else 'no'} | {step_back(curve.y):.4f}"
    if curve.fit is None:
        return f"| {curve.name} | {monotone} | | | | | | no fit: {curve.reason} |"
    fit = curve.fit
    return (
        f"| {curve.name} | {monotone} | {fit.left:.2f} | {fit.right:.2f} | {fit.middle:,.0f} | {fit.slope:.2f} | "
        f"{fit.r2:.3f} | {'; '.join(fit.notes) or 'none'} |"
    )


def _beside(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    tasks = list(rows[0]["codes"])
    head = [f"{task}, spread, kbit | {task}, probe, % | {task}, embeddings, kbit" for task in tasks]
    yield f"| {rows[0]['unit']} seen | " + " | ".join(head) + " |"
    yield "|" + "---:|" * (3 * len(tasks) + 1)
    for row in rows:
        cells = [_cells(row["codes"][task]) for task in tasks]
        yield f"| {row['seen']:,.0f} | " + " | ".join(cells) + " |"


def _cells(code: Mapping[str, Any]) -> str:
    orders = code["orders"]
    spread = stdev(orders) / len(orders) ** 0.5
    return f"{spread:.3f} | {100 * code['last']['linear']:.1f} | {code['embeddings']['mdl']['kbit']:.2f}"
