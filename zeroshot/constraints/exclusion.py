"""Exclusion: two roles of one event of which at most one is filled."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import ClassVar

from zeroshot.constraints.base import Row, Weighted
from zeroshot.constraints.filled import Filled
from zeroshot.constraints.wording import said_events
from zeroshot.problem import Problem


class Exclusion(Weighted):
    """Of two roles that the ontology lists in an event type's ``exclusions`` at most one is filled, by anything.

    Args:
        weight: as in Weighted; the ontology's is ``weights.exclusion``.
    """

    family: ClassVar[str] = "cross-argument"

    def rows(self, problem: Problem) -> Iterator[Row]:
        """Yield ``filled(a) + filled(b) <= 1`` for each excluded pair of roles of each event."""
        price = self.price(problem.ontology.weights.exclusion)
        if price == 0:
            return
        filled, names = Filled(problem), said_events(problem)
        for event, pairs in enumerate(problem.pairs_of_event):
            if len(pairs) < 2:  # one mention has one role
                continue
            listed = problem.ontology.event(problem.events[event].type).exclusions
            for first, second in sorted({(min(pair), max(pair)) for pair in listed if pair[0] != pair[1]}):
                both = (filled.anything(event, first), 1.0), (filled.anything(event, second), 1.0)
                yield Row(both, -inf, 1.0, price, f"{first} and {second} of {names[event]} are not both filled")
        yield from filled.rows
