"""The native format: a Passage as JSON, characters, end-exclusive; results of prediction are read as well."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from benchmarks.passages.formats.base import FEATURES, Form
from benchmarks.passages.nodes import Node, brief, misread, similar
from benchmarks.passages.types import Argument, Event, Mention, Passage, Trigger, UserRule

_MODELS: Mapping[str, type[BaseModel]] = {"entities": Mention, "events": Event, "constraints": UserRule}
_RESULT = ("scorer", "solver")


def _read(record: Node) -> Passage:
    value = record.object()
    if all(key in value for key in _RESULT):
        value = _known(value, Passage)
    try:
        # The JSON door of pydantic is strict about types and takes arrays for tuples.
        return Passage.model_validate_json(json.dumps({"doc_id": record.where, **value}), strict=True)
    except ValidationError as error:
        raise _explain(error, record.where) from None


def _known(value: Any, model: type[BaseModel]) -> Any:
    """Return what a passage has of a result: the predicted roles without scores, margins and reasons."""
    if not isinstance(value, dict):
        return value
    inner: dict[str, type[BaseModel]] = {"arguments": Argument, **_MODELS}
    kept = {key: held for key, held in value.items() if key in model.model_fields}
    return {
        key: [_known(item, inner[key]) for item in held] if key in inner and isinstance(held, list) else held
        for key, held in kept.items()
    }


def _explain(error: ValidationError, where: str) -> Exception:
    first = error.errors(include_url=False)[0]
    loc = first["loc"]
    path = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    kind, last = first["type"], str(loc[-1]) if loc else ""
    others = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if kind == "extra_forbidden":
        names = list(_model_at(loc).model_fields)
        close = similar(last, names)
        hint = f"Did you mean {close[0]!r}?" if close else "Take it out, or see the schema."
        return misread(
            where, path, f"the unknown key {brief(last)}", f"one of the keys {', '.join(names)}", hint + others
        )
    if kind == "missing":
        trigger = last == "trigger"
        fix = "Say where the text expresses the event: no trigger, no event." if trigger else ""
        return misread(where, path, "nothing", f"the key {last!r}", (fix + others).strip())
    rule = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return misread(where, path, brief(first["input"]), rule[:1].lower() + rule[1:], others.strip())


def _model_at(loc: tuple[int | str, ...]) -> type[BaseModel]:
    names = [part for part in loc[:-1] if isinstance(part, str)]
    table: dict[str, type[BaseModel]] = {"arguments": Argument, "trigger": Trigger, **_MODELS}
    return table.get(names[-1], Passage) if names else Passage


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
