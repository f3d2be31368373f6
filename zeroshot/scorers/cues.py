"""Cues of English grammar: what a mention's preposition, place in the clause and form say of its role.

The tables are in grammar.py, the senses of roles in senses.py; nothing was learnt from annotated arguments.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

from zeroshot.scorers.base import Request
from zeroshot.scorers.grammar import (
    ADVERBS,
    AMOUNT,
    BARE,
    BE,
    DETERMINERS,
    FORMS,
    NOMINAL_BEFORE,
    PREPOSITIONS,
    ROUGH,
    SAME,
    STOPS,
    TIME,
    UNDERGOING,
)  # fmt: skip
from zeroshot.scorers.senses import senses

Span = tuple[int, int]

_WORDS = re.compile(r"[’']s\b|\w+(?:[-.]\w+)*|[^\w\s]")
_BREAKS = frozenset(",;:.!?()[]—–-")  # other marks (quotes, braces, currencies) belong to what they stand by
_MODIFIERS = 4  # words that may stand between a preposition and a mention that is annotated as its head alone
_FAR = 12  # words between mention and trigger from which on the side says little


@dataclass(frozen=True)
class Standing:
    """Where a mention stands: its preposition (None for none), its place in the clause, and how far off it is."""

    preposition: str | None
    clause: str
    weight: float


def cue(request: Request) -> float:
    """Return the log-odds (nats) that grammar gives the label; 0 where it says nothing or the text is not English."""
    if request.kind != "role" or request.language != "en" or not request.label or request.trigger is None:
        return 0.0
    said = senses(request.label, request.description)
    odds = _odds(request.text, request.span, request.trigger)
    if not said:  # what it is called does not tell: it may be either part that is seldom marked
        return 0.5 * max(odds.get("agent", 0.0), odds.get("patient", 0.0))
    votes = [odds[sense] * strength for sense, strength in said.items() if sense in odds]
    # A role of two senses (where it happens and whence it starts) is judged by the one that fits better.
    return max(votes, default=0.0)


def outsider(request: Request) -> float:
    """Return the log-odds (nats) that a mention takes no part in an event, by how far it stands from the trigger.

    0.7 within four words (of candidates side by side with a trigger two in three are none of its arguments), 1.5 more
    for each doubling (chosen on CrudeOil and GENEVA among 0.5, 1, 1.5 and 2), 3 more in another sentence. Languages
    without spaces are judged by the sentence alone.
    """
    if request.trigger is None or request.kind != "role":
        return 0.0
    between = _between(request.text, request.span, request.trigger)
    return 0.7 + 1.5 * math.log2(max(len(between.split()), 4) / 4) + (3.0 if _crosses(between) else 0.0)


@lru_cache(maxsize=512)
def _odds(text: str, span: Span, trigger: Span) -> dict[str, float]:
    """Return sense -> log-odds for one mention."""
    found, words = standing(text, span, trigger), text[slice(*span)]
    form = "time" if TIME.search(words) else "amount" if AMOUNT.search(words) else None
    rough = form == "amount" and found.preposition in ROUGH
    governed = PREPOSITIONS.get(found.preposition or "")
    if governed is not None and not rough:
        odds = dict(governed)
    else:
        odds = {sense: value * found.weight for sense, value in BARE[found.clause].items()}
    for sense, value in FORMS[form].items() if form else ():
        odds[sense] = odds.get(sense, 0.0) + value
    return odds


def _between(text: str, one: Span, other: Span) -> str:
    return text[min(one[1], other[1]) : max(one[0], other[0])]


def _crosses(between: str) -> bool:
    return re.search(r"[.!?。！？](?:\s|$)|\n\s*\n", between) is not None


@lru_cache(maxsize=512)
def standing(text: str, span: Span, trigger: Span) -> Standing:
    """Return where the mention stands to its words on the left and to the trigger."""
    preposition, possessor = _left(text, span), bool(re.match(r"\s?[’']s?\b", text[span[1] : span[1] + 3]))
    if span[0] < trigger[1] and trigger[0] < span[1]:
        return Standing(None, "aside", 0.0)
    between = _between(text, span, trigger)
    words = _WORDS.findall(between)
    weight = 0.0 if _crosses(between) else (1.0 if len(words) <= _FAR else 0.4)
    before = span[1] <= trigger[0]
    nominal, passive = _kind_of_trigger(text, trigger)
    if preposition == "of":
        near = not before and len(words) <= _MODIFIERS + 1
        return Standing("of", "of" if near else "aside", weight)
    if preposition == "by" and not (passive or nominal or not before):
        preposition = None
    if possessor and before and nominal:
        return Standing(preposition, "possessor", weight)
    return Standing(preposition, _clause(text, trigger, before, nominal, passive), weight)


def _clause(text: str, trigger: Span, before: bool, nominal: bool, passive: bool) -> str:
    if nominal:
        return "possessor" if before else "aside"
    if before:
        undergoing = UNDERGOING.match(text[slice(*trigger)].lower().lstrip())
        return "undergoer" if passive or undergoing else "subject"
    return "aside" if passive else "object"


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(text)]


def _left(text: str, span: Span) -> str | None:
    """Return the preposition that governs the mention: the nearest on its left, over words that may modify it."""
    words = _words(text[max(0, span[0] - 80) : span[0]])
    inside = _words(text[slice(*span)])
    if len(inside) > 1 and (SAME.get(inside[0], inside[0]) in PREPOSITIONS):
        return SAME.get(inside[0], inside[0])
    skipped = 0
    if words[-2:] == ["at", "least"] or words[-2:] == ["at", "most"]:
        words = words[:-2]
    for word in reversed(words):
        name = SAME.get(word, word)
        if name in PREPOSITIONS or name == "of":
            return name
        if word in STOPS or word in _BREAKS:
            return None
        if word not in DETERMINERS and word[0].isalnum():
            # A participle may modify the mention ("by three armed men") or end the phrase ("by a missile, hitting it").
            skipped += 2 if word.endswith(("ed", "ing")) else 1
        if skipped > _MODIFIERS:
            return None
    return None


def _kind_of_trigger(text: str, trigger: Span) -> tuple[bool, bool]:
    """Tell whether the trigger is used as a noun, and whether it is a verb in the passive."""
    words = _words(text[max(0, trigger[0] - 40) : trigger[0]])
    while words and ADVERBS.match(words[-1]):
        words.pop()
    head = text[slice(*trigger)].lower().split()[:1]
    last = words[-1] if words else ""
    participle = bool(head and re.search(r"(?:ed|en|wn|ung|uck|ught|ot|ilt|urt|ade|id)$", head[0]))
    if last in BE and participle:
        return False, True
    nominal = last in NOMINAL_BEFORE or bool(head and re.search(r"(?:tion|sion|ment|ance|ence|ings?)s?$", head[0]))
    if nominal and last in BE:
        nominal = False
    follows = _words(text[trigger[1] : trigger[1] + 12])[:1]
    return nominal, participle and not nominal and follows == ["by"]
