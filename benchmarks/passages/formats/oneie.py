"""OneIE (Lin et al. 2020) and its kin TextEE and GENEVA: tokens of the sentence, end-exclusive."""

from __future__ import annotations

from typing import Any

from benchmarks.passages.build import Builder, cluster_of, join_tokens, place_tokens
from benchmarks.passages.formats.base import Form
from benchmarks.passages.formats.layout import Layout, lay_out, without_none
from benchmarks.passages.nodes import Node
from benchmarks.passages.types import Event, Passage, Span


def read_mentions(builder: Builder, record: Node) -> None:
    """Add ``entity_mentions`` and ``event_mentions`` whose spans count tokens; OneIE and WikiEvents share them."""
    for entity in record.need("entity_mentions").items():
        found = builder.span(entity, entity.need("start"), entity.need("end"), entity.optional("text"))
        name, kind = entity.named("id"), entity.optional("entity_type")
        builder.mention(found, id=name, type=kind, coref=cluster_of(name) if name is not None else None)
    rows = record.need("event_mentions").items()
    builder.expect(rows)
    for event in rows:
        trigger = event.need("trigger", "Say where the text expresses the event.")
        found = builder.span(trigger, trigger.need("start"), trigger.need("end"), trigger.optional("text"))
        arguments = builder.arguments(event)
        builder.event(event, event.need("event_type").name(), found, arguments, id=event.named("id"))


def write_mentions(layout: Layout, numbered: bool) -> dict[str, Any]:
    """Return ``entity_mentions`` and ``event_mentions``; ``numbered`` adds the sentence of each span."""
    passage = layout.passage
    mentions = {mention.id: mention for mention in passage.entities}

    def place(span: Span, what: str) -> dict[str, Any]:
        start, end = layout.tokens(span, what)
        number = {"sent_idx": layout.sentence(start)} if numbered else {}
        return {"start": start, "end": end, "text": passage.text[span[0] : span[1]], **number}

    def write(event: Event) -> dict[str, Any]:
        rows = [(mentions[argument.entity], argument.role) for argument in event.arguments]
        return {
            "id": event.id,
            "event_type": event.type,
            "trigger": place(event.trigger.span, f"the trigger of {event.id}"),
            "arguments": [
                without_none({"entity_id": held.id, "role": role, "text": passage.text[held.start : held.end]})
                for held, role in rows
            ],
        }

    return {
        "entity_mentions": [
            without_none({"id": held.id, "entity_type": held.type, **place(held.span, f"the mention {held.id}")})
            for held in passage.entities
        ],
        "event_mentions": [write(event) for event in passage.events],
    }


def _read(record: Node) -> Passage:
    words = [token.string() for token in record.need("tokens").items()]
    text, tokens = join_tokens(words)
    said = record.get("sentence")
    if said is not None:
        placed = place_tokens(said.string(), words)
        if placed is None:
            said.tell("its words are not the tokens; the text was made of the tokens")
        else:
            text, tokens = said.string(), placed
    builder = Builder(record, text, tokens)
    read_mentions(builder, record)
    return builder.passage(record.named("wnd_id", "sent_id", "doc_id"))


def _write(passage: Passage) -> dict[str, Any]:
    layout = lay_out(passage)
    head = {"doc_id": passage.doc_id, "wnd_id": passage.doc_id, "sentence": passage.text, "tokens": layout.words}
    return head | write_mentions(layout, numbered=False)


ONEIE = Form(
    keys=("tokens", "entity_mentions", "event_mentions", "event_mentions[].arguments[].entity_id"),
    offsets="tokens of the sentence, end-exclusive",
    keeps=frozenset({"mentions", "raw text", "types"}),
    reader=_read,
    writer=_write,
)
