"""Independent parts of a problem: pairs and mentions that some row ties together, as problems of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from zeroshot.constraints.base import Aux, Constraint, Row
from zeroshot.problem import Problem

Rows = Mapping[str, tuple[Row, ...]]
"""Name of a rule -> its rows."""


@dataclass(frozen=True)
class Fixed:
    """A constraint whose rows are already known, whatever the problem."""

    family: str
    known: tuple[Row, ...]

    def rows(self, problem: Problem) -> Iterable[Row]:
        return self.known


@dataclass(frozen=True)
class Part:
    """A part of a problem that no row ties to the rest.

    Args:
        problem: the same passage and mentions with the pairs and entity types of this part alone.
        scores: float64, shape (len(problem.columns),).
        rows: rules that have rows here, their columns numbered as in ``problem``.
        pairs: for each of its pairs the number in the whole problem; columns: the same for its columns, int64.
    """

    problem: Problem
    scores: NDArray[np.float64]
    rows: Rows
    pairs: tuple[int, ...]
    columns: NDArray[np.int64]


def fixed(family: str, rows: Iterable[Row]) -> Constraint:
    """Return rows as a constraint."""
    # The protocol speaks of a class attribute; here the family belongs to the object.
    return cast(Constraint, Fixed(family, tuple(rows)))


class Parts:
    """Splits a problem by its rows.

    Args:
        problem: all cells; scores: float64, shape (len(problem.columns),).
        rows: name of a rule -> its rows over ``problem``.
    """

    def __init__(self, problem: Problem, scores: NDArray[np.float64], rows: Rows) -> None:
        self.problem, self.scores, self.rows = problem, scores, rows
        groups = (*problem.pair_groups, *problem.type_groups)
        self._node = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        self._aux: dict[tuple[str, Aux], int] = {}
        self._count = len(groups)
        self.label = self._connect()
        self._rows_of: dict[int, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
        for name, row in self._all():
            self._rows_of[int(self.label[self._nodes(name, row)[0]])][name].append(row)

    def _all(self) -> Iterable[tuple[str, Row]]:
        return ((name, row) for name, rows in self.rows.items() for row in rows if row.terms)

    def _nodes(self, name: str, row: Row) -> list[int]:
        """Return the pairs, mentions (after the pairs) and auxiliaries (after both) that a row speaks of."""
        found = []
        for key, _ in row.terms:
            if isinstance(key, tuple):
                found.append(self._aux.setdefault((name, key), self._count + len(self._aux)))
            else:
                found.append(int(self._node[key]))
        return found

    def _connect(self) -> NDArray[np.int64]:
        edges = [(nodes[0], node) for name, row in self._all() for nodes in [self._nodes(name, row)] for node in nodes]
        size = self._count + len(self._aux)
        ends = np.asarray(edges, dtype=np.int64).reshape(-1, 2).T
        graph = coo_array((np.ones(len(edges), dtype=bool), (ends[0], ends[1])), shape=(size, size))
        return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)

    def of(self, pair: int) -> int:
        """Return the number of the part that the pair belongs to."""
        return int(self.label[pair])

    def take(self, number: int) -> Part:
        """Return the part ``number`` as a problem of its own."""
        whole = self.problem
        pairs = tuple(np.flatnonzero(self.label[: len(whole.pairs)] == number).tolist())
        kept = self.label[len(whole.pairs) : self._count] == number
        types = tuple(kinds if keep else () for kinds, keep in zip(whole.types, kept, strict=True))
        groups = [whole.pair_groups[pair] for pair in pairs]
        groups += [group for group, keep in zip(whole.type_groups, kept, strict=True) if keep]
        columns = np.concatenate(groups).astype(np.int64)
        place = {int(column): index for index, column in enumerate(columns)}
        problem = Problem(
            whole.passage, whole.ontology, whole.mentions, tuple(whole.pairs[pair] for pair in pairs), types
        )
        rows = {name: tuple(_moved(row, place) for row in found) for name, found in self._rows_of[number].items()}
        ordered = {name: rows[name] for name in self.rows if name in rows}
        return Part(problem, self.scores[columns], ordered, pairs, columns)


def _moved(row: Row, place: Mapping[int, int]) -> Row:
    terms = tuple((key if isinstance(key, tuple) else place[int(key)], value) for key, value in row.terms)
    return Row(terms, row.lower, row.upper, row.price, row.reason)
