"""Maps: what a thing is in one event says what it is in a related one (cross-event)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import inf
from typing import ClassVar, Literal

from pydantic import Field

from benchmarks.ontologies import RoleMap
from zeroshot.constraints.base import Row, Weighted
from zeroshot.constraints.filled import Filled, clusters
from zeroshot.problem import Problem


@dataclass(frozen=True)
class _Thing:
    """One thing in one event: the event's number, its pairs, and whether it may have no role there."""

    event: int
    name: str
    pairs: tuple[int, ...]
    none: bool


class Maps(Weighted):
    """A thing with the role ``a`` in one event has the role that the ontology's maps give it in the other event.

    Source: the cross-event constraint of Lin, Zhang and Song 2023 (arXiv 2302.04459), read both ways. Two events are
    related through each thing that is a candidate of both. Maps whose event types or roles are not those of an event
    say nothing about it.

    Args:
        weight: price of breaking a map for one thing; as in Weighted, but a map's own weight comes before the
            ontology's ``weights.maps``.
        by: what two events must share: the same ``mention``, or a mention of the same coreference ``cluster``.
        none: whether a thing with the role in one event must take part in the other; if not, the map only says which
            role it has there if it takes part.
        reach: greatest distance between the two triggers, in characters, where the thing is not a given argument of
            both events; None for any.
    """

    family: ClassVar[str] = "cross-event"
    by: Literal["mention", "cluster"] = "cluster"
    none: bool = False
    reach: int | None = Field(default=500, ge=0)

    def rows(self, problem: Problem) -> Iterator[Row]:
        """Yield ``x[e, m, a] = x[f, m, b]``, or both directions unless the thing has no role in the other event."""
        filled = Filled(problem)
        things = self._things(problem)
        seen: set[tuple[object, ...]] = set()
        priced = [(self.price(rule.weight, problem.ontology.weights.maps), rule) for rule in problem.ontology.maps]
        for price, rule in sorted(priced, key=lambda item: -inf if item[0] is None else -item[0]):  # the dearest wins
            if price == 0:
                continue
            for one, other in _related(problem, rule):
                for name in sorted(things[one].keys() & things[other].keys()):
                    here, there = things[one][name], things[other][name]
                    if not self._near(problem, here, there):
                        continue
                    for a, b in rule.roles.items():
                        if _has(problem, one, a) and _has(problem, other, b):
                            key = tuple(sorted(((one, a), (other, b)))), name
                            if key not in seen:
                                seen.add(key)
                                yield from self._tie(filled, (here, a), (there, b), price)
        yield from filled.rows

    def _things(self, problem: Problem) -> list[dict[str, _Thing]]:
        """Return for each event its things by name."""
        found = []
        for event in range(len(problem.events)):
            if self.by == "cluster":
                groups = clusters(problem, event)
            else:
                pairs = problem.pairs_of_event[event]
                groups = {problem.mentions[problem.pairs[pair].mention].id: [pair] for pair in pairs}
            found.append(
                {
                    name: _Thing(event, name, tuple(pairs), all(problem.pairs[pair].none for pair in pairs))
                    for name, pairs in groups.items()
                }
            )
        return found

    def _near(self, problem: Problem, here: _Thing, there: _Thing) -> bool:
        if self.reach is None or not (here.none or there.none):
            return True
        one, other = (problem.events[thing.event].trigger for thing in (here, there))
        return max(one.start, other.start) - min(one.end, other.end) <= self.reach

    def _tie(
        self, filled: Filled, one: tuple[_Thing, str], other: tuple[_Thing, str], price: float | None
    ) -> Iterator[Row]:
        """Yield the rows "the thing has the one role if and only if it has the other one"."""
        (here, a), (there, b) = sorted((one, other), key=lambda side: _order(filled.problem, side))
        x, z = filled.by(here.event, here.pairs, a, here.name), filled.by(there.event, there.pairs, b, there.name)
        texts = sorted({filled.mentions[filled.problem.pairs[pair].mention] for pair in (*here.pairs, *there.pairs)})
        said = " or ".join(texts)
        first, second = f"{a} of {filled.events[here.event]}", f"{b} of {filled.events[there.event]}"
        if not here.none and not there.none:
            yield Row(((x, 1.0), (z, -1.0)), 0.0, 0.0, price, f"{said}: {first} if and only if {second}")
            return
        for source, target, thing, words in (
            (x, z, there, f"{said}: if it is {first}, it is {second}"),
            (z, x, here, f"{said}: if it is {second}, it is {first}"),
        ):
            terms = [(source, 1.0), (target, -1.0)]
            if thing.none and not self.none:
                terms.append((filled.nowhere(thing.event, thing.pairs, thing.name), -1.0))
                words += " or has no role there"
            yield Row(tuple(terms), -inf, 0.0, price, words)


def _order(problem: Problem, side: tuple[_Thing, str]) -> tuple[object, ...]:
    event = problem.events[side[0].event]
    return event.trigger.span, event.id, side[1]


def _related(problem: Problem, rule: RoleMap) -> list[tuple[int, int]]:
    """Return the ordered pairs of different events whose types are those of the map."""
    types = [event.type for event in problem.events]
    sources = [number for number, name in enumerate(types) if fnmatchcase(name, rule.source)]
    targets = [number for number, name in enumerate(types) if fnmatchcase(name, rule.target)]
    return [(one, other) for one in sources for other in targets if one != other]


def _has(problem: Problem, event: int, role: str) -> bool:
    return role in problem.ontology.event(problem.events[event].type).roles
