"""The decoding problem: which pairs of event and mention take which role, and which entity type a mention has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from benchmarks.ontologies import Ontology
from benchmarks.passages import Event, Mention, Passage

NONE = None
"""The role of a mention that takes no part in an event."""


@dataclass(frozen=True)
class Pair:
    """A cell: the mention ``mention`` (an index) may take a role in the event ``event`` (an index)."""

    event: int
    mention: int
    none: bool  # whether it may have no role


@dataclass(frozen=True)
class Column:
    """One binary variable: ``pair`` has the role ``role``, or the mention ``mention`` the entity type ``type``."""

    pair: int | None
    role: str | None
    mention: int | None
    type: str | None


@dataclass(frozen=True)
class Problem:
    """What is to be decided about one passage; columns are numbered pairs first, then mentions.

    Of each pair exactly one role column is 1 (NONE has one where ``none`` allows it); of each mention that has entity
    types exactly one type column is 1. Every other rule is a constraint's.

    Args:
        passage: the text with its events; user rules are in it.
        ontology: roles, types and rules.
        mentions: what may be an argument, in the order of the text.
        pairs: cells, ordered by event and then by mention.
        types: for each mention the entity types it may have (keys of the ontology): one if it is given, all if it is
            not known, none if the ontology has no entity types.
    """

    passage: Passage
    ontology: Ontology
    mentions: tuple[Mention, ...]
    pairs: tuple[Pair, ...]
    types: tuple[tuple[str, ...], ...]

    @property
    def events(self) -> tuple[Event, ...]:
        return self.passage.events

    def roles(self, pair: int) -> tuple[str | None, ...]:
        """Roles that the pair may have, NONE last where it is allowed."""
        cell = self.pairs[pair]
        return self._roles_of_event[cell.event][cell.none]

    @cached_property
    def _roles_of_event(self) -> tuple[tuple[tuple[str | None, ...], tuple[str | None, ...]], ...]:
        """For each event its roles without NONE and with it."""
        names = [tuple(self.ontology.event(event.type).roles) for event in self.events]
        return tuple((roles, (*roles, NONE)) for roles in names)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """All variables in the order of the score vector."""
        roles = [Column(pair, role, None, None) for pair in range(len(self.pairs)) for role in self.roles(pair)]
        types = [Column(None, None, index, kind) for index, kinds in enumerate(self.types) for kind in kinds]
        return (*roles, *types)

    @cached_property
    def size(self) -> int:
        """Number of columns."""
        return int(self._starts[0][-1] + self._starts[1][-1])

    @cached_property
    def _starts(self) -> tuple[list[int], list[int]]:
        """First role column of each pair and first type column of each mention, less all role columns; then the end."""
        pairs = [0, *accumulate(len(self.roles(pair)) for pair in range(len(self.pairs)))]
        return pairs, [0, *accumulate(map(len, self.types))]

    @cached_property
    def _places(self) -> tuple[dict[str | None, int], ...]:
        """For each event the place of each role among its columns."""
        return tuple({role: place for place, role in enumerate(both[True])} for both in self._roles_of_event)

    def x(self, pair: int, role: str | None) -> int:
        """Return the number of the column "``pair`` has ``role``"; raises KeyError if there is none."""
        cell = self.pairs[pair]
        if role is NONE and not cell.none:
            raise KeyError(role)
        return self._starts[0][pair] + self._places[cell.event][role]

    def y(self, mention: int, kind: str) -> int:
        """Return the number of the column "``mention`` is a ``kind``"; raises KeyError if there is none."""
        kinds = self.types[mention]
        if kind not in kinds:
            raise KeyError(kind)
        return self._starts[0][-1] + self._starts[1][mention] + kinds.index(kind)

    @cached_property
    def pair_groups(self) -> tuple[NDArray[np.int64], ...]:
        """For each pair the numbers of its columns: int64, in the order of ``roles``."""
        return self._runs([len(self.roles(pair)) for pair in range(len(self.pairs))], 0)

    @cached_property
    def type_groups(self) -> tuple[NDArray[np.int64], ...]:
        """For each mention the numbers of its type columns: int64, empty if it has none."""
        return self._runs([len(kinds) for kinds in self.types], sum(map(len, self.pair_groups)))

    @staticmethod
    def _runs(sizes: Sequence[int], start: int) -> tuple[NDArray[np.int64], ...]:
        ends = start + np.cumsum(np.asarray(sizes, dtype=np.int64))
        return tuple(np.arange(end - size, end, dtype=np.int64) for size, end in zip(sizes, ends, strict=True))

    @cached_property
    def pairs_of_event(self) -> tuple[tuple[int, ...], ...]:
        """For each event the indices of its pairs."""
        return self._by(lambda pair: pair.event, len(self.events))

    @cached_property
    def pairs_of_mention(self) -> tuple[tuple[int, ...], ...]:
        """For each mention the indices of its pairs."""
        return self._by(lambda pair: pair.mention, len(self.mentions))

    def _by(self, key: Callable[[Pair], int], count: int) -> tuple[tuple[int, ...], ...]:
        rows: list[list[int]] = [[] for _ in range(count)]
        for number, pair in enumerate(self.pairs):
            rows[key(pair)].append(number)
        return tuple(tuple(row) for row in rows)

    def cluster(self, mention: int) -> str:
        """Return the name of the mention's coreference cluster, its own id if it has none."""
        found = self.mentions[mention]
        return f"cluster {found.coref}" if found.coref is not None else f"mention {found.id}"
