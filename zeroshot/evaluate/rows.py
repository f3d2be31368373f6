"""Rows beside each other: several ways to predict the same documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from backbones.core.errors import FrostlineError
from benchmarks.passages import Passage
from zeroshot.evaluate.measure import compare, evaluate
from zeroshot.evaluate.report import Evaluation, NamedReport

Kind = Literal["predicted", "ablation", "baseline", "oracle"]


def evaluate_rows(
    gold: Sequence[Passage],
    rows: Iterable[tuple[str, Kind, Sequence[Passage]]],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Evaluate several predictions of the same documents, each with its paired difference to the first.

    Args:
        gold: passages with gold roles.
        rows: (name, kind, predicted passages); consumed one by one.
        bootstrap, seed: as in ``evaluate``.

    Raises:
        FrostlineError: no rows, or as ``evaluate``.
    """
    found: list[NamedReport] = []
    first: Sequence[Passage] | None = None
    for name, kind, predicted in rows:
        report = evaluate(gold, predicted, bootstrap=bootstrap, seed=seed)
        difference = None if first is None else compare(gold, predicted, first, bootstrap=bootstrap, seed=seed)
        first = predicted if first is None else first
        found.append(NamedReport(name=name, kind=kind, report=report, difference=difference))
    if not found:
        raise FrostlineError("no rows to evaluate: give at least one prediction.")
    return Evaluation(rows=tuple(found))
