"""The native format: a Passage as JSON, characters, end-exclusive; results of prediction are read as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import PurePath
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from backbones.core.errors import FrostlineError
from benchmarks.passages.build import EVENT_AS_ARGUMENT
from benchmarks.passages.formats.base import FEATURES, Form
from benchmarks.passages.nodes import Node, brief, misread, similar
from benchmarks.passages.types import Argument, Event, Mention, Passage, Span, Trigger, UserRule

_MODELS: Mapping[str, type[BaseModel]] = {
    "entities": Mention, "events": Event, "constraints": UserRule, "arguments": Argument,
}  # fmt: skip
_SPANS = ("tokens", "sentences")
_LISTS = (*_MODELS, *_SPANS, "head")
_IDS = ("doc_id", "id", "entity", "event", "coref")
_RESULT = ("scorer", "solver")

SLIP = 0.75
"""Likeness (difflib) from which an unknown key is taken for a misspelling of one that is missing."""

M = TypeVar("M", bound=BaseModel)


def _read(record: Node) -> Passage:
    value = record.object()
    if all(key in value for key in _RESULT):
        value = _known(value, Passage)
    name = {} if value.get("doc_id") is not None else {"doc_id": PurePath(record.where).name}
    return _without_events_as_arguments(_make(replace(record, value=value | name), Passage), record)


def _without_events_as_arguments(passage: Passage, record: Node) -> Passage:
    only = {event.id for event in passage.events} - {mention.id for mention in passage.entities}
    if not any(argument.entity in only for event in passage.events for argument in event.arguments):
        return passage
    events = []
    for at, event in enumerate(passage.events):
        for number, argument in enumerate(event.arguments):
            if argument.entity in only:
                record.note(f"{record.where}: $.events[{at}].arguments[{number}]: {EVENT_AS_ARGUMENT}")
        kept = tuple(argument for argument in event.arguments if argument.entity not in only)
        events.append(event.model_copy(update={"arguments": kept}))
    return passage.model_copy(update={"events": tuple(events)})


def _known(value: Any, model: type[BaseModel]) -> Any:
    """Return what a passage has of a result: the predicted roles without scores, margins and reasons."""
    if not isinstance(value, dict):
        return value
    kept = {key: held for key, held in value.items() if key in model.model_fields}
    return {
        key: [_known(item, _MODELS[key]) for item in held] if key in _MODELS and isinstance(held, list) else held
        for key, held in kept.items()
    }


def _make(node: Node, model: type[M]) -> M:
    """Make one object and stop at the first mistake: a list of all of them could be longer than memory."""
    values: dict[str, Any] = {}
    for key in node.object():
        if key not in model.model_fields:
            _passed_over(node, key, model)
            continue
        held = node.get(key)
        if held is not None:
            values[key] = _value(held, key)
    try:
        return model(**values)
    except ValidationError as error:
        raise _explain(error, node) from None


def _passed_over(node: Node, key: str, model: type[BaseModel]) -> None:
    """Say that a key is not used; raises FrostlineError if it reads like one that is missing, as a slip does."""
    value = node.object()
    close = [name for name in similar(key, model.model_fields) if value.get(name) is None]
    slip = next((name for name in close if SequenceMatcher(None, key.casefold(), name).ratio() >= SLIP), None)
    if slip is not None and isinstance(value[key], list) == (slip in _LISTS):
        rule = f"one of the keys {', '.join(model.model_fields)}"
        raise misread(
            node.where, f"{node.path}.{key}", f"the unknown key {brief(key)}", rule, f"Did you mean {slip!r}?"
        )
    node.tell(f"the key {brief(key)} is none of a {model.__name__.lower()} and was ignored")


def _value(node: Node, key: str) -> Any:
    if key in _MODELS:
        return tuple(_make(item, _MODELS[key]) for item in node.items())
    if key == "trigger":
        return _make(node, Trigger)
    if key in _SPANS:
        return tuple(_span(item) for item in node.items())
    if key == "head":
        return _span(node)
    if key in ("start", "end"):
        return node.integer()
    return node.identifier() if key in _IDS and not isinstance(node.value, str) else node.string()


def _span(node: Node) -> Span:
    ends = node.row(2, "[start, end]")
    if len(ends) > 2:
        raise node.fail("[start, end]")
    return ends[0].integer(), ends[1].integer()


def _explain(error: ValidationError, node: Node) -> FrostlineError:
    first = error.errors(include_url=False)[0]
    last = str(first["loc"][-1])
    path = f"{node.path}.{last}"
    if first["type"] == "missing":
        fix = "Say where the text expresses the event: no trigger, no event." if last == "trigger" else ""
        here = "null" if last in node.object() else "nothing"
        return misread(node.where, path, here, f"the key {last!r}", fix)
    rule = first["msg"].removeprefix("Input should be ")
    return misread(node.where, path, brief(first["input"]), rule[:1].lower() + rule[1:])


def _write(passage: Passage) -> dict[str, Any]:
    """Write what is set; empty lists and what is not known are left out, except the events."""
    found = passage.model_dump(mode="json", exclude_none=True)
    for event in found["events"]:
        if not event["arguments"]:
            del event["arguments"]
    return {key: value for key, value in found.items() if value != [] or key == "events"}


NATIVE = Form(
    keys=("text", "events"),
    offsets="characters, end-exclusive",
    keeps=frozenset(FEATURES),
    reader=_read,
    writer=_write,
)
