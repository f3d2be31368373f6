"""Relation pairs as a file of JSON lines that a user may edit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, model_validator

from backbones.core.artifacts import write_text
from backbones.core.errors import FrostlineError
from backbones.core.reading import parse_json, read_text
from backbones.core.settings import Settings
from backbones.lifecycle.infuse.grammar import NONE

Span = tuple[int, int]  # characters, end-exclusive


class Pair(Settings):
    """Two phrases that stand in a relation, and a sentence that says so.

    Args:
        head: a phrase; relation: what it is to ``tail``; tail: another phrase.
        example: a sentence that holds both.
        count: sentences in which a pattern has found the pair.
        cue: what stands between the two in the example; empty if that is not known.
        cues: different cues by which the pair was found.
    """

    head: str = Field(min_length=1)
    relation: str = Field(min_length=1)
    tail: str = Field(min_length=1)
    example: str = Field(min_length=1)
    count: int = Field(default=1, ge=1)
    cue: str = ""
    cues: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _is_said(self) -> Pair:
        if self.relation == NONE:
            raise ValueError(f"the relation {NONE!r} is kept for pairs that stand in none; choose another word")
        if self.head.casefold() == self.tail.casefold():
            raise ValueError(f"head and tail are both {self.head!r}; a relation needs two phrases")
        if mentions(self.example, self.head, self.tail) is None:
            raise ValueError(f"the example does not hold both {self.head!r} and {self.tail!r}, apart from each other")
        return self


@dataclass(frozen=True)
class Mentions:
    """Where head, tail and cue stand in an example, in characters; the cue is (0, 0) where it is not known."""

    head: Span
    tail: Span
    cue: Span


def mentions(example: str, head: str, tail: str, cue: str = "") -> Mentions | None:
    """Return the mentions of a pair that are nearest to each other, None where one is missing.

    With a cue, it is the first one between them.
    """
    folded = example.lower()
    if len(folded) != len(example):  # a letter whose lower case is longer
        folded = example
        head, tail = (word if word in example else word.lower() for word in (head, tail))
    else:
        head, tail = head.lower(), tail.lower()
    best: tuple[int, Span, Span] | None = None
    tails = list(_places(folded, tail))
    for one in _places(folded, head):
        for other in tails:
            gap = max(other[0] - one[1], one[0] - other[1])
            if gap >= 0 and (best is None or gap < best[0]):
                best = gap, one, other
    if best is None:
        return None
    _, one, other = best
    start, stop = min(one[1], other[1]), max(one[0], other[0])
    at = example.find(cue, start, stop) if cue else -1
    return Mentions(one, other, (at, at + len(cue)) if at >= 0 else (0, 0))


def _places(text: str, word: str) -> Iterable[Span]:
    at = text.find(word)
    while at >= 0:
        end = at + len(word)
        if not (at and text[at - 1].isalnum()) and not (end < len(text) and text[end].isalnum()):
            yield at, end
        at = text.find(word, at + 1)


def write_pairs(path: Path | str, pairs: Sequence[Pair]) -> None:
    """Write one JSON object a line."""
    path = Path(path)
    write_text(path, "".join(json.dumps(pair.model_dump(), ensure_ascii=False) + "\n" for pair in pairs))


def read_pairs(path: Path | str) -> list[Pair]:
    """Read a file of pairs: acquired, edited or made by hand.

    Args:
        path: JSON lines with head, relation, tail and example; count, cue and cues may be left out, blank lines too.

    Raises:
        FrostlineError: no such file, a line that is no JSON object, lacks a field or contradicts itself, or a file
            without pairs. The line is named.
    """
    path = Path(path)
    try:
        lines = read_text(path).split("\n")
    except FileNotFoundError as error:
        raise FrostlineError(f"pairs {path} do not exist; make them with: backbone infuse acquire.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FrostlineError(f"pairs {path} cannot be read ({error}); they must be UTF-8 JSON lines.") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            values = parse_json(line)
        except ValueError as error:
            raise FrostlineError(f"{where} is no JSON ({error}); write one object a line.") from error
        if not isinstance(values, dict):
            raise FrostlineError(f"{where} is no JSON object; write head, relation, tail and example.")
        found.append(Pair.parse(values, where))
    if not found:
        raise FrostlineError(f"{path} holds no pair; acquire some with: backbone infuse acquire.")
    return found


def relations_of(pairs: Sequence[Pair], least: int = 2) -> tuple[str, ...]:
    """Return the relations that pairs stand in, sorted.

    Raises:
        FrostlineError: fewer than ``least``.
    """
    counts = Counter(pair.relation for pair in pairs)
    if len(counts) < least:
        said = ", ".join(f"{name} ({count})" for name, count in counts.items()) or "none"
        raise FrostlineError(
            f"the {len(pairs)} pairs stand in {len(counts)} relation(s): {said}; telling relations apart needs "
            f"{least} or more. Use a larger corpus, more patterns, or a smaller min count."
        )
    return tuple(sorted(counts))
