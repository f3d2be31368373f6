"""PHEE (Sun et al. 2022), drug safety: characters; an argument has parts, and arguments of its own.

Roles inside a role are written ``Treatment_Drug``. A combination of drugs is an event of its own, with the id
``E1.Combination.E2`` and the roles that it has there. A thing that the text names in several places is one mention for
each place, all of one coreference cluster. Speculation, negation and severity say how an event is meant; they are no
arguments and are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from backbones.core.errors import FrostlineError
from benchmarks.passages.build import Builder, Found
from benchmarks.passages.formats.base import Form
from benchmarks.passages.formats.layout import role_of
from benchmarks.passages.nodes import Node
from benchmarks.passages.types import Event, Mention, Passage, Span

ATTRIBUTES = frozenset({"Speculated", "Negated", "Severity"})
_EVENT = frozenset({"event_id", "event_type", "Trigger"})
_OWN = frozenset({"text", "start", "entity_id"})
_NESTED = ".Combination."

Marks = dict[tuple[str, Span], str]
Rows = list[tuple[str, str | None]]


def _read(record: Node) -> Passage:
    builder = Builder(record, record.need("context").string())
    marks: Marks = {}
    for number, annotation in enumerate(record.need("annotations").items()):
        before = f"A{number + 1}." if number else ""
        for event in annotation.need("events").items():
            _event(builder, event, before + event.need("event_id").identifier(), marks)
    return builder.passage(record.named("id"))


def _event(builder: Builder, event: Node, name: str, marks: Marks) -> None:
    trigger = event.need("Trigger", "Say where the text expresses the event.")
    found = [span for _, _, span in _parts(builder, trigger)]
    if not found:
        raise trigger.fail("a trigger", found="no text")
    rows: Rows = []
    nested: list[Node] = []
    for key in event.object():
        if key in ATTRIBUTES | _EVENT:
            continue
        held = event.need(key)
        rows += _role(builder, held, key, marks)
        for inner in held.object():
            if inner == "Combination":
                nested += held.need(inner).items()
            elif inner not in _OWN:
                rows += _role(builder, held.need(inner), f"{key}_{inner}", marks)
    builder.event(event, event.need("event_type").name(), found[0], rows, id=name)
    for inside in nested:
        _event(builder, inside, f"{name}{_NESTED}{inside.need('event_id').identifier()}", marks)


def _parts(builder: Builder, node: Node) -> Iterator[tuple[str | None, int, Found]]:
    """Yield the parts of a role: id of the thing, number of the part (0: it has one), where it is."""
    starts, names = node.need("start").items(), node.all("entity_id")
    texts = node.need("text").items()
    if len(starts) != len(texts) or (names and len(names) != len(texts)):
        raise node.fail(f"as many starts and ids as texts, {len(texts)}", found=f"{len(starts)} and {len(names)}")
    for at, (text, start) in enumerate(zip(texts, starts, strict=True)):
        name = names[at].identifier() if names else None
        words, firsts = text.items(), start.items()
        if len(words) != len(firsts):
            raise start.fail(f"as many as there are texts, {len(words)}")
        for number, (word, first) in enumerate(zip(words, firsts, strict=True)):
            end = replace(first, value=first.integer() + len(word.string()))
            yield name, number + 1 if len(words) > 1 else 0, builder.chars(word, first, end, word.string())


def _role(builder: Builder, node: Node, role: str, marks: Marks) -> Rows:
    rows: Rows = []
    for name, number, found in _parts(builder, node):
        if name is None:
            rows.append((builder.mention_at(found), role))
            continue
        own = f"{name}.{number}" if number else name
        if (own, found.span) not in marks:
            marks[own, found.span] = builder.mention(found, id=own, coref=name if number else None)
        rows.append((marks[own, found.span], role))
    return rows


def _write(passage: Passage) -> dict[str, Any]:
    mentions = {held.id: held for held in passage.entities}
    made: dict[str, dict[str, Any]] = {}
    top: list[dict[str, Any]] = []
    for event in passage.events:
        outer, _, own = event.id.rpartition(_NESTED)
        made[event.id] = row = _write_event(passage, event, own, mentions)
        if not outer:
            top.append(row)
            continue
        if outer not in made:
            raise FrostlineError(
                f"passage {passage.doc_id!r}: the id of {event.id!r} says that it is a part of {outer!r}, which is no "
                "event before it. Put that event first or rename this one."
            )
        made[outer].setdefault("Treatment", _empty()).setdefault("Combination", []).append(row)
    several = len(passage.events) > 1
    return {
        "id": passage.doc_id,
        "context": passage.text,
        "is_mult_event": several,
        "annotations": [{"events": top}],
    }


def _empty() -> dict[str, Any]:
    return {"text": [], "start": [], "entity_id": []}


def _write_event(passage: Passage, event: Event, name: str, mentions: Mapping[str, Mention]) -> dict[str, Any]:
    start, end = event.trigger.span
    row: dict[str, Any] = {
        "event_id": name, "event_type": event.type,
        "Trigger": {"text": [[passage.text[start:end]]], "start": [[start]], "entity_id": [f"{event.id}.Trigger"]},
    }  # fmt: skip
    for argument in event.arguments:
        role = role_of(passage, event, argument, "phee")
        main, _, sub = role.partition("_")
        if main in _EVENT | ATTRIBUTES or sub in _OWN | {"Combination"}:
            raise FrostlineError(
                f"passage {passage.doc_id!r}: the role {role!r} of {event.id} is a key of PHEE that means something "
                "else. Rename it, or write another format."
            )
        place = row.setdefault(main, _empty())
        _put(place.setdefault(sub, _empty()) if sub else place, passage, mentions[argument.entity])
    return row


def _put(place: dict[str, Any], passage: Passage, held: Mention) -> None:
    parts = held.coref is not None and held.id.startswith(f"{held.coref}.") and held.coref in place["entity_id"]
    if not parts:
        name = held.coref if held.coref is not None and held.id == f"{held.coref}.1" else held.id
        place["entity_id"].append(name)
        place["text"].append([])
        place["start"].append([])
    at = place["entity_id"].index(held.coref) if parts else -1
    place["text"][at].append(passage.text[held.start : held.end])
    place["start"][at].append(held.start)


PHEE = Form(
    keys=("context", "annotations", "annotations[].events"),
    offsets="characters",
    keeps=frozenset({"raw text"}),
    reader=_read,
    writer=_write,
)
