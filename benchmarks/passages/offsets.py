"""What a source counted where it did not count characters, and which spans cannot be meant."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from backbones.core.letters import spaceless
from benchmarks.passages.types import Span

ENOUGH = 0.9
"""Share of the texts of a record that must stand where a ruler says, so that it is held to be the source's."""

_ESCAPED = {"&": 5, "<": 4, ">": 4}


@dataclass(frozen=True)
class Ruler:
    """A way to count: ``name`` is what offsets count; ``widths`` gives for each character how much it counts.

    ``start`` is the offset of the first character, ``extra`` what is to be added to an end.
    """

    name: str
    widths: Callable[[str], Iterator[int]]
    start: int = 0
    extra: int = 0

    def spans(self, text: str, spans: Sequence[Span]) -> list[Span | None]:
        """Return the characters of spans that were counted so; None for one that it cannot have counted."""
        stops = list(accumulate(self.widths(text), initial=self.start))

        def place(offset: int) -> int | None:
            at = bisect_left(stops, offset)
            return at if at < len(stops) and stops[at] == offset else None

        ends = [(place(start), place(end + self.extra)) for start, end in spans]
        return [(a, b) if a is not None and b is not None and a < b else None for a, b in ends]


def _ones(text: str) -> Iterator[int]:
    return (1 for _ in text)


def _line_ends(one: int, both: int) -> Callable[[str], Iterator[int]]:
    """Count a line end that is LF alone as ``one`` and the CR of CR LF as ``both``."""

    def widths(text: str) -> Iterator[int]:
        for at, letter in enumerate(text):
            if letter == "\r" and text.startswith("\n", at + 1):
                yield both
            else:
                yield one if letter == "\n" and not text.startswith("\r", at - 1 if at else 1) else 1

    return widths


def _composed(text: str) -> Iterator[int]:
    """Count as many as there are once a letter and its marks are composed; what follows the first counts nothing."""
    for found in re.finditer(
        r"(?s).[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\u3099\u309a\u1160-\u11ff]*", text
    ):
        yield len(unicodedata.normalize("NFC", found[0]))
        yield from (0 for _ in range(len(found[0]) - 1))


CHARACTERS = Ruler("characters", _ones)
RULERS = (
    Ruler("UTF-16 units, as JavaScript and Java do", lambda text: (1 + (letter > "\uffff") for letter in text)),
    Ruler("bytes of UTF-8", lambda text: (len(letter.encode(errors="surrogatepass")) for letter in text)),
    Ruler("CR LF as one character", _line_ends(1, 0)),
    Ruler("line ends as two characters, CR LF, where the text has LF alone", _line_ends(2, 1)),
    Ruler("composed letters (NFC) where the text has decomposed ones (NFD)", _composed),
    Ruler(
        "decomposed letters (NFD) where the text has composed ones (NFC)",
        lambda text: (len(unicodedata.normalize("NFD", letter)) for letter in text),
    ),
    Ruler("characters of HTML or XML, where & is &amp;", lambda text: (_ESCAPED.get(letter, 1) for letter in text)),
    Ruler("from 1 instead of 0", _ones, start=1),
    Ruler("from 1, the last character counted in", _ones, start=1, extra=1),
    Ruler("the last character in", _ones, extra=1),
)


def joined(text: str, at: int) -> bool:
    """Whether a word goes on across ``at``; in scripts without spaces none does."""
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    if unicodedata.combining(after):
        return True
    alike = (before.isalpha() and after.isalpha()) or (before.isdigit() and after.isdigit())
    return alike and not spaceless(before) and not spaceless(after)


def doubtful(text: str, span: Span) -> bool:
    """Whether a span begins or ends inside a word or with white space."""
    start, end = span
    return joined(text, start) or joined(text, end) or text[start].isspace() or text[end - 1].isspace()


def ruler_of(text: str, counted: Sequence[tuple[Span, str | None]]) -> Ruler | None:
    """Return what the source counted, if it is not characters and the spans leave no doubt.

    Args:
        text: the text; counted: spans as the source gives them, with their texts where it gives them.
    """
    spans = [span for span, _ in counted]
    told = [said for _, said in counted]
    plain = _agreeing(text, [span if 0 <= span[0] < span[1] <= len(text) else None for span in spans], told)
    for ruler in RULERS if plain < len(spans) else ():
        fitting = _agreeing(text, ruler.spans(text, spans), told)
        if fitting >= ENOUGH * len(spans) and fitting > plain:
            return ruler
    return None


def _agreeing(text: str, spans: Sequence[Span | None], told: Sequence[str | None]) -> int:
    """Count the spans that cover their text, or whole words where no text is given."""
    return sum(
        span is not None
        and (not doubtful(text, span) if said is None else _form(text[slice(*span)]) == _form(said))
        for span, said in zip(spans, told, strict=True)
    )  # fmt: skip


def _form(text: str) -> str:
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n"))


def in_words(ruler: Ruler | None) -> str:
    """Say which ruler it is and what to do; empty for none."""
    if ruler is None:
        return ""
    return (
        f" They fit if the offsets count {ruler.name}: count characters (Unicode code points) from 0, end-exclusive, "
        "of the text as it is given."
    )
