"""Ontologies: event types, their roles, the entity types that may fill them and the rules that tie them together."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from backbones.core.errors import unknown
from backbones.core.settings import Settings

Weight = float | Literal["hard"]
"""Price of breaking a rule once, in nats: log-odds that it holds. ``"hard"``: never broken. 0: switched off."""


class Words(Settings):
    """How a thing is said.

    Args:
        name: a few words in the ontology's language, such as ``"attacker"``; None: made from the key.
        description: one sentence that says what it is, such as ``"the one who attacks"``.
        names: language code -> name; descriptions: language code -> description.
    """

    name: str | None = None
    description: str | None = None
    names: dict[str, str] = Field(default_factory=dict)
    descriptions: dict[str, str] = Field(default_factory=dict)


class EntityType(Words):
    """A kind of thing; ``aliases`` are other spellings that data sets use, compared without regard to case."""

    aliases: tuple[str, ...] = ()


class Role(Words):
    """A role of one event type.

    Args:
        types: entity types that may fill it; empty: any.
        min: least number of things (coreference clusters) that fill it; max: greatest number, None for any.
        time: whether it is filled by expressions of time.
    """

    types: tuple[str, ...] = ()
    min: int = Field(default=0, ge=0)
    max: int | None = Field(default=None, ge=1)
    time: bool = False


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
    language: str = "en"
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

    def entity_type(self, name: str) -> str | None:
        """Return the key of the entity type that ``name`` spells (a key or an alias, in any case), None if none."""
        return self._spellings().get(name.casefold())

    def _spellings(self) -> dict[str, str]:
        table = {alias.casefold(): key for key, kind in self.entity_types.items() for alias in kind.aliases}
        return table | {key.casefold(): key for key in self.entity_types}

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for event, kind in self.events.items():
            for role, spec in kind.roles.items():
                for entity in spec.types:
                    if entity not in self.entity_types:
                        raise ValueError(str(unknown(f"entity type of {event}.{role}", entity, self.entity_types)))
                if spec.max is not None and spec.max < spec.min:
                    raise ValueError(f"{event}.{role}: max {spec.max} is less than min {spec.min}")
            for pair in (*kind.exclusions, *kind.implies):
                for role in pair:
                    if role not in kind.roles:
                        raise ValueError(str(unknown(f"role of {event}", role, kind.roles)))
        return self


def verbal(key: str) -> str:
    """Return a key as words: last part, lower case, hyphens, underscores and capitals become spaces."""
    last = key.replace(":", ".").rpartition(".")[2]
    letters: list[str] = []
    for before, letter in zip(" " + last, last, strict=False):
        if letter.isupper() and before.islower():
            letters.append(" ")
        letters.append(" " if letter in "-_" else letter.lower())
    return "".join(letters).strip()


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
