"""Passages as tokens, for formats that count them."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from backbones.core.errors import FrostlineError
from benchmarks.passages.types import Argument, Event, Passage, Span

_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Layout:
    """A passage cut into tokens.

    Args:
        passage: the passage; spans: characters of each token; sentences: tokens of each sentence, end-exclusive.
    """

    passage: Passage
    spans: tuple[Span, ...]
    sentences: tuple[Span, ...]

    @property
    def words(self) -> list[str]:
        """The tokens."""
        return [self.passage.text[start:end] for start, end in self.spans]

    def tokens(self, span: Span, what: str) -> Span:
        """Return the tokens of a span of characters, end-exclusive.

        Raises:
            FrostlineError: ``what`` begins or ends with white space or where the passage has no token.
        """
        first = bisect_left(self.spans, span[0], key=lambda token: token[0])
        while first < len(self.spans) and self.spans[first] == (span[0], span[0]):
            first += 1  # a token without characters
        last = bisect_right(self.spans, span[1], key=lambda token: token[1]) - 1
        while last >= 0 and self.spans[last] == (span[1], span[1]):
            last -= 1
        if first > last or self.spans[first][0] != span[0] or self.spans[last][1] != span[1]:
            said = self.passage.text[span[0] : span[1]][:60]
            raise FrostlineError(
                f"passage {self.passage.doc_id!r}: {what} at {span[0]}-{span[1]} ({said!r}) does not begin and end "
                "with a token, so a format that counts tokens cannot hold it. Leave white space out of the span."
            )
        return first, last + 1

    def sentence(self, token: int) -> int:
        """Return the number of the sentence that holds a token."""
        return max(0, bisect_right(self.sentences, token, key=lambda held: held[0]) - 1)

    def trigger(self, event: Event) -> Span:
        """Return the tokens of a trigger."""
        return self.tokens(event.trigger.span, f"the trigger of {event.id}")


def lay_out(passage: Passage) -> Layout:
    """Cut a passage into its own tokens, or into words and punctuation; spans always begin and end a token.

    A token that a mention or a trigger begins or ends in is cut there. Tokens outside every sentence belong to the
    sentence before them.
    """
    held = passage.tokens or tuple(match.span() for match in _TOKEN.finditer(passage.text))
    spans = [*(mention.span for mention in passage.entities), *(event.trigger.span for event in passage.events)]
    cut = _cut(held, sorted({edge for span in spans for edge in span}))
    tokens = tuple(_trim(passage.text, token) for token in cut)
    starts = sorted({start for start, _ in passage.sentences or ()})
    cuts = sorted({bisect_left(tokens, start, key=lambda token: token[0]) for start in starts} - {len(tokens)})
    edges = [0, *(cut for cut in cuts if cut > 0), len(tokens)]
    return Layout(passage, tokens, tuple(pairwise(edges)))


def _cut(tokens: tuple[Span, ...], edges: list[int]) -> tuple[Span, ...]:
    pieces: list[Span] = []
    for start, end in tokens:
        inside = edges[bisect_right(edges, start) : bisect_left(edges, end)]
        bounds = [start, *inside, end]
        pieces.extend(pairwise(bounds))
    return tuple(pieces)


def _trim(text: str, token: Span) -> Span:
    """Take white space off the edges of a token: formats of tokens put their own between them."""
    word = text[slice(*token)]
    start = token[0] + len(word) - len(word.lstrip())
    return start, max(start, token[1] - len(word) + len(word.rstrip()))


def role_of(passage: Passage, event: Event, argument: Argument, form: str) -> str:
    """Return the role of an argument; raises FrostlineError if it has none and the format ``form`` needs one."""
    if not argument.role:
        raise FrostlineError(
            f"passage {passage.doc_id!r}: the argument {argument.entity!r} of {event.id} has no role, and the format "
            f"{form!r} has no place for one without. Predict roles first, or write 'native'."
        )
    return argument.role


def without_none(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record without keys whose value is None."""
    return {key: value for key, value in record.items() if value is not None}
