"""What a passage format is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.passages.nodes import Node, Note, unheard
from benchmarks.passages.types import Passage


class PassageFormat(Protocol):
    """A way to write a passage as one JSON object; guests register one under the group ``benchmarks.passages``.

    ``keys`` are the keys that a record of the format has, for detection: a path such as ``"events"`` or
    ``"events[].trigger"``, where ``[]`` stands for every element, and ``"a|b"`` for either. Of the formats whose keys
    are all there, the one with most keys reads the record.
    """

    @property
    def keys(self) -> tuple[str, ...]: ...

    @property
    def offsets(self) -> str:
        """What spans count, in a few words."""
        ...

    def read(self, record: Mapping[str, Any], where: str, note: Note = unheard) -> Passage:
        """Read a record.

        Args:
            record: the decoded JSON object; where: file and record, for messages; note: told what was mended.

        Raises:
            FrostlineError: names the JSON path of what is wrong.
        """
        ...

    def write(self, passage: Passage) -> dict[str, Any]:
        """Write a passage as a record; raises FrostlineError if the format cannot hold it."""
        ...

    @property
    def keeps(self) -> frozenset[str]:
        """What of a passage besides text, triggers and arguments it holds; see ``losses``."""
        ...


@dataclass(frozen=True)
class Form:
    """A PassageFormat made of two functions."""

    keys: tuple[str, ...]
    offsets: str
    keeps: frozenset[str]
    reader: Callable[[Node], Passage]
    writer: Callable[[Passage], dict[str, Any]]

    def read(self, record: Mapping[str, Any], where: str, note: Note = unheard) -> Passage:
        """Read a record, see PassageFormat."""
        return self.reader(Node(record, where, note=note))

    def write(self, passage: Passage) -> dict[str, Any]:
        """Write a passage, see PassageFormat."""
        return self.writer(passage)


@dataclass(frozen=True)
class Import:
    """A format of records that is read and not written; ``keys`` and ``offsets`` as in PassageFormat."""

    keys: tuple[str, ...]
    offsets: str
    reader: Callable[[Node], Passage]

    def read(self, record: Mapping[str, Any], where: str, note: Note = unheard) -> Passage:
        """Read a record, see PassageFormat."""
        return self.reader(Node(record, where, note=note))


FEATURES: Mapping[str, str] = {
    "candidates": "what is given a role",
    "constraints": "the user's own rules",
    "coref": "coreference of mentions",
    "event coref": "coreference of events",
    "heads": "syntactic heads",
    "mentions": "mentions that are no argument",
    "ontology": "the name of the ontology",
    "raw text": "white space as it was",
    "types": "entity types",
}


@dataclass(frozen=True)
class Lost:
    """Something of a passage that a format has no place for."""

    feature: str
    words: str


def losses(passage: Passage, form: PassageFormat) -> tuple[Lost, ...]:
    """Say what of ``passage`` would be lost if it were written as ``form``."""
    used = {argument.entity for event in passage.events for argument in event.arguments}
    has = {
        "candidates": any(event.candidates is not None for event in passage.events),
        "constraints": bool(passage.constraints),
        "coref": any(mention.coref is not None for mention in passage.entities),
        "event coref": any(event.coref is not None for event in passage.events),
        "heads": any(mention.head is not None for mention in passage.entities),
        "mentions": any(mention.id not in used for mention in passage.entities),
        "ontology": passage.ontology is not None,
        "raw text": "raw text" not in form.keeps,
        "types": any(mention.type is not None for mention in passage.entities),
    }
    return tuple(Lost(name, FEATURES[name]) for name in FEATURES if has[name] and name not in form.keeps)
