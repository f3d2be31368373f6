"""The native format: a Passage as JSON, characters, end-exclusive; results of prediction are read as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from backbones.core.errors import FrostlineError
from benchmarks.passages.formats.base import FEATURES, Form
from benchmarks.passages.nodes import Node, brief, misread, similar
from benchmarks.passages.types import Argument, Event, Mention, Passage, Span, Trigger, UserRule

_MODELS: Mapping[str, type[BaseModel]] = {
    "entities": Mention, "events": Event, "constraints": UserRule, "arguments": Argument,
}  # fmt: skip
_SPANS = ("tokens", "sentences")
_RESULT = ("scorer", "solver")

M = TypeVar("M", bound=BaseModel)


def _read(record: Node) -> Passage:
    value = record.object()
    if all(key in value for key in _RESULT):
        value = _known(value, Passage)
    name = {} if value.get("doc_id") is not None else {"doc_id": PurePath(record.where).name}
    return _make(replace(record, value=value | name), Passage)


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
            close = similar(key, model.model_fields)
            hint = f"Did you mean {close[0]!r}?" if close else "Take it out, or see the schema."
            rule = f"one of the keys {', '.join(model.model_fields)}"
            raise misread(node.where, f"{node.path}.{key}", f"the unknown key {brief(key)}", rule, hint)
        held = node.get(key)
        if held is not None:
            values[key] = _value(held, key)
    try:
        return model(**values)
    except ValidationError as error:
        raise _explain(error, node) from None


def _value(node: Node, key: str) -> Any:
    if key in _MODELS:
        return tuple(_make(item, _MODELS[key]) for item in node.items())
    if key == "trigger":
        return _make(node, Trigger)
    if key in _SPANS:
        return tuple(_span(item) for item in node.items())
    if key == "head":
        return _span(node)
    return node.integer() if key in ("start", "end") else node.string()


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
        return misread(node.where, path, "nothing", f"the key {last!r}", fix)
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
