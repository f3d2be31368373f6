"""Expressions that are certain by their form: money, percentages, quantities, dates and times of day."""

from __future__ import annotations

import re
from typing import Literal

from benchmarks.passages.types import Span

Kind = Literal["money", "percent", "number", "time"]

_NUM = r"(?<!\d)\d{1,15}(?:[.,]\d{1,15}){0,6}"  # bounded: a long run of digits costs no more than its length
_SMALL = r"(?:a|an|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|several|few|\d{1,4})"
_SCALE = r"(?:hundred|thousand|million|billion|trillion|mn|bn|m|k)"
_RATE = (
    r"(?:\s(?:a|an|per|each)\s(?:barrel|day|week|month|year|hour|minute|second|person|share|ton|tonne|gallon|head)\b)"
)
_UNITS = (
    r"(?:barrels|bpd|tons|tonnes|kilometers|kilometres|km|kilos|kilograms|kg|pounds|miles|meters|metres|feet|inches|"
    r"acres|hectares|liters|litres|gallons|degrees|megawatts|mph|mg|ml|ounces|grams|barrel)"
)
_MONTH = (
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December|"
    r"(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)\b\.?)"
)
_DAY = r"(?:Mondays?|Tuesdays?|Wednesdays?|Thursdays?|Fridays?|Saturdays?|Sundays?)"
_YEAR = r"(?:1[5-9]|20)\d\d"
_PART = r"(?:morning|afternoon|evening|night)"
_SEASON = r"(?:summer|winter|spring|autumn|fall)"
_SPELL = rf"(?:second|minute|hour|day|weekend|week|month|quarter|year|decade|century|{_SEASON}|{_PART})"
_LEAD = r"(?:(?:early|late|earlier|later)\s)?"
_WHICH = r"(?:last|this|next)"


def _after(*words: str) -> str:
    """Return a look-behind for any of ``words`` and a space (each on its own: a look-behind has one width)."""
    return "(?:" + "|".join(rf"(?<=\b{word}\s)" for word in words) + ")"


_PATTERNS: tuple[tuple[Kind, str], ...] = (
    ("money", rf"(?:US|C|A|NZ|HK|S)?[$€£¥]\s?{_NUM}(?:[\s-]?{_SCALE}\b)?{_RATE}?"),
    ("money", rf"\b{_NUM}(?:\s{_SCALE})?\s(?:U\.?S\.?\s)?(?:dollar|euro|ruble|rupee|cent)s?\b{_RATE}?"),
    ("money", rf"\b{_NUM}(?:\s{_SCALE})?\s(?:yen|yuan|pesos|francs)\b{_RATE}?"),
    ("percent", rf"\b{_NUM}(?:\s?%|\s(?:percent|per\scent|pct|percentage\spoints?|basis\spoints?)\b)"),
    ("time", r"\b\d{4}-\d{2}-\d{2}\b|\b\d{1,2}/\d{1,2}/\d{2,4}\b"),
    ("time", rf"\b{_LEAD}(?:{_DAY},?\s)?\d{{1,2}}(?:st|nd|rd|th)?\s(?:of\s)?{_MONTH}(?:,?\s{_YEAR})?(?!\w)"),
    ("time", rf"\b{_LEAD}(?:{_DAY},?\s)?{_MONTH}\s\d{{1,2}}(?:st|nd|rd|th)?\b(?:,?\s{_YEAR}\b)?"),
    ("time", rf"\b(?:{_LEAD}|mid-)(?:{_WHICH}\s)?{_MONTH},?\s{_YEAR}\b"),
    (
        "time",
        rf"{_after('in', 'by', 'since', 'until', 'after', 'early', 'late', 'last', 'this', 'next')}{_MONTH}(?!\w)",
    ),
    ("time", rf"\b{_LEAD}(?:{_WHICH}\s)?{_DAY}(?:\s{_PART})?\b"),
    ("time", rf"\b{_LEAD}(?:{_WHICH}|(?:the\s)?past|the\s(?:last|next|previous))\s(?:{_SMALL}\s)?{_SPELL}s?\b"),
    ("time", rf"\b(?:more\sthan\s)?(?:{_SMALL}|some|many)\s{_SPELL}s?\s(?:ago|earlier|later|before)\b"),
    ("time", rf"\b{_SPELL}s\s(?:ago|earlier|later)\b"),
    ("time", rf"\b(?:the\s)?(?:first|second|third|fourth)\s(?:quarter|half)(?:\sof\s{_YEAR})?\b"),
    ("time", rf"\bQ[1-4](?:\s{_YEAR})?\b|\b(?:the\s)?{_SEASON}\sof\s{_YEAR}\b|\b(?:the\s)?{_YEAR}s\b"),
    ("time", rf"\b(?:yesterday|today|tomorrow|tonight|midnight|noon)\b(?:\s{_PART}\b)?"),
    ("time", r"\b\d{1,2}(?::\d{2})?\s?(?:[ap]\.m\.|[ap]m\b|o['’]clock\b)|\b\d{1,2}:\d{2}(?::\d{2})?\b"),
    ("time", rf"{_after('in', 'by', 'of', 'since', 'until', 'early', 'late')}{_YEAR}\b|\b(?:mid|early|late)-{_YEAR}\b"),
    ("number", rf"\b{_NUM}(?:\s{_SCALE})?\s{_UNITS}\b{_RATE}?"),
    ("number", rf"\b{_NUM}(?:\s{_SCALE})?{_RATE}"),
)
_COMPILED = tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _PATTERNS)
_CAPITAL_ONLY = re.compile(r"may|march|august|mar|sun|sat", re.IGNORECASE)


def forms(text: str) -> tuple[tuple[Span, Kind], ...]:
    """Return expressions of money, share, quantity and time; where two overlap, the longer one, then the earlier.

    Args:
        text: any string.

    Returns:
        (characters, end-exclusive; kind) in the order of the text, not overlapping.
    """
    found = [
        (match.span(), kind)
        for kind, pattern in _COMPILED
        for match in pattern.finditer(text)
        if not _lower_month(text[slice(*match.span())])
    ]
    found.sort(key=lambda item: (item[0][0] - item[0][1], item[0][0]))
    taken = bytearray(len(text))
    kept: list[tuple[Span, Kind]] = []
    for (start, end), kind in found:
        if end > start and not any(taken[start:end]):
            taken[start:end] = b"\x01" * (end - start)
            kept.append(((start, end), kind))
    return tuple(sorted(kept))


def _lower_month(piece: str) -> bool:
    """Return whether the piece is a common word that would be a month with a capital ("may", "march")."""
    return any(word[0].islower() for word in piece.split() if _CAPITAL_ONLY.fullmatch(word))
