"""Senses: which parts a role may be (who does it, who undergoes it, where ...), read off its name and description."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from zeroshot.scorers.grammar import UNDERGOING, words

SENSE_WORDS: Mapping[str, str] = {
    "agent": r"agent|actor|doer|perpetrator|cognizer|experiencer|judge|jury|court|doctor|hospital|police|prosecutor",
    "patient": "patient|victim|target|theme|defendant|undergoer|loser|detainee|"
    "object|product|effect|artifact|artefact|item|goods|cargo|passenger",
    "place": "place|location|where|venue|area|region|site|city|country",
    "origin": "origin|source|departure|whence|leaves?|starting",
    "destination": "destination|goal|arrival|whither|target place",
    "means": "instrument|means|tool|device|weapon|manner|method|medium|used|using|treatment|explosive",
    "vehicle": "vehicle|conveyance|aircraft|ship",
    "recipient": "recipient|addressee|audience|receiver|hearer|listener|buyer|learner|student|pupil|trainee|receives?",
    "giver": "giver|donor|seller|supplier|provider",
    "topic": "topic|subject matter|matter|theme of|content|message|about|issue|field",
    "company": "participants?|parties|partners?|figures|interlocutors?|"
    "correspondents?|side|member|participate|take part",
    "cause": "cause|causes|caused|reason|crime|offen[cs]e|charge|condition|disease|symptom|disorder",
    "purpose": "purpose|aim|intended|intention",
    "beneficiary": "beneficiary|benefits?|benefited|benefit of",
    "time": "time|date|when|day|period|year",
    "duration": "duration|how long",
    "amount": "amount|quantity|percentage|number|value|degree|extent|difference",
    "price": "price|payment|money|cost|paid",
    "function": "position|title|job|function|office|capacity|category|identity",
    "parts": "parts?|components?|material|materials|ingredients?",
    "path": "path|route|trajectory",
    "start": "initial|beginning",
    "end": "final|result|outcome|end",
}
"""Sense -> words (a regular expression of whole words) that give a role this sense."""

# Nouns in -er and -or that do not name who does it.
_NO_DOERS = words(
    "number letter order matter offer power water passenger prisoner member computer container tanker customer "
    "border danger disaster murder paper gender factor sensor reactor vector tumor tumour labor minor error "
    "manner other former latter character center weather fever cancer disorder behavior color door floor corner "
    "chapter master another whether after however never over under per sister brother mother father daughter "
    "river answer quarter shelter trigger banner finger fiber transfer encounter receiver recover "
)


@lru_cache(maxsize=4096)
def senses(label: str, description: str | None) -> Mapping[str, float]:
    """Return the senses of a role with their strength, 0 to 1: by its name (in full), or by its description (less)."""
    found = _by_name(label.lower()) or _by_description(description.lower() if description else "")
    if "place" in found and {"origin", "destination", "path"} & found.keys():
        del found["place"]
    if {"place", "origin", "destination", "time", "means", "recipient", "topic"} & found.keys():
        found = {
            sense: strength for sense, strength in found.items() if strength == 1 or sense not in ("agent", "patient")
        }
    return found


def _by_name(label: str) -> dict[str, float]:
    found = {sense: 1.0 for sense, words in SENSE_WORDS.items() if re.search(rf"\b(?:{words})\b", label)}
    for word in re.findall(r"[a-z]+", label):
        if re.search(r"[^e]er$|or$|ist$", word) and len(word) > 4 and word not in _NO_DOERS:
            found.setdefault("agent", 1.0)
        if re.search(r"ee$", word) and len(word) > 5 and "recipient" not in found:
            found.setdefault("patient", 1.0)
    if re.search(r"\w{3,}ed\b", label) and "beneficiary" not in found:
        found.setdefault("patient", 1.0)
    if "loser" in label or {"giver", "origin"} & found.keys() or ("recipient" in found and "patient" not in found):
        found.pop("agent", None)
    return found


_PASSIVE = re.compile(
    r"\b(?:who|that|which)\s+(?:is|are|was|were|be|being|gets?|has been|have been)\s+(?!in\b|at\b|a\b|the\b)\w+"
)
_SOMEONE = re.compile(
    r"\b(?:who|persons?|people|groups?|one|actor|organi[sz]ation|company|agency|state|animal|entity)\b"
)
_OBJECT = re.compile(r"\b(?:whom|that|which)\s+(?:they|he|she|it|someone|somebody|one|people|the|an?)\b")
_ACTIVE = re.compile(r"\b(?:who|that|which)\s+(?!is\b|are\b|was\b|were\b|they\b|he\b|she\b|it\b|the\b|an?\b|be\b)(\w+)")
_UNDERGOES = re.compile(r"\b(?:suffers?|undergoes?|affected|is changed|acted upon)\b")
_SPOKEN_TO = re.compile(
    r"\b(?:to|for) whom\b|\b(?:spoken|written|told|given|sold|talked)(?: \w+){0,3} to\b|\breceives?\b"
)


def _by_description(text: str) -> dict[str, float]:
    first = re.split(r"(?<=[a-z])\. |;", text)[0]
    found: dict[str, float] = {}
    for sense in ("place", "origin", "destination", "means", "topic", "time", "duration", "beneficiary", "purpose"):
        if re.search(rf"\b(?:{SENSE_WORDS[sense]})\b", first):
            found[sense] = 0.7
    if _SPOKEN_TO.search(first):
        found["recipient"] = 0.7
    elif _UNDERGOES.search(first) or _PASSIVE.search(first) or _OBJECT.search(first):
        found["patient"] = 0.7
    elif (verb := _ACTIVE.search(first)) and _SOMEONE.search(first[: verb.end()]):
        found["patient" if UNDERGOING.match(verb[1]) else "agent"] = 0.7
    return found
