"""What ontology files may leave out: roles that are said once for all event types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backbones.core.errors import FrostlineError, unknown
from benchmarks.ontologies.types import verbal

_PLACE = "{event}"


def expand(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the table of an ontology with the glossary worked into its event types.

    A file may have a table ``roles``: key -> what is true of this role in every event type that has it. An event type
    then lists its roles (``roles = ["Agent", "Place"]``) or gives a table of what differs from the glossary.
    ``{event}`` in a glossary's description is the name of the event type.

    Args:
        values: table as it stands in the file; where: the file, for messages.

    Raises:
        FrostlineError: a listed role is not in the glossary, or is listed twice.
    """
    table = dict(values)
    glossary = table.pop("roles", {})
    events = table.get("events")
    if not isinstance(glossary, Mapping) or not isinstance(events, Mapping):
        given = {"roles": glossary, "events": events}
        wrong = next(key for key, value in given.items() if not isinstance(value, Mapping))
        raise FrostlineError(f"{where}: {wrong} = {given[wrong]!r} is a {type(given[wrong]).__name__}; write a table.")
    table["events"] = {key: _event(key, event, glossary, where) for key, event in events.items()}
    return table


def _event(key: str, event: Any, glossary: Mapping[str, Any], where: str) -> Any:
    if not isinstance(event, Mapping) or "roles" not in event:
        return event
    roles = event["roles"]
    if isinstance(roles, list):
        roles = _listed(key, roles, glossary, where)
    if not isinstance(roles, Mapping):
        return event
    name = str(event.get("name") or verbal(key))
    return {**event, "roles": {role: _role(own, glossary.get(role), name) for role, own in roles.items()}}


def _listed(key: str, roles: list[Any], glossary: Mapping[str, Any], where: str) -> dict[str, Any]:
    for role in roles:
        if not isinstance(role, str) or role not in glossary:
            raise FrostlineError(f"{where}: events.{key}.roles: {unknown('role of the glossary', str(role), glossary)}")
        if roles.count(role) > 1:
            raise FrostlineError(f"{where}: events.{key}.roles: {role!r} is listed twice; keep one and raise its max.")
    return {role: {} for role in roles}


def _role(own: Any, shared: Any, event: str) -> Any:
    if not isinstance(own, Mapping) or not isinstance(shared, Mapping):
        return own
    merged = {**shared, **own}
    if "description" in shared and "description" not in own:
        merged["description"] = str(shared["description"]).replace(_PLACE, event)
    return merged


__all__ = ["expand"]
