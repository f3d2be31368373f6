"""CASIE (Satyapanich et al. 2020), events of cyber security: characters, end-exclusive.

As published, one file in 25 has nearly all spans one character off; their texts say where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.passages.build import Builder, Found
from benchmarks.passages.formats.base import Form
from benchmarks.passages.formats.layout import without_none
from benchmarks.passages.nodes import Node
from benchmarks.passages.types import Event, Mention, Passage, Span


def _read(record: Node) -> Passage:
    builder = Builder(record, record.need("content").string(), slack=1)
    hoppers = record.need("cyberevent").need("hopper").items()
    marks: dict[tuple[str, Span], str] = {}  # an index is used again where an argument takes part in two events
    for number, hopper in enumerate(hoppers):
        events = hopper.need("events").items()
        cluster = (hopper.named("index") or f"h{number + 1}") if len(events) > 1 else None
        for event in events:
            nugget = event.need("nugget", "Say where the text expresses the event.")
            kind, sub = event.need("type").name(), event.optional("subtype")
            rows = [(_argument(builder, row, marks), _role(row)) for row in event.all("argument")]
            name = f"{kind}:{sub}" if sub else kind
            builder.event(event, name, _found(builder, nugget), rows, id=event.named("index"), coref=cluster)
    return builder.passage(record.named("filename", "sourcefile"))


def _found(builder: Builder, row: Node) -> Found:
    return builder.chars(row, row.need("startOffset"), row.need("endOffset"), row.optional("text"))


def _argument(builder: Builder, row: Node, marks: dict[tuple[str, Span], str]) -> str:
    found, index = _found(builder, row), row.named("index")
    if index is None:
        return builder.mention_at(found, row.optional("type"))
    if (index, found.span) not in marks:
        marks[index, found.span] = builder.mention(found, id=index, type=row.optional("type"))
    return marks[index, found.span]


def _role(row: Node) -> str | None:
    role = row.get("role")
    return role.need("type").name() if role is not None else None


def _write(passage: Passage) -> dict[str, Any]:
    mentions = {held.id: held for held in passage.entities}
    hoppers: dict[str, list[Event]] = {}
    for event in passage.events:
        hoppers.setdefault(event.coref if event.coref is not None else f"h of {event.id}", []).append(event)
    rows = [
        {"index": name, "events": [_event(passage, event, mentions) for event in events]}
        for name, events in hoppers.items()
    ]
    return {"filename": passage.doc_id, "content": passage.text, "cyberevent": {"hopper": rows}}


def _event(passage: Passage, event: Event, mentions: Mapping[str, Mention]) -> dict[str, Any]:
    kind, _, sub = event.type.partition(":")
    rows = [(mentions[argument.entity], argument.role) for argument in event.arguments]
    return without_none(
        {
            "index": event.id,
            "type": kind,
            "subtype": sub or None,
            "nugget": _span(passage, event.trigger.span),
            "argument": [
                without_none(
                    {
                        "index": held.id,
                        **_span(passage, held.span),
                        "type": held.type,
                        "role": {"type": role} if role is not None else None,
                    }
                )
                for held, role in rows
            ],
        }
    )


def _span(passage: Passage, span: Span) -> dict[str, Any]:
    return {"startOffset": span[0], "endOffset": span[1], "text": passage.text[span[0] : span[1]]}


CASIE = Form(
    keys=("content", "cyberevent"),
    offsets="characters, end-exclusive",
    keeps=frozenset({"event coref", "raw text", "types"}),
    reader=_read,
    writer=_write,
)
