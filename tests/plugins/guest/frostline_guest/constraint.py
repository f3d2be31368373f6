"""A constraint from outside: the first mention of the text has the first role of its event."""

from collections.abc import Iterable
from typing import ClassVar

from backbones.core.settings import Settings
from zeroshot import Problem, Row


class FirstComesFirst(Settings):
    """Subjects stand first in English: prices any other role of an event's first mention at ``price`` nats."""

    family: ClassVar[str] = "cross-argument"
    price: float = 0.5

    def rows(self, problem: Problem) -> Iterable[Row]:
        """Yield one row for each event."""
        for pairs in problem.pairs_of_event:
            if pairs:
                first = min(pairs, key=lambda pair: problem.mentions[problem.pairs[pair].mention].span)
                role = problem.roles(first)[0]
                terms = ((problem.x(first, role), 1.0),)
                yield Row(terms, 1.0, 1.0, self.price, f"the first mention is {role}")
