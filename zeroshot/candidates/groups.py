"""Noun groups and names of a sentence, from the classes of its tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from zeroshot.candidates import words
from zeroshot.candidates.tagging import (
    ADJECTIVE,
    DETERMINER,
    INSIDE,
    LINKING,
    NAME,
    NOUN,
    NUMBER,
    PRONOUN,
    QUANTIFIER,
    tags,
)
from zeroshot.candidates.text import Token

Extent = Literal["full", "bare", "head"]


@dataclass(frozen=True)
class Group:
    """Tokens ``start`` to ``end`` (exclusive) of a sentence and what they are: noun, name, number or pronoun."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Shape:
    """Which groups are wanted (see ``groups``)."""

    extent: Extent = "bare"
    pronouns: bool = True
    modifiers: bool = False


def groups(sentence: Sequence[Token], blocked: Sequence[bool], shape: Shape) -> list[Group]:
    """Find noun groups, and names inside them.

    Args:
        sentence: tokens of one sentence.
        blocked: for each token whether no group may contain it (triggers, expressions found by their form).
        shape: extent ``full`` keeps a leading determiner or possessive, ``bare`` drops it, ``head`` keeps a name or
            the last word alone; pronouns: personal and possessive pronouns, and quantities that stand alone, are
            groups; modifiers: nouns before the last one are groups too ("oil" in "oil prices").

    Returns:
        Groups in the order of their starts, each once; a name inside a longer group follows that group.
    """
    classes = tags(sentence)
    found: list[Group] = []
    for start, end in _runs(sentence, classes, blocked):
        found += _shaped(sentence, classes, start, end, shape)
    if shape.pronouns:
        found += _pronouns(sentence, classes, blocked)
    return sorted(set(found), key=lambda group: (group.start, -group.end, group.kind))


def _pronouns(sentence: Sequence[Token], classes: Sequence[str], blocked: Sequence[bool]) -> Iterator[Group]:
    """Yield pronouns, possessives and quantities that stand for what they count."""
    for index, token in enumerate(sentence):
        if blocked[index]:
            continue
        alone = index + 1 == len(sentence) or blocked[index + 1] or classes[index + 1] not in INSIDE
        pronoun = classes[index] == PRONOUN and token.lower not in ("none", "nothing")
        counted = classes[index] == QUANTIFIER and token.lower in words.COUNTED and alone
        if pronoun or counted or (token.lower in words.POSSESSIVES and classes[index] == DETERMINER):
            yield Group(index, index + 1, PRONOUN)


def _runs(sentence: Sequence[Token], classes: Sequence[str], blocked: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Yield the maximal runs of tokens that may form one group."""
    start = None
    index = 0
    while index < len(sentence):
        inside = classes[index] in INSIDE and not blocked[index]
        if start is None:
            start = index if inside else None
        elif inside and _opens(classes, index):
            yield start, index
            start = index
        elif not inside:
            bridge = _bridge(sentence, classes, blocked, index)
            if bridge:
                index = bridge
                continue
            yield start, index
            start = None
        index += 1
    if start is not None:
        yield start, len(sentence)


def _opens(classes: Sequence[str], index: int) -> bool:
    """Return whether a new group begins at ``index`` though another has not ended."""
    if classes[index] == DETERMINER:
        return classes[index - 1] not in (DETERMINER, QUANTIFIER)
    return classes[index] == QUANTIFIER and classes[index - 1] in (NOUN, NAME)


def _bridge(sentence: Sequence[Token], classes: Sequence[str], blocked: Sequence[bool], index: int) -> int:
    """Return where a name goes on after a small word inside it ("Bank of America"), 0 if it does not."""
    if classes[index - 1] != NAME:
        return 0
    step = index
    while step < min(index + 2, len(sentence)) and not blocked[step]:
        mark = sentence[step].text
        if not (mark in words.PARTICLES or (mark == "&" and step == index)):
            break
        step += 1
    joined = index < step < len(sentence) and classes[step] == NAME and not blocked[step]
    return step if joined and sentence[step].text[0].isupper() else 0


def _shaped(sentence: Sequence[Token], classes: Sequence[str], start: int, end: int, shape: Shape) -> list[Group]:
    """Trim a run to a group of the wanted extent, and add what is nested in it."""
    end = _trimmed(sentence, classes, start, end)
    first = start
    while first < end and classes[first] == DETERMINER:
        first += 1
    if first >= end:
        return []
    numeric = all(classes[at] in (NUMBER, QUANTIFIER) for at in range(first, end))
    if numeric and not any(classes[at] == NUMBER for at in range(first, end)):
        return []
    kind = NUMBER if numeric else NAME if classes[end - 1] == NAME else NOUN
    names = list(_names(sentence, classes, first, end))
    nested = [name for name in names if (name.start, name.end) != (first, end)]
    if shape.modifiers:
        nested += [Group(at, at + 1, NOUN) for at in range(first, end - 1) if classes[at] == NOUN]
    whole = Group(start if shape.extent == "full" else first, end, kind)
    if shape.extent == "head" and not numeric:
        whole = next((name for name in names if name.end == end), Group(end - 1, end, kind))
    return [whole, *nested]


def _trimmed(sentence: Sequence[Token], classes: Sequence[str], start: int, end: int) -> int:
    """Return where the group that begins at ``start`` really ends; ``start`` if there is none."""
    led = classes[start] in (DETERMINER, QUANTIFIER, NUMBER)
    previous = classes[start - 1] if start else ""
    following = classes[end] if end < len(sentence) else ""
    if following == DETERMINER and end - start > 1 and classes[end - 1] == NOUN and not _plural(sentence[end - 1]):
        end -= 1  # "militants seize | the town": what stands before an article is rather a verb
    while end > start and classes[end - 1] in (ADJECTIVE, DETERMINER):
        if classes[end - 1] == ADJECTIVE and led and following not in INSIDE:
            break  # "the wounded", "the dead", but not what stands before a trigger
        end -= 1
    bare = not led and previous == LINKING and end - start == 1 and classes[start] == NOUN
    # "was rife": bare and singular after a linking verb, rather an adjective.
    return start if bare and not _plural(sentence[start]) else end


def _names(sentence: Sequence[Token], classes: Sequence[str], start: int, end: int) -> Iterator[Group]:
    """Yield the names inside a group, without titles before them."""
    at = start
    while at < end:
        if classes[at] != NAME:
            at += 1
            continue
        stop = at + 1
        while stop < end and (classes[stop] == NAME or sentence[stop].text in words.PARTICLES | {"&"}):
            stop += 1
        bare = at
        while bare < stop - 1 and sentence[bare].lower.rstrip(".") in words.HONORIFICS:
            bare += 1
        yield Group(bare, stop, NAME)
        at = stop


def _plural(token: Token) -> bool:
    word = token.lower
    return word in words.PLURALS or (word.endswith("s") and not word.endswith(("ss", "us", "is")))
