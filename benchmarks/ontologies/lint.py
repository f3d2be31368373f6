"""Lint: what is legal in an ontology and still wrong, with a way to mend it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from benchmarks.ontologies.lint_maps import map_faults
from benchmarks.ontologies.types import EntityType, EventType, Ontology, Role, Words, say


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Args:
        severity: ``error``: a rule can never hold or two things cannot be told apart; ``warning``: scores suffer.
        path: where it stands, written as a TOML key; words: what is wrong; fix: what to do.
    """

    severity: Literal["error", "warning"]
    path: str
    words: str
    fix: str


def lint(ontology: Ontology) -> tuple[Finding, ...]:
    """Return what is wrong with ``ontology``, errors first, in the order of the file."""
    found = [finding for check in _CHECKS for finding in check(ontology)]
    return tuple(sorted(found, key=lambda finding: finding.severity != "error"))


_BARE = re.compile(r"[A-Za-z0-9_-]+")


def key_path(*parts: str) -> str:
    """Return a dotted key; parts that TOML would quote are quoted."""
    return ".".join(part if _BARE.fullmatch(part) else f'"{part}"' for part in parts)


def _roles(ontology: Ontology) -> Iterator[tuple[str, str, Role]]:
    for event, kind in ontology.events.items():
        for role, spec in kind.roles.items():
            yield key_path("events", event, "roles", role), role, spec


def _everything(ontology: Ontology) -> Iterator[tuple[str, str, Words]]:
    for entity, kind in ontology.entity_types.items():
        yield key_path("entity_types", entity), "entity type", kind
    for event, spec in ontology.events.items():
        yield key_path("events", event), "event type", spec
    for path, _, role in _roles(ontology):
        yield path, "role", role


def _unsourced(ontology: Ontology) -> Iterator[Finding]:
    if not (ontology.source or "").strip():
        yield Finding("warning", "source", "nobody can tell where the types and roles come from",
                      "name the paper, the guidelines or yourself in source")  # fmt: skip


def _unsaid(ontology: Ontology) -> Iterator[Finding]:
    fixes = {"name": "write a name in plain words", "description": "write a description of one sentence"}
    for path, kind, words in _everything(ontology):
        for field, value in (("name", words.name), ("description", words.description)):
            if not (value or "").strip():
                yield Finding("warning", path, f"the {kind} has no {field}; scorers read it", fixes[field])


def _eventless(ontology: Ontology) -> Iterator[Finding]:
    if not ontology.events:
        yield Finding("error", "events", "there is no event type", "add a table [events.NAME]")
    for event, kind in ontology.events.items():
        if not kind.roles:
            yield Finding("warning", key_path("events", event), "the event type has no roles",
                          "add a table of roles or drop the event type")  # fmt: skip


def _hypotheses(ontology: Ontology) -> Iterator[Finding]:
    for event, kind in ontology.events.items():
        missing = [name for name in ("{role}", "{span}") if kind.hypothesis is not None and name not in kind.hypothesis]
        if missing:
            yield Finding("error", key_path("events", event, "hypothesis"),
                          f"it says the same of every role or span: {' and '.join(missing)} is not in it",
                          "write {role} and {span} where the role's name and the span belong")  # fmt: skip


def _languages(ontology: Ontology) -> list[str]:
    held = {language for _, _, words in _everything(ontology) for language in words.names}
    return [ontology.language, *sorted(held - {ontology.language})]


def _tables(ontology: Ontology) -> Iterator[tuple[str, str, Mapping[str, EntityType | Role]]]:
    for event, kind in ontology.events.items():
        yield key_path("events", event, "roles"), "roles", kind.roles
    yield "entity_types", "entity types", ontology.entity_types


def _read_alike(ontology: Ontology) -> Iterator[Finding]:
    for path, kind, table in _tables(ontology):
        for language in _languages(ontology):
            names = {key: say(spec, key, language) for key, spec in table.items()}
            for a, b in _same(names):
                words = f"the {kind} {a} and {b} are both {names[a]!r} in {language!r}: scorers cannot tell them apart"
                yield Finding("error", path, words, "give one of them another name")
        for a, b in _same({key: spec.description or "" for key, spec in table.items()}):
            words = f"the {kind} {a} and {b} have the same description"
            yield Finding("warning", path, words, "say what sets them apart")


def _same(words: Mapping[str, str]) -> list[tuple[str, str]]:
    read = {key: " ".join(value.casefold().split()) for key, value in words.items()}
    return [(a, b) for a, b in combinations(read, 2) if read[a] and read[a] == read[b]]


def _claimed(ontology: Ontology) -> Iterator[Finding]:
    for path, _, table in _tables(ontology):
        holders: dict[str, str] = {}
        for key in table:
            if holders.setdefault(key.casefold(), key) != key:
                words = f"{holders[key.casefold()]} and {key} differ in capital letters alone, which data sets mix up"
                yield Finding("error", path, words, "rename one of them")
        for key, spec in table.items():
            for alias in spec.aliases:
                holder = holders.setdefault(alias.casefold(), key)
                if holder != key:
                    where = f"{path}.{key_path(key)}.aliases"
                    yield Finding(
                        "error", where, f"{alias!r} is claimed by {holder} as well", "leave it to one of them"
                    )


def _unused(ontology: Ontology) -> Iterator[Finding]:
    used = {name for _, _, role in _roles(ontology) for name in role.types}
    if any(not role.types for _, _, role in _roles(ontology)):
        return  # a role that admits any type uses them all
    for entity in ontology.entity_types:
        if entity not in used:
            yield Finding("warning", key_path("entity_types", entity), "no role admits this entity type",
                          "let a role admit it, or keep it for mentions that take part in nothing")  # fmt: skip


def _timeless(ontology: Ontology) -> Iterator[Finding]:
    times = set(ontology.time_types)
    for path, _, role in _roles(ontology):
        kinds = set(role.types)
        if not kinds or not times:
            continue
        if role.time and not kinds & times:
            words = "the role is unreachable: expressions of time fill it, and it admits none of time_types"
            fix = f"admit {' or '.join(ontology.time_types)}, or drop time = true"
            yield Finding("error", f"{path}.types", words, fix)
        if not role.time and kinds <= times:
            words = "the role is unreachable: it admits expressions of time alone, and those fill roles of time"
            yield Finding("error", f"{path}.time", words, "set time = true")


def _contradictions(ontology: Ontology) -> Iterator[Finding]:
    for event, kind in ontology.events.items():
        path = key_path("events", event)
        for role in kind.roles:
            clash = _clash(kind, role)
            if clash is None:
                continue
            a, b, follows = clash
            must = kind.roles[role].min > 0
            why = f"{a} and {b} exclude each other" + (", and " + follows if follows else "")
            words = f"{role} can never be filled: {why}"
            words += f"; yet {role} has min {kind.roles[role].min}" if must else ""
            fix = "drop the exclusion, or the min or the pair of implies that runs into it"
            yield Finding("error", f"{path}.exclusions", words, fix)


def _clash(kind: EventType, role: str) -> tuple[str, str, str] | None:
    """Return two roles that exclude each other and must both be filled if ``role`` is, and why; None if none."""
    must: dict[str, str] = {role: ""}
    must |= {name: f"{name} has min {spec.min}" for name, spec in kind.roles.items() if spec.min > 0 and name != role}
    queue = list(must)
    for name in queue:
        for a, b in kind.implies:
            if a == name and b not in must:
                must[b] = f"{a} implies {b}"
                queue.append(b)
    for a, b in kind.exclusions:
        # what clashes without the role is told of the roles that clash
        if a in must and b in must and (role in (a, b) or any(must[end].startswith(f"{role} ") for end in (a, b))):
            return a, b, " and ".join(filter(None, (must[a], must[b])))
    return None


def _maps(ontology: Ontology) -> Iterator[Finding]:
    return (Finding("error", path, words, fix) for path, words, fix in map_faults(ontology))


_CHECKS: tuple[Callable[[Ontology], Iterator[Finding]], ...] = (
    _eventless, _contradictions, _timeless, _maps, _claimed, _read_alike, _hypotheses, _unsourced, _unsaid, _unused,
)  # fmt: skip

__all__ = ["Finding", "key_path", "lint"]
