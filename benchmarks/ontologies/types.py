"""Ontologies: event types, their roles, the entity types that may fill them and the rules that tie them together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from backbones.core.errors import unknown
from backbones.core.settings import Settings
from benchmarks.languages import main

Weight = Annotated[float, Field(ge=0)] | Literal["hard"]
"""Price of breaking a rule once, in nats: log-odds that it holds. ``"hard"``: never broken. 0: switched off."""


class Words(Settings):
    """How a thing is said.

    Args:
        name: a few words in the ontology's language, such as ``"attacker"``; None: made from the key.
        description: one sentence that says what it is, such as ``"the one who attacks"``.
        names: language -> name; descriptions: language -> description; a language is read as in a passage.
    """

    name: str | None = None
    description: str | None = None
    names: dict[str, str] = Field(default_factory=dict)
    descriptions: dict[str, str] = Field(default_factory=dict)

    @field_validator("names", "descriptions")
    @classmethod
    def _languages(cls, value: dict[str, str]) -> dict[str, str]:
        return {main(language): words for language, words in value.items()}


class EntityType(Words):
    """A kind of thing; ``aliases`` are other spellings that data sets use, compared without regard to case."""

    aliases: tuple[str, ...] = ()


class Role(Words):
    """A role of one event type.

    Args:
        types: entity types that may fill it; empty: any.
        min: least number of things (coreference clusters) that fill it; max: greatest number, None for any.
        time: whether it is filled by expressions of time.
        aliases: other spellings that data sets use, compared without regard to case.
    """

    types: tuple[str, ...] = ()
    min: int = Field(default=0, ge=0)
    max: int | None = Field(default=None, ge=1)
    time: bool = False
    aliases: tuple[str, ...] = ()


class EventType(Words):
    """An event type.

    Args:
        roles: key -> role, in the order in which they are listed to users.
        keywords: words that often express it.
        exclusions: pairs of roles of which at most one is filled.
        implies: pairs (a, b): if a is filled, b is filled.
        hypothesis: own sentence for scorers, with ``{role}`` and ``{span}``; None for the scorer's.
    """

    roles: dict[str, Role]
    keywords: tuple[str, ...] = ()
    exclusions: tuple[tuple[str, str], ...] = ()
    implies: tuple[tuple[str, str], ...] = ()
    hypothesis: str | None = None

    def role(self, name: str) -> str | None:
        """Return the key of the role that ``name`` spells (a key or an alias, in any case), None if none."""
        return name if name in self.roles else self._spellings.get(name.casefold())

    @cached_property
    def _spellings(self) -> dict[str, str]:
        return _spellings(self.roles)


class RoleMap(Settings):
    """A cross-event rule: a mention with role ``a`` in an event of type ``source`` has ``roles[a]`` in the other.

    Args:
        source, target: event types or shell patterns over them, such as ``"Conflict.Attack.*"``.
        roles: role of the source -> role of the target; read both ways.
        weight: price of breaking it for one mention; None for the ontology's ``weights.maps``.
        why: where the rule comes from.
    """

    source: str
    target: str
    roles: dict[str, str]
    weight: Weight | None = None
    why: str | None = None


class Weights(Settings):
    """Price of breaking a rule of each kind once (see Weight), for the constraints that carry these names."""

    types: Weight = 3.0
    multiplicity: Weight = 1.0
    exclusion: Weight = 2.0
    overlap: Weight = 3.0
    cooccurrence: Weight = 1.0
    maps: Weight = 2.5
    coreference: Weight = 2.5
    time: Weight = 2.0


class Ontology(Settings):
    """Everything that is known of a domain before any text is read.

    Args:
        name: short name, such as ``"ace"``; title: full name; source: where types and roles come from; license.
        language: ISO 639-1 code of names and descriptions.
        entity_types: key -> entity type; events: key -> event type; maps: cross-event rules.
        time_types: entity types that are expressions of time.
        weights: default prices.
    """

    name: str
    title: str | None = None
    source: str | None = None
    license: str | None = None
    language: Annotated[str, AfterValidator(main)] = "en"
    entity_types: dict[str, EntityType] = Field(default_factory=dict)
    events: dict[str, EventType]
    maps: tuple[RoleMap, ...] = ()
    time_types: tuple[str, ...] = ()
    weights: Weights = Weights()

    def event(self, name: str) -> EventType:
        """Return an event type; raises FrostlineError with the nearest names if the ontology has no such type."""
        found = self.events.get(name)
        if found is None:
            raise unknown(f"event type (ontology {self.name!r})", name, self.events)
        return found

    def event_type(self, name: str) -> str | None:
        """Return the key of the event type that ``name`` spells, None if none.

        Case does not matter, nor whether parts are divided by ``:``, ``.`` or ``_``, nor a last part that says that
        nothing is specified: ``Conflict_Attack`` and ``conflict.attack.n/a`` are ``Conflict:Attack``.
        """
        return name if name in self.events else self._event_spellings.get(_plain(name))

    def entity_type(self, name: str) -> str | None:
        """Return the key of the entity type that ``name`` spells (a key or an alias, in any case), None if none."""
        return self._type_spellings.get(name.casefold())

    @cached_property
    def _type_spellings(self) -> dict[str, str]:
        return _spellings(self.entity_types)

    @cached_property
    def _event_spellings(self) -> dict[str, str]:
        return {_plain(key): key for key in reversed(self.events)}  # of two that read the same the first wins

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        wrong = [fault for event, kind in self.events.items() for fault in self._faults(event, kind)]
        wrong += [str(unknown("entity type in time_types", name, self.entity_types)) for name in self.time_types
                  if name not in self.entity_types]  # fmt: skip
        if wrong:
            more = f" (and {len(wrong) - _SHOWN} more)" if len(wrong) > _SHOWN else ""
            raise ValueError("; ".join(wrong[:_SHOWN]) + more)
        return self

    def _faults(self, event: str, kind: EventType) -> list[str]:
        faults = []
        for role, spec in kind.roles.items():
            where = f"events.{event}.roles.{role}"
            unheard = [name for name in spec.types if name not in self.entity_types]
            faults += [str(unknown(f"entity type in {where}.types", name, self.entity_types)) for name in unheard]
            if spec.max is not None and spec.max < spec.min:
                faults.append(f"{where}: max {spec.max} is less than min {spec.min}; raise max or lower min.")
        for rule, pairs in (("exclusions", kind.exclusions), ("implies", kind.implies)):
            strange = [role for pair in pairs for role in pair if role not in kind.roles]
            faults += [str(unknown(f"role in events.{event}.{rule}", role, kind.roles)) for role in strange]
            for a, b in pairs:
                if a == b:
                    faults.append(f"events.{event}.{rule}: the pair ({a}, {b}) names one role twice; name two roles.")
        return faults


_SHOWN = 5
_UNSAID = ("unspecified", "n/a", "na")


def _spellings(table: Mapping[str, EntityType] | Mapping[str, Role]) -> dict[str, str]:
    aliases = {alias.casefold(): key for key, spec in table.items() for alias in spec.aliases}
    return aliases | {key.casefold(): key for key in table}


def _parts(key: str) -> list[str]:
    """Return the parts of a key; a last part that says that nothing is specified is dropped."""
    parts = [part for part in key.replace(":", ".").split(".") if part] or [key]
    return parts[:-1] if len(parts) > 1 and parts[-1].casefold() in _UNSAID else parts


def _plain(key: str) -> str:
    return ".".join(_parts(key)).casefold().replace("_", ".")


def verbal(key: str) -> str:
    """Return a key as words: last part that says something, lower case; hyphens, capitals and the like are spaces."""
    last = _parts(key)[-1]
    letters: list[str] = []
    for before, letter, after in zip(" " + last, last, last[1:] + " ", strict=False):
        starts = letter.isupper() and (before.islower() or (before.isupper() and after.islower()))
        letters.append((" " if starts else "") + (" " if letter in "-_/" else letter.lower()))
    return " ".join("".join(letters).split()) or key


def say(words: Words, key: str, language: str) -> str:
    """Return the name of ``words`` in ``language``: its own, else the plain name, else one made from ``key``."""
    return words.names.get(language) or words.name or verbal(key)


def describe(words: Words, language: str) -> str | None:
    """Return the description of ``words`` in ``language``, else the plain one, None if there is none."""
    return words.descriptions.get(language) or words.description


__all__ = [
    "EntityType", "EventType", "Ontology", "Role", "RoleMap", "Weight", "Weights", "Words",
    "describe", "say", "verbal",
]  # fmt: skip
