"""JSON shapes of ontologies that data sets come with, as tables of our own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from backbones.core.errors import FrostlineError
from benchmarks.ontologies.types import Ontology, verbal

Table = Mapping[str, Any]
Known = Callable[[str], Ontology]
"""Returns a shipped ontology by name."""
Convert = Callable[[Table, str, Known], dict[str, Any]]
"""Makes a foreign table one of ours: the table, the ontology's name, where to look up what is known."""

_SENTENCE = re.compile(r"(?<=[a-z0-9\"')\]][.!?])\s+(?=[A-Z\"(])")
_ARGUMENT = re.compile(r"<arg(\d+)>")


def is_kairos(values: Table) -> bool:
    """Whether each value is an event type with a list of roles (WikiEvents' event_role_KAIROS.json)."""
    return bool(values) and all(
        isinstance(item, dict) and isinstance(item.get("roles"), list) for item in values.values()
    )


def from_kairos(values: Table, name: str, known: Known) -> dict[str, Any]:
    """Return the table of an ontology in the KAIROS shape (Li et al. 2021).

    Roles listed twice are one role that takes the entity types of both; templates become descriptions of events.
    Entity types that the shipped KAIROS ontology knows take their names and descriptions from it.

    Raises:
        FrostlineError: ``role_types`` is not as long as ``roles``, or something in them is not a word.
    """
    shipped = known("kairos")
    first: dict[str, str] = {}  # spellings of one entity type ("sid", "side") are the one that comes first
    types: dict[str, dict[str, Any]] = {}
    events = {}
    for key, item in values.items():
        roles: dict[str, dict[str, Any]] = {}
        listed, admitted = item["roles"], item.get("role_types")
        admitted = [[] for _ in listed] if admitted is None else admitted
        _check(key, listed, admitted)
        for role, spelled in zip(listed, admitted, strict=True):
            kinds = [first.setdefault(shipped.entity_type(kind) or kind, kind) for kind in spelled]
            spec = roles.setdefault(role, {"types": [], "time": _is_time(role)})
            spec["types"] += [kind for kind in kinds if kind not in spec["types"]]
            for kind in kinds:
                types.setdefault(kind, _entity_type(kind, shipped))
        events[key] = {"roles": roles, "keywords": _words(item.get("keywords")), **_described(item, listed)}
    return {"name": name, "source": "a file in the KAIROS shape", "entity_types": types, "events": events}


def _check(key: str, roles: list[Any], admitted: Any) -> None:
    fine = isinstance(admitted, list) and all(
        isinstance(kinds, list) and all(isinstance(kind, str) for kind in kinds) for kinds in admitted
    )
    if not fine or len(admitted) != len(roles):
        found = f"{len(admitted)} lists" if fine else repr(admitted)[:80]
        raise FrostlineError(f"{key}.role_types: found {found}; expected one list of entity types for each of "
                             f"{len(roles)} roles.")  # fmt: skip
    for role in roles:
        if not isinstance(role, str) or not role:
            raise FrostlineError(f"{key}.roles: {role!r} is not the name of a role; write a word.")


def _entity_type(kind: str, shipped: Ontology) -> dict[str, Any]:
    same = shipped.entity_type(kind)
    if same is None:
        return {}
    spec = shipped.entity_types[same]
    return {"name": spec.name, "description": spec.description}


def _words(found: Any) -> list[str]:
    return [word for word in found if isinstance(word, str)] if isinstance(found, list) else []


def _described(item: Table, roles: list[str]) -> dict[str, str]:
    template = item.get("template")
    if not isinstance(template, str):
        return {}

    def fill(match: re.Match[str]) -> str:
        number = int(match[1]) - 1
        return verbal(roles[number]) if 0 <= number < len(roles) else match[0]

    return {"description": _ARGUMENT.sub(fill, template)}


def is_geneva(values: Table) -> bool:
    """Whether each value is an event type with a table of arguments (GENEVA's ontology file)."""
    return bool(values) and all(
        isinstance(item, dict)
        and isinstance(item.get("arguments"), dict)
        and all(isinstance(argument, dict) for argument in item["arguments"].values())
        for item in values.values()
    )


def from_geneva(values: Table, name: str, known: Known) -> dict[str, Any]:
    """Return the table of an ontology in the GENEVA shape (Parekh et al. 2023): no entity types, described roles.

    Of each description the first sentence is kept: scorers read one sentence.
    """
    events = {}
    for key, item in values.items():
        roles = {
            str(argument.get("arg_name") or role): {
                "description": _first(argument.get("arg_desc")),
                "time": _is_time(str(argument.get("arg_name") or role)),
            }
            for role, argument in item["arguments"].items()
        }
        events[key] = {"description": _first(item.get("description")), "roles": roles}
    return {"name": name, "source": "a file in the GENEVA shape", "events": events}


def _first(text: Any) -> str | None:
    if not isinstance(text, str) or not text.strip():
        return None
    return _SENTENCE.split(" ".join(text.split()), maxsplit=1)[0]


def _is_time(role: str) -> bool:
    return "time" in verbal(role).split()


FOREIGN: tuple[tuple[Callable[[Table], bool], Convert], ...] = ((is_kairos, from_kairos), (is_geneva, from_geneva))
"""(does the table have this shape, make it a table of ours), in the order in which they are tried."""

__all__ = ["FOREIGN", "Convert", "from_geneva", "from_kairos", "is_geneva", "is_kairos"]
