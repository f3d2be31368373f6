"""Entity types: a role admits only some of them; roles and types are decided together (cross-task)."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import ClassVar

from zeroshot.constraints.base import Row, Weighted
from zeroshot.constraints.wording import listed, said_events, said_mentions
from zeroshot.problem import Problem


class Types(Weighted):
    """A mention fills a role only if it is of an entity type that the ontology admits for it.

    Source: the cross-task constraint of Lin, Zhang and Song 2023 (arXiv 2302.04459). Mentions without any possible
    entity type (the ontology has none, or does not know the given one) are left alone.

    Args:
        weight: as in Weighted; the ontology's is ``weights.types``.
    """

    family: ClassVar[str] = "cross-task"

    def rows(self, problem: Problem) -> Iterator[Row]:
        """Yield ``x[pair, role] <= sum of y[mention, type]`` over admitted types, where it says anything."""
        price = self.price(problem.ontology.weights.types)
        if price == 0:
            return
        texts, events = said_mentions(problem), said_events(problem)
        kinds = [problem.ontology.event(event.type) for event in problem.events]
        admitted: dict[tuple[int, tuple[str, ...]], tuple[tuple[int, float], ...] | None] = {}
        for number, pair in enumerate(problem.pairs):
            if not problem.types[pair.mention]:
                continue
            for role, spec in kinds[pair.event].roles.items():
                if not spec.types:
                    continue
                key = (pair.mention, spec.types)
                if key not in admitted:
                    admitted[key] = _admitted(problem, *key)
                terms = admitted[key]
                if terms is not None:
                    reason = f"{role} of {events[pair.event]} admits {listed(spec.types, 'or')}: {texts[pair.mention]}"
                    yield Row(((problem.x(number, role), 1.0), *terms), -inf, 0.0, price, reason)


def _admitted(problem: Problem, mention: int, types: tuple[str, ...]) -> tuple[tuple[int, float], ...] | None:
    """Return the terms of the mention's admitted types, None if every type that it can have is one."""
    own = problem.types[mention]
    allowed = [kind for kind in own if kind in types]
    return None if len(allowed) == len(own) else tuple((problem.y(mention, kind), -1.0) for kind in allowed)
