"""What ontology files may leave out: roles that are said once for all event types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backbones.core.errors import FrostlineError, nearest, unknown
from benchmarks.ontologies.types import Role, verbal

_PLACE = "{event}"


def expand(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the table of an ontology with the glossary worked into its event types.

    A file may have a table ``roles``: key -> what is true of this role in every event type that has it. An event type
    then lists its roles (``roles = ["Agent", "Place"]``) or gives a table of what differs from the glossary.
    ``{event}`` in a glossary's description is the name of the event type.

    Args:
        values: table as it stands in the file; where: the file, for messages.

    Raises:
        FrostlineError: a listed role is not in the glossary, or is listed twice; no event type has a role of the
            glossary; a role of the glossary is not written as roles are.
    """
    table = dict(values)
    glossary = table.pop("roles", {})
    events = table.get("events")
    if not isinstance(glossary, Mapping) or not isinstance(events, Mapping):
        given = {"roles": glossary, "events": events}
        wrong = next(key for key, value in given.items() if not isinstance(value, Mapping))
        raise FrostlineError(f"{where}: {wrong} = {given[wrong]!r} is a {type(given[wrong]).__name__}; write a table.")
    for role, shared in glossary.items():
        if isinstance(shared, Mapping):  # once here rather than once for each event type
            Role.parse(shared, f"{where}, roles.{role}")
    table["events"] = {key: _event(key, event, glossary, where) for key, event in events.items()}
    _all_used(glossary, table["events"], where)
    return table


def _all_used(glossary: Mapping[str, Any], events: Mapping[str, Any], where: str) -> None:
    tables = [event["roles"] for event in events.values() if isinstance(event, Mapping) and "roles" in event]
    held = {role for table in tables if isinstance(table, Mapping) for role in table}
    for role in glossary:
        if role not in held:
            close = nearest(role, held, limit=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise FrostlineError(f"{where}: roles.{role}: no event type has this role.{hint} Add or drop it.")


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
