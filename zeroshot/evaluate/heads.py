"""Head words of spans, by a rule that needs no parser."""

from __future__ import annotations

import re

from benchmarks.passages import Mention
from benchmarks.passages.types import Span
from zeroshot.candidates.words import bag

_WORD = re.compile(r"[^\W_](?:[^\s,;:()\[\]\"“”]*[^\W_])?|[,;:(\[]|['’]\s?s?\b|\S")
_ENDS = bag(
    """of in on at by for from with to into over under between among during against about near inside outside since
    through across around behind beside toward towards within without who whom whose which that where when"""
)
_CLOSES = frozenset(",;:([")


def head_word(text: str, mention: Mention) -> Span:
    """Return the head word of a mention.

    The rule: in the mention's own ``head`` if it has one, else in its span, the last word before the first
    preposition, relative pronoun, comma, colon or bracket that follows a word; so "the mayor of Rome" has "mayor",
    "Vyacheslav Gladkikh" has "Gladkikh". Possessive ``'s`` is not part of the word.

    Args:
        text: the passage; mention: one with offsets into it.

    Returns:
        Characters of the word, end-exclusive; the span itself if it holds no word.
    """
    start, end = mention.head or mention.span
    head: Span | None = None
    for match in _WORD.finditer(text, start, end):
        piece = match.group()
        if head is not None and (piece.lower() in _ENDS or piece in _CLOSES):
            break
        if piece[0].isalnum():
            head = match.span()
    if head is None:
        return start, end
    word = text[slice(*head)]
    bare = re.sub(r"['’]s\Z", "", word)
    return head[0], head[0] + len(bare)
