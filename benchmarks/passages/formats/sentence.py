"""Sentence JSON of Lyu et al. (2021), "Zero-shot Event Extraction via Transfer Learning": characters, end-exclusive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.passages.build import Builder
from benchmarks.passages.formats.base import Form
from benchmarks.passages.formats.layout import without_none
from benchmarks.passages.nodes import Node
from benchmarks.passages.types import Event, Mention, Passage


def _read(record: Node) -> Passage:
    builder = Builder(record, record.need("sentence").string())
    for entity in record.all("entity_mentions"):
        found = builder.chars(entity, entity.need("start"), entity.need("end"), entity.optional("text"))
        builder.mention(found, id=entity.named("id"), type=entity.optional("entity_type"))
    rows = record.need("event_mentions").items()
    builder.expect(rows)
    for event in rows:
        trigger = event.need("trigger", "Say where the text expresses the event.")
        found = builder.chars(trigger, trigger.need("start"), trigger.need("end"), trigger.optional("text"))
        arguments = builder.arguments(event, lambda row: _mention(builder, row))
        builder.event(event, event.need("event_type").name(), found, arguments, id=event.named("id"))
    return builder.passage(record.named("doc_id", "sent_id"))


def _mention(builder: Builder, row: Node) -> str:
    found = builder.chars(row, row.need("start"), row.need("end"), row.optional("text"))
    return builder.mention_at(found, row.optional("entity_type"))


def _write(passage: Passage) -> dict[str, Any]:
    mentions = {mention.id: mention for mention in passage.entities}
    return {
        "doc_id": passage.doc_id,
        "sentence": passage.text,
        "entity_mentions": [
            without_none({"id": mention.id, **_span(passage, mention.span), "entity_type": mention.type})
            for mention in passage.entities
        ],
        "event_mentions": [_event(passage, event, mentions) for event in passage.events],
    }


def _event(passage: Passage, event: Event, mentions: Mapping[str, Mention]) -> dict[str, Any]:
    rows = [(mentions[argument.entity], argument.role) for argument in event.arguments]
    return {
        "id": event.id,
        "event_type": event.type,
        "trigger": _span(passage, event.trigger.span),
        "arguments": [
            without_none({"entity_id": held.id, "role": role, **_span(passage, held.span), "entity_type": held.type})
            for held, role in rows
        ],
    }


def _span(passage: Passage, span: tuple[int, int]) -> dict[str, Any]:
    return {"text": passage.text[span[0] : span[1]], "start": span[0], "end": span[1]}


SENTENCE = Form(
    keys=("sentence", "event_mentions", "event_mentions[].arguments[].start"),
    offsets="characters, end-exclusive",
    keeps=frozenset({"mentions", "raw text", "types"}),
    reader=_read,
    writer=_write,
)
