"""Breadth: of two roles that both admit a mention's entity type, the one that admits fewer types explains it better."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, log
from typing import ClassVar

from pydantic import Field

from backbones.core.settings import Settings
from zeroshot.constraints.base import Row
from zeroshot.constraints.wording import said_events, said_mentions
from zeroshot.problem import NONE, Problem


class Breadth(Settings):
    """A role expects each of the n entity types that it admits with probability 1/n, so it costs log n nats.

    This is the size principle of Tenenbaum and Griffiths 2001 (Behavioral and Brain Sciences 24, 629-640): an example
    speaks for the smallest hypothesis that covers it. A role without types admits every type of the ontology. "No role"
    costs what the roles of the event cost on average, so that the principle tells roles apart and does not say whether
    there is one. Mentions without any possible entity type are left alone.

    Args:
        weight: factor on log n, 0 or more; 1 is what the principle says, 0 switches it off.
    """

    family: ClassVar[str] = "cross-task"

    weight: float = Field(default=1.0, ge=0)

    def rows(self, problem: Problem) -> Iterator[Row]:
        """Yield one row of evidence for each role of each pair whose mention has entity types."""
        every = len(problem.ontology.entity_types)
        texts, events = said_mentions(problem), said_events(problem)
        for number, pair in enumerate(problem.pairs):
            if not self.weight or not problem.types[pair.mention]:
                continue
            specs = problem.ontology.event(problem.events[pair.event].type).roles
            counts = {role: len(set(spec.types)) or every for role, spec in specs.items()}
            for role in problem.roles(number):
                if role is NONE:
                    cost = sum(map(log, counts.values())) / len(counts)
                    words = f"no role in {events[pair.event]} counts as one of middling breadth: {texts[pair.mention]}"
                else:
                    cost = log(counts[role])
                    words = f"{role} of {events[pair.event]} admits {counts[role]} entity types: {texts[pair.mention]}"
                if cost > 0:
                    yield Row(((problem.x(number, role), 1.0),), -inf, 0.0, self.weight * cost, words, True)
