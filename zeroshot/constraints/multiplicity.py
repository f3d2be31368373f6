"""Multiplicity: how many things, counted over coreference clusters, fill a role of an event."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import ClassVar

from pydantic import Field

from zeroshot.constraints.base import Row, Weighted
from zeroshot.constraints.filled import Filled
from zeroshot.constraints.wording import said_events
from zeroshot.problem import Problem


class Multiplicity(Weighted):
    """At least ``min`` and at most ``max`` things fill a role; mentions of one thing count once.

    Source: the cross-argument constraint of Lin, Zhang and Song 2023 (arXiv 2302.04459).

    Args:
        weight: price of each thing too many or too few; as in Weighted, the ontology's is ``weights.multiplicity``.
        max: overrides the ontology's greatest number for every role; None keeps it.
        min: overrides the ontology's least number for every role; None keeps it.
    """

    family: ClassVar[str] = "cross-argument"
    max: int | None = Field(default=None, ge=1)
    min: int | None = Field(default=None, ge=0)

    def rows(self, problem: Problem) -> Iterator[Row]:
        """Yield ``min <= number of clusters that fill the role <= max`` for each role of each event with candidates."""
        price = self.price(problem.ontology.weights.multiplicity)
        if price == 0:
            return
        filled, names = Filled(problem), said_events(problem)
        for event, pairs in enumerate(problem.pairs_of_event):
            if not pairs:
                continue
            for role, spec in problem.ontology.event(problem.events[event].type).roles.items():
                least = spec.min if self.min is None else self.min
                most = spec.max if self.max is None else self.max
                if least == 0 and (most is None or most >= len(pairs)):
                    continue
                terms = tuple((key, 1.0) for key in filled.clusters(event, role).values())
                reason = f"{role} of {names[event]} is filled by {_said(least, most)}"
                yield Row(terms, float(least), inf if most is None else float(most), price, reason)
        yield from filled.rows


def _said(least: int, most: int | None) -> str:
    if most is None:
        return f"at least {least}"
    if least == most:
        return f"exactly {least}"
    return f"at most {most}" if least == 0 else f"{least} to {most}"
