"""WikiEvents (Li et al. 2021), "Document-Level Event Argument Extraction": tokens of the document, end-exclusive."""

from __future__ import annotations

from typing import Any

from benchmarks.passages.build import Builder
from benchmarks.passages.formats.base import Form
from benchmarks.passages.formats.layout import lay_out
from benchmarks.passages.formats.oneie import read_mentions, write_mentions
from benchmarks.passages.nodes import Node
from benchmarks.passages.types import Passage, Span

MAX_GAP = 1000
"""Characters that may lie between two sentences; more is taken for wrong offsets."""


def _read(record: Node) -> Passage:
    rows = [row.row(2, "[[token, start, end] ..., text]") for row in record.need("sentences").items()]
    tokens = [(token, row[1]) for row in rows for token in row[0].items()]
    words = [token.row(3, "[token, start, end]") for token, _ in tokens]
    spans = tuple((word[1].integer(), word[2].integer()) for word in words)
    text = record.get("text")
    given = text.string() if text is not None else ""
    if not all(0 <= start <= end and given[start:end] == word[0].value for word, (start, end) in zip(words, spans)):  # noqa: B905
        given = _rebuild(rows)
        if text is not None:
            text.tell("offsets of tokens are not those of this text; the text was made of the sentences")
    _count(record, words)
    sentences = tuple(_extent(row) for row in rows if row[0].value)
    builder = Builder(record, given, spans, sentences)
    read_mentions(builder, record)
    return builder.passage(record.named("doc_id"))


def _extent(row: list[Node]) -> Span:
    first, last = row[0].items()[0].items(), row[0].items()[-1].items()
    return first[1].integer(), last[2].integer()


def _count(record: Node, words: list[list[Node]]) -> None:
    """Check ``tokens`` against the sentences: spans count the one, characters come from the other."""
    said = record.need("tokens")
    for number, (token, word) in enumerate(zip(said.items(), words, strict=False)):
        if token.string() != word[0].string():
            raise token.fail(f"{word[0].value!r}, which is token {number} of the sentences")
    if len(said.items()) != len(words):
        raise said.fail(f"as many tokens as in the sentences, which have {len(words)}")


def _rebuild(rows: list[list[Node]]) -> str:
    """Put the texts of the sentences where their first tokens say, with line ends between them."""
    parts, at = [], 0
    for row in rows:
        words = [token.row(3, "[token, start, end]") for token in row[0].items()]
        if not words:
            continue
        start, said = words[0][1].integer(), row[1].string()
        if not at <= start <= at + MAX_GAP:
            raise words[0][1].fail(f"a start between {at}, where the sentence before ends, and {at + MAX_GAP}")
        parts += ["\n" * (start - at), said]
        at = start + len(said)
        for word in words:
            first, last = word[1].integer(), word[2].integer()
            if not start <= first <= last <= at or said[first - start : last - start] != word[0].string():
                found = said[max(0, first - start) : max(0, last - start)][:60]
                raise word[0].fail(f"the characters {first}-{last} of the document, {found!r}")
    return "".join(parts)


def _write(passage: Passage) -> dict[str, Any]:
    layout = lay_out(passage)
    text, sentences = passage.text, []
    for first, last in layout.sentences:
        spans = layout.spans[first:last]
        if spans:
            sentences.append([[[text[a:b], a, b] for a, b in spans], text[spans[0][0] : spans[-1][1]]])
    head = {"doc_id": passage.doc_id, "tokens": layout.words, "text": text, "sentences": sentences}
    return head | write_mentions(layout, numbered=True)


WIKIEVENTS = Form(
    keys=("doc_id", "tokens", "sentences", "entity_mentions", "event_mentions"),
    offsets="tokens of the document, end-exclusive",
    keeps=frozenset({"mentions", "raw text", "types"}),
    reader=_read,
    writer=_write,
)
