"""Coreference of events: in events that are one event in the world a thing has one role."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar

from zeroshot.constraints.base import Row, Weighted
from zeroshot.constraints.filled import Filled, clusters
from zeroshot.problem import Problem


class Coreference(Weighted):
    """A thing (coreference cluster) that is a candidate of coreferent events has the same role in them, or in none.

    Events of a cluster are taken in the order of the text, each compared with the one before that has the thing among
    its candidates; of events of different types only the roles that both have are compared.

    Args:
        weight: price of two different roles; as in Weighted, the ontology's is ``weights.coreference``.
    """

    family: ClassVar[str] = "cross-event"

    def rows(self, problem: Problem) -> Iterator[Row]:
        """Yield ``x[e, m, r] = x[f, m, r]`` at half the price for each role (two roles leave their rows at once)."""
        price = self.price(problem.ontology.weights.coreference)
        if price == 0:
            return
        filled = Filled(problem)
        half = None if price is None else price / 2
        for events in _together(problem):
            things = {event: clusters(problem, event) for event in events}
            for thing in sorted({name for found in things.values() for name in found}):
                holders = [event for event in events if thing in things[event]]
                for one, other in pairwise(holders):
                    ours, theirs = things[one][thing], things[other][thing]
                    texts = sorted({filled.mentions[problem.pairs[pair].mention] for pair in (*ours, *theirs)})
                    for role in _common(problem, (ours, theirs)):
                        terms = (filled.by(one, ours, role, thing), 1.0), (filled.by(other, theirs, role, thing), -1.0)
                        reason = (
                            f"{filled.events[one]} and {filled.events[other]} are one event: {', '.join(texts)} "
                            f"{'takes part in both or none' if role is None else f'is {role} in both or none'}"
                        )
                        yield Row(terms, 0.0, 0.0, half, reason)
        yield from filled.rows


def _together(problem: Problem) -> list[list[int]]:
    """Return the events of each cluster of events in the order of the text."""
    found: dict[str, list[int]] = {}
    for number, event in enumerate(problem.events):
        if event.coref is not None:
            found.setdefault(event.coref, []).append(number)
    place = [(event.trigger.span, event.id) for event in problem.events]
    return [sorted(numbers, key=place.__getitem__) for _, numbers in sorted(found.items())]


def _common(problem: Problem, sides: tuple[list[int], list[int]]) -> list[str | None]:
    """Return the roles that every pair of both sides may have, in the order of the first."""
    pairs = [pair for side in sides for pair in side]
    return [role for role in problem.roles(pairs[0]) if all(role in problem.roles(pair) for pair in pairs)]
