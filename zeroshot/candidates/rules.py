"""The rule-based finder: names, noun groups, pronouns, numbers and expressions of time and money in English text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.passages.types import Span
from zeroshot.candidates.forms import forms
from zeroshot.candidates.groups import Shape, groups
from zeroshot.candidates.text import Token, tokens

_YEAR_LIKE = re.compile(r"(?:1[5-9]|20)\d\d")
_ABOUT = re.compile(
    r"\b(?:(?:more|less|fewer)\sthan|at\s(?:least|most)|up\sto|about|around|nearly|almost|roughly|approximately|only)\s\Z",
    re.IGNORECASE,
)
_DOTTED = re.compile(r"(?:[^\W\d_]\.){2,}|(?:Jr|Sr)\.")


@dataclass(frozen=True)
class Found:
    """A span and, where it is certain by form or a tagger says so, what it is; ``head`` if the finder knows it."""

    span: Span
    kind: str | None = None
    head: Span | None = None


def by_rules(text: str, sentences: Sequence[Span], blocked: Sequence[Span], shape: Shape) -> list[Found]:
    """Find mentions by rules, in time linear in the length of the text.

    Args:
        text: the passage.
        sentences: characters of each sentence; nothing crosses them.
        blocked: spans that no mention may touch (triggers).
        shape: which noun groups are wanted.

    Returns:
        Mentions ordered by span, no span twice; each is trimmed, not empty and touches no blocked span.
    """
    taken = covered(len(text), blocked)
    found: dict[Span, Found] = {}
    for span, form in forms(text):
        if shape.extent == "full" and form != "time":
            about = _ABOUT.search(text, max(0, span[0] - 20), span[0])
            span = (about.start() if about else span[0], span[1])
        if not any(taken[slice(*span)]):
            found[span] = Found(span, form)
    fixed = covered(len(text), [*blocked, *found])
    for sentence in _by_sentence(tokens(text), sentences):
        walls = [any(fixed[token.start : token.end]) for token in sentence]
        for group in groups(sentence, walls, shape):
            span = trimmed(text, (sentence[group.start].start, sentence[group.end - 1].end))
            if span[0] < span[1] and span not in found and not any(taken[slice(*span)]):
                number = group.kind == "number" and not _YEAR_LIKE.fullmatch(text[slice(*span)])
                found[span] = Found(span, "number" if number else None)
    return [found[span] for span in sorted(found)]


def covered(length: int, spans: Sequence[Span]) -> bytearray:
    """Return a flag for each character: whether any of ``spans`` contains it."""
    flags = bytearray(length)
    for start, end in spans:
        start, end = max(0, start), min(length, end)
        flags[start:end] = b"\x01" * max(0, end - start)
    return flags


def trimmed(text: str, span: Span) -> Span:
    """Return the span without white space and punctuation around it; a dot that belongs to initials stays."""
    start, end = span
    while start < end and not _solid(text[start], "$€£¥"):
        start += 1
    while end > start and not _solid(text[end - 1], "%$€£¥°"):
        if text[end - 1] == "." and _DOTTED.fullmatch(text, max(start, text.rfind(" ", start, end) + 1), end):
            break
        end -= 1
    return start, end


def _solid(letter: str, marks: str) -> bool:
    return letter in marks or unicodedata.category(letter)[0] in "LMN"


def _by_sentence(all_tokens: Sequence[Token], sentences: Sequence[Span]) -> list[list[Token]]:
    """Deal tokens out to the sentences that contain them whole."""
    dealt: list[list[Token]] = [[] for _ in sentences]
    order = sorted(range(len(sentences)), key=lambda number: sentences[number])
    at = 0
    for token in all_tokens:
        while at < len(order) and sentences[order[at]][1] < token.end:
            at += 1
        if at == len(order):
            break
        if token.start >= sentences[order[at]][0]:
            dealt[order[at]].append(token)
    return dealt
