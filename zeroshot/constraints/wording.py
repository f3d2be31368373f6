"""How reasons name things: mentions by their text, events by type and trigger."""

from __future__ import annotations

from collections.abc import Iterable

from zeroshot.problem import Problem


def said_mentions(problem: Problem) -> list[str]:
    """Return for each mention its text in quotation marks."""
    text = problem.passage.text
    return [f"“{mention.text or text[mention.start : mention.end]}”" for mention in problem.mentions]


def said_events(problem: Problem) -> list[str]:
    """Return for each event its type and its trigger, such as ``Conflict:Attack (“fired”)``."""
    text = problem.passage.text
    return [
        f"{event.type} (“{event.trigger.text or text[event.trigger.start : event.trigger.end]}”)"
        for event in problem.events
    ]


def listed(words: Iterable[str], last: str) -> str:
    """Join words with commas, ``last`` (such as ``"or"``) before the last one."""
    *before, end = words
    return f"{', '.join(before)} {last} {end}" if before else end
