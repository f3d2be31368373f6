"""DyGIE++ (Wadden et al. 2019): tokens of the document, the last one counted in.

A trigger of one token is written ``[token, type]``, as the corpora of DyGIE++ have it, a longer one ``[start, end,
type]``. What DyGIE++ predicts (``predicted_events``, ``predicted_ner``) is read where nothing better is there.
"""

from __future__ import annotations

from typing import Any

from benchmarks.passages.build import Builder, Found
from benchmarks.passages.formats.base import Form
from benchmarks.passages.formats.layout import lay_out, role_of
from benchmarks.passages.formats.rams import read_sentences
from benchmarks.passages.nodes import Node
from benchmarks.passages.types import Passage, Span

_TRIGGER = "[token, type] or [start, end, type]"


def _read(record: Node) -> Passage:
    builder = Builder(record, *read_sentences(record), inclusive=True)
    clusters = _clusters(record)
    for sentence in _best(record, "ner"):
        for row in sentence.items():
            start, end, kind = row.row(3, "[start, end, type]")[:3]
            coref = clusters.get((start.integer(), end.integer()))
            builder.mention(builder.span(row, start, end), type=kind.name(), coref=coref)
    for sentence in _best(record, "events"):
        for event in sentence.items():
            trigger, *rows = event.row(1, "[trigger, [start, end, role] ...]")
            found, name = _trigger(builder, trigger)
            builder.event(event, name, found, [_argument(builder, row, clusters) for row in rows])
    return builder.passage(record.named("doc_key"))


def _best(record: Node, key: str) -> list[Node]:
    """Return the rows of every sentence: those of ``key``, else those that were predicted."""
    predicted = record.get(f"predicted_{key}")
    if record.get(key) is None and predicted is not None:
        predicted.tell(f"what was predicted is read: there are no {key}")
        return predicted.items()
    return record.all(key)


def _clusters(record: Node) -> dict[Span, str]:
    names: dict[Span, str] = {}
    for number, cluster in enumerate(record.all("clusters")):
        for row in cluster.items():
            start, end = row.row(2, "[start, end]")[:2]
            names[start.integer(), end.integer()] = f"C{number + 1}"
    return names


def _trigger(builder: Builder, row: Node) -> tuple[Found, str]:
    parts = row.row(2, _TRIGGER)
    if isinstance(parts[1].value, str):
        return builder.span(row, parts[0], parts[0]), parts[1].name()
    parts = row.row(3, _TRIGGER)
    return builder.span(row, parts[0], parts[1]), parts[2].name()


def _argument(builder: Builder, row: Node, clusters: dict[Span, str]) -> tuple[str, str]:
    start, end, role = row.row(3, "[start, end, role]")[:3]
    coref = clusters.get((start.integer(), end.integer()))
    return builder.mention_at(builder.span(row, start, end), coref=coref), role.name()


def _write(passage: Passage) -> dict[str, Any]:
    layout = lay_out(passage)
    spans = {held.id: layout.tokens(held.span, f"the mention {held.id}") for held in passage.entities}
    ner: list[list[list[Any]]] = [[] for _ in layout.sentences]
    events: list[list[list[Any]]] = [[] for _ in layout.sentences]
    clusters: dict[str, list[list[int]]] = {}
    for held in passage.entities:
        first, last = spans[held.id]
        if held.type is not None:
            ner[layout.sentence(first)].append([first, last - 1, held.type])
        if held.coref is not None:
            clusters.setdefault(held.coref, []).append([first, last - 1])
    for event in passage.events:
        start, end = layout.trigger(event)
        trigger: list[Any] = [start, event.type] if end - start == 1 else [start, end - 1, event.type]
        rows = [
            [spans[held.entity][0], spans[held.entity][1] - 1, role_of(passage, event, held, "dygie")]
            for held in event.arguments
        ]
        events[layout.sentence(start)].append([trigger, *rows])
    return {
        "doc_key": passage.doc_id,
        "sentences": [layout.words[first:last] for first, last in layout.sentences],
        "ner": ner,
        "clusters": list(clusters.values()),
        "events": events,
    }


DYGIE = Form(
    keys=("doc_key", "sentences", "events|predicted_events"),
    offsets="tokens of the document, the last one counted in",
    keeps=frozenset({"coref", "types"}),
    reader=_read,
    writer=_write,
)
