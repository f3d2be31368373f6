"""The sentence around a mention, found by rules and cut to what an encoder can read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

Span = tuple[int, int]

REACH = 300  # characters on either side of a mention beyond which its sentence tells the encoder nothing more

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


@lru_cache(maxsize=65536)
def context_of(text: str, span: Span) -> Context:
    """Return the sentence of the mention at ``span``, at most REACH characters of it on either side."""
    low, high = max(0, span[0] - REACH), min(len(text), span[1] + REACH)
    before = [match.end() for match in _END.finditer(text, low, span[0])]
    after = _END.search(text, span[1], high)
    start = before[-1] if before else _at_word(text, low)
    end = after.end() if after else high
    part = text[start:end].rstrip()
    return Context(part, (span[0] - start, span[1] - start))


def _at_word(text: str, low: int) -> int:
    """Return ``low``, moved past a word that it would cut in two."""
    if low == 0 or text[low - 1].isspace():
        return low
    gap = re.compile(r"\s+").search(text, low, low + 40)
    return gap.end() if gap else low


def fit_around(found: Context, fits: Callable[[str], bool]) -> Context:
    """Return the context, halved on both sides of the mention until it ``fits``; at last the mention alone."""
    cut, reach = found, max(found.span[0], len(found.text) - found.span[1])
    while not fits(cut.text):
        if not reach:
            words = fit(cut.text, fits)
            return Context(words, (0, len(words)), cut=True)
        reach //= 2
        start, end = max(0, found.span[0] - reach), min(len(found.text), found.span[1] + reach)
        cut = Context(found.text[start:end], (found.span[0] - start, found.span[1] - start), cut=True)
    return cut


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
