"""Co-occurrence: a filled role of an event asks for another one."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import ClassVar

from zeroshot.constraints.base import Row, Weighted
from zeroshot.constraints.filled import Filled
from zeroshot.constraints.wording import said_events
from zeroshot.problem import Problem


class Cooccurrence(Weighted):
    """Where the ontology's ``implies`` says (a, b), b is filled if a is.

    Args:
        weight: as in Weighted; the ontology's is ``weights.cooccurrence``.
    """

    family: ClassVar[str] = "cross-argument"

    def rows(self, problem: Problem) -> Iterator[Row]:
        """Yield ``filled(a) <= sum of x[pair, b]`` for each implication of each event with candidates."""
        price = self.price(problem.ontology.weights.cooccurrence)
        if price == 0:
            return
        filled, names = Filled(problem), said_events(problem)
        for event, pairs in enumerate(problem.pairs_of_event):
            if not pairs:
                continue
            implied = problem.ontology.event(problem.events[event].type).implies
            for first, second in sorted({pair for pair in implied if pair[0] != pair[1]}):
                others = tuple((problem.x(pair, second), -1.0) for pair in pairs)
                reason = f"{names[event]}: if {first} is filled, {second} is"
                yield Row(((filled.anything(event, first), 1.0), *others), -inf, 0.0, price, reason)
        yield from filled.rows
