"""The sentence around a mention, found by rules and cut to what an encoder can read."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

Span = tuple[int, int]

REACH = 300  # characters on either side of a mention that are kept of a sentence of more than three times as many

# A sentence ends at a mark, its closing quotes and white space, or at an empty line. A title or an initial ("Mr. ",
# "U.S. ") ends one too early, which costs a little context and nothing else.
_END = re.compile(r"[.!?][\"'”’)\]]*\s+|[。！？]|\n\s*\n")
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Context:
    """A stretch of the passage: its text, where the mention stands in it, and whether it had to be cut short."""

    text: str
    span: Span
    cut: bool = False


def context_of(text: str, span: Span, reach: int = REACH) -> Context:
    """Return the sentence of the mention at ``span``, or of a long one a stretch that mentions beside it share.

    Args:
        text: the passage; span: characters of the mention.
        reach: a longer sentence is cut into cells of so many characters; the mention's and both beside it are kept.
    """
    starts, ends = _breaks(text)
    start = ends[bisect_right(ends, span[0]) - 1]
    at = bisect_left(starts, span[1])
    end = ends[at + 1] if at < len(starts) else len(text)
    if end - start > 3 * reach:
        cell = start + (span[0] - start) // reach * reach
        start = min(_at_word(text, max(start, cell - reach)), span[0])
        end = min(end, max(cell + 2 * reach, span[1] + reach // 2))
    part = text[start:end].rstrip()
    return Context(part, (span[0] - start, span[1] - start))


@lru_cache(maxsize=16)
def _breaks(text: str) -> tuple[list[int], list[int]]:
    """Return where the marks between sentences begin, and where they end, before them 0."""
    found = list(_END.finditer(text))
    return [match.start() for match in found], [0, *(match.end() for match in found)]


def _at_word(text: str, low: int) -> int:
    """Return ``low``, moved past a word that it would cut in two."""
    if low == 0 or text[low - 1].isspace():
        return low
    gap = re.compile(r"\s+").search(text, low, low + 40)
    return gap.end() if gap else low


def fit_context(text: str, span: Span, fits: Callable[[str], bool]) -> Context:
    """Return a mention's context of the greatest reach, halved, that ``fits``; at last its own words alone."""
    reach = REACH
    found = context_of(text, span)
    while not fits(found.text):
        reach //= 2
        if not reach:
            words = fit(text[slice(*span)], fits)
            return Context(words, (0, len(words)), cut=True)
        found = replace(context_of(text, span, reach), cut=True)
    return found


def fit(text: str, fits: Callable[[str], bool]) -> str:
    """Return as many leading words of ``text`` as fit (of a word that is too long itself, leading characters)."""
    if fits(text):
        return text
    ends = [match.end() for match in _WORD.finditer(text)]
    if not ends or not fits(text[: ends[0]]):
        ends = list(range(1, ends[0] + 1 if ends else len(text) + 1))
    low, high = 0, len(ends) - 1
    while low < high:  # the first that fits is never given up
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(text[: ends[middle]]) else (low, middle - 1)
    return text[: ends[low]]
