"""Time: expressions of time fill roles of time, and nothing else does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import inf
from typing import ClassVar

from zeroshot.candidates.forms import forms
from zeroshot.constraints.base import Row, Weighted
from zeroshot.constraints.wording import listed, said_events, said_mentions
from zeroshot.problem import NONE, Problem

_SMALL = re.compile(
    r"a|about|after|and|around|approximately|at|before|between|by|during|early|every|for|from|in|last|late|next|of|on|"
    r"since|some|the|this|through|to|until"
)


class Time(Weighted):
    """In an event type that has roles of time an expression of time fills one of them, or none at all.

    Source: the rule for expressions of time of Lin, Zhang and Song 2023 (arXiv 2302.04459). A mention whose entity
    type is given is an expression of time if the ontology's ``time_types`` list that type; any other one if its text
    reads as a date, a time of day or a stretch of time (English) and nothing more.

    Args:
        weight: as in Weighted; the ontology's is ``weights.time``.
        only: whether roles of time are also kept from mentions that are no expressions of time; where the entity type
            is given that is left to the rule ``types``.
    """

    family: ClassVar[str] = "time"
    only: bool = True

    def rows(self, problem: Problem) -> Iterator[Row]:
        """Yield ``sum of x[pair, r] <= 0`` over the roles that do not suit the mention."""
        price = self.price(problem.ontology.weights.time)
        if price == 0:
            return
        texts, names = said_mentions(problem), said_events(problem)
        known, timely = _given(problem), _expressions(problem)
        for number, pair in enumerate(problem.pairs):
            roles = problem.ontology.event(problem.events[pair.event].type).roles
            of_time = [role for role, spec in roles.items() if spec.time]
            given = known[pair.mention]
            is_time = timely[pair.mention] if given is None else given
            if not of_time or (not is_time and (given is not None or not self.only)):
                continue
            wrong = [role for role in problem.roles(number) if role is not NONE and (role in of_time) != is_time]
            if wrong:
                said = (
                    f"is an expression of time and fills only {listed(of_time, 'or')} of"
                    if is_time
                    else f"is no expression of time and does not fill {listed(of_time, 'or')} of"
                )
                terms = tuple((problem.x(number, role), 1.0) for role in wrong)
                yield Row(terms, -inf, 0.0, price, f"{texts[pair.mention]} {said} {names[pair.event]}")


def _given(problem: Problem) -> list[bool | None]:
    """Return for each mention whether its given entity type is one of time, None if it has none or none is listed."""
    times = problem.ontology.time_types
    return [kinds[0] in times if times and len(kinds) == 1 else None for kinds in problem.types]


def _expressions(problem: Problem) -> list[bool]:
    """Return for each mention whether its text is made of expressions of time and small words alone."""
    text = problem.passage.text
    found = [span for span, kind in forms(text) if kind == "time"]
    answers = []
    for mention in problem.mentions:
        inside = [(max(start, mention.start), min(end, mention.end)) for start, end in found]
        inside = [(start, end) for start, end in inside if start < end]
        edges = [mention.start, *(edge for span in inside for edge in span), mention.end]
        rest = " ".join(text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))
        answers.append(bool(inside) and all(_SMALL.fullmatch(word) for word in re.findall(r"\w+", rest.lower())))
    return answers
