"""Overlap: spans that share characters do not both fill roles of one event."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import inf
from typing import ClassVar, Literal

from benchmarks.passages import Mention
from zeroshot.constraints.base import Row, Weighted
from zeroshot.constraints.wording import said_events, said_mentions
from zeroshot.problem import NONE, Problem


class Overlap(Weighted):
    """Of two overlapping mentions at most one takes part in an event; of nested ones they may in different roles.

    Mentions of one coreference cluster are one thing and may overlap. Two given arguments, which must both have a
    role, are only kept from having the same one.

    Args:
        weight: as in Weighted; the ontology's is ``weights.overlap``.
        nested: what is forbidden where one span lies within the other, as in "the mayor of Lyon": ``"same"``: that
            both fill the same role; ``"any"``: that both fill any; ``"allowed"``: nothing.
    """

    family: ClassVar[str] = "cross-argument"
    nested: Literal["same", "any", "allowed"] = "same"

    def rows(self, problem: Problem) -> Iterator[Row]:
        """Yield ``x[p, r] + x[q, r] <= 1`` for each role, or the same summed over all roles, for each such pair."""
        price = self.price(problem.ontology.weights.overlap)
        if price == 0:
            return
        texts, names = said_mentions(problem), said_events(problem)
        for event, pairs in enumerate(problem.pairs_of_event):
            for p, q in combinations(pairs, 2):
                first, second = problem.pairs[p].mention, problem.pairs[q].mention
                scope = self._scope(problem.mentions[first], problem.mentions[second])
                if scope is None:
                    continue
                both = f"{' and '.join(sorted((texts[first], texts[second])))} overlap and"
                if scope == "any" and (problem.pairs[p].none or problem.pairs[q].none):
                    columns = [
                        problem.x(pair, role) for pair in (p, q) for role in problem.roles(pair) if role is not NONE
                    ]
                    reason = f"{both} do not both take part in {names[event]}"
                    yield Row(tuple((column, 1.0) for column in columns), -inf, 1.0, price, reason)
                    continue
                for role in problem.roles(p):
                    if role is not NONE:
                        terms = ((problem.x(p, role), 1.0), (problem.x(q, role), 1.0))
                        yield Row(terms, -inf, 1.0, price, f"{both} do not both fill {role} of {names[event]}")

    def _scope(self, first: Mention, second: Mention) -> Literal["same", "any"] | None:
        """Return what two mentions of one event must not share: the same role, any part in it, None for nothing."""
        if first.end <= second.start or second.end <= first.start:
            return None
        if first.coref is not None and first.coref == second.coref:
            return None
        equal = first.span == second.span
        inside = (first.start - second.start) * (first.end - second.end) <= 0
        if inside and not equal:
            return None if self.nested == "allowed" else self.nested
        return "any"
