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
    speaks for the smallest hypothesis that covers it. A role without types, and no role at all, admit every type of
    the ontology. Mentions without any possible entity type are left alone.

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
            for role in problem.roles(number):
                count = every if role is NONE else len(set(specs[role].types)) or every
                if count > 1:
                    name = "no role" if role is NONE else role
                    reason = f"{name} of {events[pair.event]} admits {count} entity types: {texts[pair.mention]}"
                    yield Row(((problem.x(number, role), 1.0),), -inf, 0.0, self.weight * log(count), reason, True)
