"""JMEE (Liu et al. 2018), M2E2 and CrudeOil news: tokens of the sentence, end-exclusive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.passages.build import Builder, cluster_of, join_tokens, place_tokens
from benchmarks.passages.formats.base import Form
from benchmarks.passages.formats.layout import Layout, lay_out, without_none
from benchmarks.passages.nodes import Node
from benchmarks.passages.types import Event, Mention, Passage, Span


def _read(record: Node) -> Passage:
    words = [word.string() for word in record.need("words").items()]
    text, tokens = join_tokens(words)
    said = record.get("sentence")
    if said is not None:
        placed = place_tokens(said.string(), words)
        if placed is None:
            said.tell("its words are not the words; the text was made of the words")
        else:
            text, tokens = said.string(), placed
    builder = Builder(record, text, tokens)
    marks: dict[str, str] = {}  # stand-off id of the source -> mention
    for entity in record.all("golden-entity-mentions"):
        _entity(builder, entity, marks)
    rows = record.need("golden-event-mentions").items()
    builder.expect(rows)
    for event in rows:
        trigger = event.need("trigger", "Say where the text expresses the event.")
        found = builder.span(trigger, trigger.need("start"), trigger.need("end"), trigger.optional("text"))
        arguments = builder.arguments(event, lambda row: _argument(builder, row, marks))
        builder.event(event, event.need("event_type").name(), found, arguments, id=event.named("id"))
    return builder.passage(record.named("sentence_id", "doc_id"))


def _entity(builder: Builder, entity: Node, marks: dict[str, str]) -> None:
    found = builder.span(entity, entity.need("start"), entity.need("end"), entity.optional("text"))
    head = entity.get("head")
    heads = builder.span(head, head.need("start"), head.need("end")).span if head is not None else None
    name, mark = entity.named("entity_id", "id"), _mark(entity)
    kind, coref = entity.optional("entity-type"), cluster_of(name) if name else None
    made = builder.mention(found, id=name, type=kind, coref=coref, head=heads)
    if mark is not None:
        marks.setdefault(mark, made)


def _mark(row: Node) -> str | None:
    mark = row.get("standoff_id")
    return str(mark.value) if mark is not None else None


def _argument(builder: Builder, row: Node, marks: dict[str, str]) -> str:
    found = builder.span(row, row.need("start"), row.need("end"), row.optional("text"))
    mark = _mark(row)
    if mark is not None and mark in marks and builder.spans(marks[mark]) == found.span:
        return marks[mark]
    return builder.mention_at(found, row.optional("entity-type"))


def _write(passage: Passage) -> dict[str, Any]:
    layout = lay_out(passage)
    mentions = {held.id: held for held in passage.entities}
    return {
        "sentence_id": passage.doc_id,
        "words": layout.words,
        "sentence": passage.text,
        "golden-entity-mentions": [_mention(layout, held) for held in passage.entities],
        "golden-event-mentions": [_event(layout, event, mentions) for event in passage.events],
    }


def _place(layout: Layout, span: Span, what: str) -> dict[str, Any]:
    start, end = layout.tokens(span, what)
    return {"text": layout.passage.text[span[0] : span[1]], "start": start, "end": end}


def _mention(layout: Layout, held: Mention) -> dict[str, Any]:
    place = _place(layout, held.span, f"the mention {held.id}")
    head = _place(layout, held.head, f"the head of {held.id}") if held.head is not None else None
    return without_none({"entity_id": held.id, **place, "entity-type": held.type, "head": head})


def _event(layout: Layout, event: Event, mentions: Mapping[str, Mention]) -> dict[str, Any]:
    rows = [(mentions[argument.entity], argument.role) for argument in event.arguments]
    return {
        "id": event.id,
        "event_type": event.type,
        "trigger": _place(layout, event.trigger.span, f"the trigger of {event.id}"),
        "arguments": [
            without_none(
                {
                    "entity_id": held.id, "role": role, **_place(layout, held.span, f"the mention {held.id}"),
                    "entity-type": held.type,
                }
            )
            for held, role in rows
        ],
    }  # fmt: skip


JMEE = Form(
    keys=("words", "golden-event-mentions"),
    offsets="tokens of the sentence, end-exclusive",
    keeps=frozenset({"heads", "mentions", "raw text", "types"}),
    reader=_read,
    writer=_write,
)
