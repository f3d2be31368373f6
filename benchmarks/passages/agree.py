"""Whether a span is where its text says that it is, and where else the text stands."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator

from benchmarks.passages.types import Span

_WORD = 40  # characters by which a token and a text may differ inside one word
_SPACE = re.compile(r"\s")
_ESCAPES = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}", "``": '"', "''": '"'}
_ESCAPE = re.compile("|".join(map(re.escape, _ESCAPES)))


def squash(text: str) -> str:
    """Return ``text`` as tokenisers cannot change it: no white space, no treebank brackets and quotes, no case."""
    return _ESCAPE.sub(lambda found: _ESCAPES[found[0]], _SPACE.sub("", text)).casefold()


def occurrences(text: str, said: str) -> Iterator[Span]:
    """Yield where ``said`` stands in ``text``; both are compared as they are."""
    at = text.find(said) if said else -1
    while at >= 0:
        yield at, at + len(said)
        at = text.find(said, at + 1)


def closest(text: str, said: str, start: int) -> Span | None:
    """Return the occurrence of ``said`` that is closest to ``start``, None if there is none."""
    if not said:
        return None
    before = text.rfind(said, 0, max(start, 0) + len(said))
    after = text.find(said, max(start, 0))
    found = [at for at in (before, after) if at >= 0]
    at = min(found, key=lambda place: abs(place - start), default=-1)
    return (at, at + len(said)) if at >= 0 else None


def misfit(text: str, span: Span, said: str, unit: str = "") -> str:
    """Say that ``said`` is not what stands at ``span``, and where it does stand.

    Args:
        text: the whole text; span: characters; said: the text that the source gives.
        unit: what the source counts, if it is not characters, such as ``"tokens 3-5"``.
    """
    start, end = span
    here = unit or f"{start}-{end}"
    place = closest(text, said, start)
    there = f"is at {place[0]}-{place[1]}" if place is not None else "is nowhere in the text"
    question = "are the offsets characters or inclusive?" if unit else "are the offsets token or inclusive?"
    return f"found {_short(text[start:end])} at {here}; {_short(said)} {there}: {question}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:40] + "..." + text[-15:])


def widen(text: str, span: Span, said: str) -> Span | None:
    """Return the span of tokens mended within one word of ``said``, None if the two differ by more.

    Tokenisers cut ``"1.07%"`` in two and corpora then count one token, or write ``"197"`` for the token ``"1974"``.
    The first is widened to the whole word and the second kept; a difference of a whole word is left to the reader,
    since it is what a wrong kind of offset looks like.
    """
    start, end = span
    if end - start > 4 * len(said) + 200:  # also keeps the work below proportional to what the source says
        return None
    here, there = squash(text[start:end]), squash(said)
    if here == there:
        return span
    if not here or not there or abs(len(there) - len(here)) > _WORD:
        return None
    if there.startswith(here) and not _breaks_after(said, len(here)):
        stops = range(end + 1, min(len(text), end + 2 * _WORD) + 1)
        return next(((start, stop) for stop in stops if squash(text[start:stop]) == there), None)
    if here.startswith(there) and not _breaks_after(text[start:end], len(there)):
        return span
    return None


def _breaks_after(text: str, count: int) -> bool:
    """Whether white space follows so many squashed characters of ``text``."""
    at = bisect_left(range(len(text) + 1), count, key=lambda length: len(squash(text[:length])))
    return at < len(text) and text[at].isspace()


class Squeezed:
    """A text without its white space, to find words in whatever the spacing; made once for a text."""

    def __init__(self, text: str) -> None:
        self._kept = [at for at, letter in enumerate(text) if not letter.isspace()]
        self._letters = "".join(text[at] for at in self._kept)

    def only(self, said: str) -> Span | None:
        """Return the one place where ``said`` stands; None if there is none or several."""
        word = _SPACE.sub("", said)
        at = self._letters.find(word) if word else -1
        if at < 0 or self._letters.find(word, at + 1) >= 0:
            return None
        return self._kept[at], self._kept[at + len(word) - 1] + 1
