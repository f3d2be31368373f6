"""User rules: roles that the user forces or forbids; always hard."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import ClassVar

from backbones.core.errors import FrostlineError, unknown
from backbones.core.settings import Settings
from benchmarks.passages import UserRule
from zeroshot.constraints.base import Row
from zeroshot.constraints.wording import said_events, said_mentions
from zeroshot.problem import Problem


class User(Settings):
    """What the passage's own ``constraints`` say: the role that a mention has in an event, or cannot have."""

    family: ClassVar[str] = "user"

    def rows(self, problem: Problem) -> Iterator[Row]:
        """Yield ``x[pair, role] = 1`` or ``0`` for each rule.

        Raises:
            FrostlineError: a rule names an event, mention or role that there is none of, or forces a role upon a
                mention that is no candidate of the event.
        """
        events = {event.id: number for number, event in enumerate(problem.events)}
        mentions = {mention.id: number for number, mention in enumerate(problem.mentions)}
        pairs = {(pair.event, pair.mention): number for number, pair in enumerate(problem.pairs)}
        texts, names = said_mentions(problem), said_events(problem)
        for rule in problem.passage.constraints:
            where = f"of the user's rules ({rule.rule} {rule.entity!r} in {rule.event!r})"
            if rule.event not in events:
                raise unknown(f"event {where}", rule.event, events)
            event = events[rule.event]
            roles = problem.ontology.event(problem.events[event].type).roles
            if rule.role is not None and rule.role not in roles:
                raise unknown(f"role {where}", rule.role, roles)
            pair = pairs.get((event, mentions.get(rule.entity, -1)))
            if pair is None:
                _absent(problem, rule, event)
            elif rule.role is not None or problem.pairs[pair].none:
                said = f"{texts[problem.pairs[pair].mention]} {'has' if rule.rule == 'force' else 'does not have'}"
                reason = f"the user's rule: {said} {rule.role or 'no role'} in {names[event]}"
                at = (1.0, inf) if rule.rule == "force" else (-inf, 0.0)
                yield Row(((problem.x(pair, rule.role), 1.0),), *at, None, reason)
            elif rule.rule == "force":
                raise FrostlineError(
                    f"the user's rule keeps {rule.entity!r} out of {rule.event!r}, but it is given as an argument "
                    'there and must have a role. Take it off the arguments, or set candidates to "entities".'
                )


def _absent(problem: Problem, rule: UserRule, event: int) -> None:
    """Object to a rule about a mention that is no candidate of the event, unless it already is as the rule wants."""
    known = [mention.id for mention in problem.passage.entities] or [mention.id for mention in problem.mentions]
    if rule.entity not in {*known, *(mention.id for mention in problem.mentions)}:
        raise unknown(f"mention of the user's rules ({rule.rule} in {rule.event!r})", rule.entity, known)
    if (rule.rule == "force") == (rule.role is not None):
        candidates = [problem.mentions[problem.pairs[pair].mention].id for pair in problem.pairs_of_event[event]]
        if rule.rule == "force":
            raise FrostlineError(
                f"the user's rule gives {rule.entity!r} the role {rule.role!r} in {rule.event!r}, where it is no "
                f"candidate. Candidates: {', '.join(candidates) or 'none'}. List it among the event's arguments, or "
                'set its candidates to "entities".'
            )
        raise FrostlineError(
            f"the user's rule keeps {rule.entity!r} in {rule.event!r}, where it is no candidate. Candidates: "
            f"{', '.join(candidates) or 'none'}. List it among the event's arguments."
        )
