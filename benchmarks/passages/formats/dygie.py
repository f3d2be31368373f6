"""DyGIE++ (Wadden et al. 2019): tokens of the document, the last one counted in; triggers are one token."""

from __future__ import annotations

from typing import Any

from backbones.core.errors import FrostlineError
from benchmarks.passages.build import Builder, Found
from benchmarks.passages.formats.base import Form
from benchmarks.passages.formats.layout import Layout, lay_out, role_of
from benchmarks.passages.formats.rams import read_sentences
from benchmarks.passages.nodes import Node
from benchmarks.passages.types import Event, Passage, Span

_TRIGGER = "[token, type] or [start, end, type]"


def _read(record: Node) -> Passage:
    builder = Builder(record, *read_sentences(record), inclusive=True)
    clusters = _clusters(record)
    for sentence in record.all("ner"):
        for row in sentence.items():
            start, end, kind = row.row(3, "[start, end, type]")[:3]
            coref = clusters.get((start.integer(), end.integer()))
            builder.mention(builder.span(row, start, end), type=kind.name(), coref=coref)
    for sentence in record.need("events").items():
        for event in sentence.items():
            trigger, *rows = event.row(1, "[trigger, [start, end, role] ...]")
            found, name = _trigger(builder, trigger)
            builder.event(event, name, found, [_argument(builder, row, clusters) for row in rows])
    return builder.passage(record.optional("doc_key"))


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
        token = _single(layout, event)
        rows = [
            [spans[held.entity][0], spans[held.entity][1] - 1, role_of(passage, event, held, "dygie")]
            for held in event.arguments
        ]
        events[layout.sentence(token)].append([[token, event.type], *rows])
    return {
        "doc_key": passage.doc_id,
        "sentences": [layout.words[first:last] for first, last in layout.sentences],
        "ner": ner,
        "clusters": list(clusters.values()),
        "events": events,
    }


def _single(layout: Layout, event: Event) -> int:
    start, end = layout.trigger(event)
    if end - start > 1:
        passage = layout.passage
        raise FrostlineError(
            f"passage {passage.doc_id!r}: the trigger of {event.id}, "
            f"{passage.text[event.trigger.start : event.trigger.end]!r}, is {end - start} tokens, and DyGIE++ holds "
            "triggers of one token. Take its head word as the trigger, or write another format."
        )
    return start


DYGIE = Form(
    keys=("doc_key", "sentences", "events"),
    offsets="tokens of the document, the last one counted in",
    keeps=frozenset({"coref", "types"}),
    reader=_read,
    writer=_write,
)
