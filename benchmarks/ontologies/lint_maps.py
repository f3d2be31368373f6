"""Lint of cross-event maps: patterns that match nothing, roles that nobody has, joins that cannot hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import product

from backbones.core.errors import nearest
from benchmarks.ontologies.types import Ontology, RoleMap

Fault = tuple[str, str, str]
"""Path, what is wrong, what to do."""


def map_faults(ontology: Ontology) -> Iterator[Fault]:
    """Yield what is wrong with the maps of ``ontology``."""
    for number, rule in enumerate(ontology.maps):
        matched = {"source": matches(ontology, rule.source), "target": matches(ontology, rule.target)}
        missing = [side for side, found in matched.items() if not found]
        for side in missing:
            pattern = getattr(rule, side)
            close = nearest(pattern, ontology.events, limit=1) or list(ontology.events)[:1]
            fix = f"write an event type or a pattern over them, such as {close[0]!r}" if close else "drop the map"
            yield f"maps[{number}].{side}", f"{pattern!r} matches no event type", fix
        if not missing:
            yield from _joins(ontology, rule, f"maps[{number}].roles", matched["source"], matched["target"])
    yield from _contradictions(ontology)


def matches(ontology: Ontology, pattern: str) -> list[str]:
    """Return the event types that a shell pattern matches; case matters."""
    return [event for event in ontology.events if fnmatchcase(event, pattern)]


def _joins(ontology: Ontology, rule: RoleMap, path: str, sources: list[str], targets: list[str]) -> Iterator[Fault]:
    for role, count in Counter(rule.roles.values()).items():
        if count > 1:
            several = " and ".join(a for a, b in rule.roles.items() if b == role)
            yield path, f"{several} are both {role}: read backwards, one thing has both roles", "keep one of them"
    for a, b in rule.roles.items():
        strange = [*_strange(ontology, a, rule.source, sources), *_strange(ontology, b, rule.target, targets)]
        yield from ((path, words, fix) for words, fix in strange)
        if not strange and not _fillable(ontology, a, sources, b, targets):
            words = f"{a} and {b} admit no entity type in common, so nothing can have both"
            yield path, words, "admit one type in both, or drop the pair"


def _strange(ontology: Ontology, role: str, pattern: str, events: list[str]) -> Iterator[tuple[str, str]]:
    known = sorted({name for event in events for name in ontology.events[event].roles})
    if role not in known:
        close = nearest(role, known, limit=1) or known[:1]
        fix = f"write a role that one of them has, such as {close[0]!r}" if close else "give one of them roles"
        yield f"no event type that {pattern!r} matches has a role {role!r}", fix


def _fillable(ontology: Ontology, a: str, sources: list[str], b: str, targets: list[str]) -> bool:
    """Whether some two of the event types have the roles ``a`` and ``b`` with an entity type in common."""
    here = [set(ontology.events[event].roles[a].types) for event in sources if a in ontology.events[event].roles]
    there = [set(ontology.events[event].roles[b].types) for event in targets if b in ontology.events[event].roles]
    return any(not one or not other or one & other for one in here for other in there)


def _contradictions(ontology: Ontology) -> Iterator[Fault]:
    """Yield maps that send one role to two roles of the same other event type."""
    sent: dict[tuple[str, str, str], tuple[str, int]] = {}
    told = set()
    for number, one, role, other, into in _sent(ontology):
        first, held = sent.setdefault((one, role, other), (into, number))
        if first != into and held != number and (held, number, role) not in told:
            told.add((held, number, role))
            words = f"{role} of {one} is {into} in {other}, but maps[{held}] makes it {first}"
            yield f"maps[{number}].roles", words, "narrow the pattern of one of them or drop the pair"


def _sent(ontology: Ontology) -> Iterator[tuple[int, str, str, str, str]]:
    """Yield (number of the map, event type, role, other event type, role there), both ways."""
    for number, rule in enumerate(ontology.maps):
        for source, target in product(matches(ontology, rule.source), matches(ontology, rule.target)):
            for a, b in rule.roles.items():
                if a in ontology.events[source].roles and b in ontology.events[target].roles:
                    yield number, source, a, target, b
                    yield number, target, b, source, a


__all__ = ["map_faults", "matches"]
