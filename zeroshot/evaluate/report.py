"""What evaluation gives: figures with intervals, tables by role and event type, and rows beside each other."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from backbones.core.outputs import made_by
from backbones.core.settings import Settings

Interval = tuple[float, float]


class Score(Settings):
    """Precision, recall and F1 (0 to 1; 0 where there is nothing to divide by) with their counts.

    Args:
        interval: 95 % percentile bootstrap interval of F1; None without bootstrap or with a single document.
    """

    precision: float
    recall: float
    f1: float
    correct: int
    predicted: int
    gold: int
    interval: Interval | None = None


class Mean(Settings):
    """Unweighted means over roles, interval of F1 as in Score."""

    precision: float
    recall: float
    f1: float
    interval: Interval | None = None


class Accuracy(Settings):
    """Share of given arguments whose role is right, interval as in Score."""

    value: float
    correct: int
    total: int
    interval: Interval | None = None


class Row(Settings):
    """One role or event type with its score under the criterion ``classification``."""

    name: str
    score: Score


class Confusion(Settings):
    """How often arguments of the gold role were given the predicted one; None: no argument."""

    gold: str | None
    predicted: str | None
    count: int


class Report(Settings):
    """How well roles were predicted.

    Args:
        documents, events: evaluated; arguments: gold arguments.
        identification: the span is an argument of the event; classification: and has the role.
        head_identification, head_classification: the same for the head word of the span.
        coref_identification, coref_classification: the same for the thing in the world: any mention of the gold
            mention's coreference cluster, by its head word, counts, and a cluster counts once; None where the gold has
            no clusters.
        accuracy: share of arguments with the right role, None unless exactly the gold spans were predicted.
        macro: means of classification over roles (gold or predicted).
        roles, event_types: tables of classification, most gold arguments first.
        confusion: roles of the spans of either side, most frequent first.
        bootstrap, seed: how intervals were drawn.
        notes: what the user must know.
    """

    documents: int
    events: int
    arguments: int
    identification: Score
    classification: Score
    head_identification: Score
    head_classification: Score
    coref_identification: Score | None
    coref_classification: Score | None
    accuracy: Accuracy | None
    macro: Mean
    roles: tuple[Row, ...]
    event_types: tuple[Row, ...]
    confusion: tuple[Confusion, ...]
    bootstrap: int
    seed: int
    notes: tuple[str, ...] = ()


class Difference(Settings):
    """Paired bootstrap of the difference in F1 of ``criterion`` between two predictions of the same documents.

    Args:
        first, second: their F1; difference: first minus second.
        interval: 95 % percentile interval of the difference over resampled documents, None with a single document.
        p: two-sided share of resamples on the other side of no difference, smoothed by one; None as the interval.
    """

    criterion: str
    first: float
    second: float
    difference: float
    interval: Interval | None
    p: float | None


class NamedReport(Settings):
    """One row of an evaluation: the report of one way to predict, and how it differs from the first row.

    Args:
        name: such as ``"all constraints"``, ``"without cross-task"`` or ``"random"``.
        kind: what the row is for; an oracle has seen the gold roles.
        difference: this row minus the first one; None for the first.
    """

    name: str
    kind: Literal["predicted", "ablation", "baseline", "oracle"]
    report: Report
    difference: Difference | None = None


class Evaluation(Settings):
    """Rows beside each other, all of the same documents; the first one is what was asked about.

    Args:
        made_by: see zeroshot.result.Result.
    """

    made_by: str = Field(default_factory=made_by)
    rows: tuple[NamedReport, ...]
