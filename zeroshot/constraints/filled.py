"""Whether anything of a set fills a role: one column where it can be, else an auxiliary variable that is their "or"."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from zeroshot.constraints.base import Aux, Row
from zeroshot.constraints.wording import listed, said_events, said_mentions
from zeroshot.problem import NONE, Problem


class Filled:
    """Makes "some pair of these has the role" a variable; ``rows`` are the hard rows that define it.

    Args:
        problem: what the columns belong to.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.rows: list[Row] = []
        self.mentions = said_mentions(problem)
        self.events = said_events(problem)
        self._made: dict[Aux, None] = {}

    def by(self, event: int, pairs: Sequence[int], role: str | None, name: str) -> int | Aux:
        """Return the variable "some pair of ``pairs`` (of ``event``, at least one) has ``role``".

        ``name`` says which pairs they are; it must not hang on the order of the input.
        """
        if len(pairs) == 1:
            return self.problem.x(pairs[0], role)
        key: Aux = ("filled", self.problem.events[event].id, role or "", name)
        if key not in self._made:
            self._made[key] = None
            self._define(key, event, pairs, role)
        return key

    def clusters(self, event: int, role: str | None) -> dict[str, int | Aux]:
        """Return for each coreference cluster with a candidate in ``event`` the variable that it has ``role``."""
        return {name: self.by(event, pairs, role, name) for name, pairs in clusters(self.problem, event).items()}

    def anything(self, event: int, role: str) -> int | Aux:
        """Return the variable that anything has ``role`` in ``event``, which has candidates."""
        return self.by(event, self.problem.pairs_of_event[event], role, "anything")

    def nowhere(self, event: int, pairs: Sequence[int], name: str) -> int | Aux:
        """Return the variable "none of ``pairs`` (of ``event``, each may have no role) has a role"."""
        columns = [self.problem.x(pair, NONE) for pair in pairs]
        if len(columns) == 1:
            return columns[0]
        key: Aux = ("nowhere", self.problem.events[event].id, name)
        if key not in self._made:
            self._made[key] = None
            texts = sorted({self.mentions[self.problem.pairs[pair].mention] for pair in pairs})
            reason = f"{listed(texts, 'and')}: it has no role in {self.events[event]} if all of them have none"
            for column in columns:
                self.rows.append(Row(((key, 1.0), (column, -1.0)), -inf, 0.0, None, reason))
            rest = tuple((column, -1.0) for column in columns)
            self.rows.append(Row(((key, 1.0), *rest), 1.0 - len(columns), inf, None, reason))
        return key

    def _define(self, key: Aux, event: int, pairs: Sequence[int], role: str | None) -> None:
        columns = [self.problem.x(pair, role) for pair in pairs]
        texts = sorted({self.mentions[self.problem.pairs[pair].mention] for pair in pairs})
        reason = (
            f"{listed(texts, 'or')}: the role {role or 'NONE'} of {self.events[event]} is filled if one of them has it"
        )
        for column in columns:
            self.rows.append(Row(((key, 1.0), (column, -1.0)), 0.0, inf, None, reason))
        self.rows.append(Row(((key, 1.0), *((column, -1.0) for column in columns)), -inf, 0.0, None, reason))


def clusters(problem: Problem, event: int) -> dict[str, list[int]]:
    """Return the pairs of ``event`` by the coreference cluster of their mentions."""
    found: dict[str, list[int]] = {}
    for pair in problem.pairs_of_event[event]:
        found.setdefault(problem.cluster(problem.pairs[pair].mention), []).append(pair)
    return found
