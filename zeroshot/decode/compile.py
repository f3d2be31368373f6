"""From a problem, its scores and its constraints to a programme in an order that does not hang on the input's.

Events are ordered by trigger, type and id, mentions by span and id, roles and types by name with NONE last, auxiliary
variables by rule and name, rows by content. So the same passage gives the same programme, bit by bit, whatever the
order in which its events, mentions, roles and rules are listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from backbones.core.errors import FrostlineError
from zeroshot.constraints.base import Constraint, Row
from zeroshot.decode.program import Floats, Ints, Program
from zeroshot.decode.rows import Key, Rows, collect
from zeroshot.problem import NONE, Column, Problem

TIE = 1e-8
"""Nats by which an equally good role that is earlier in the alphabet is preferred at the first pair; less at others."""


@dataclass(frozen=True)
class Compiled:
    """A programme, and what its columns and rows are.

    Args:
        program: with the tie-break in its scores.
        columns: number of the problem's column of each column, -1 for auxiliaries.
        pairs: pair of each of the first groups, in their order; mentions: mention of each of the groups after them.
        rules: name of the rule of each row; rows: the rows; families: of the rules.
    """

    program: Program
    columns: Ints
    pairs: tuple[int, ...]
    mentions: tuple[int, ...]
    rules: tuple[str, ...]
    rows: tuple[Row, ...]
    families: Mapping[str, str]


def compile_problem(problem: Problem, scores: NDArray[np.float64], constraints: Mapping[str, Constraint]) -> Compiled:
    """Write a problem as a programme.

    Raises:
        FrostlineError: wrong number of scores, a score that is not finite, a malformed row of a constraint.
    """
    scores = _checked(problem, scores)
    pairs, mentions, groups = _ordered(problem)
    found = collect(problem, constraints)
    aux = found.aux()
    own = np.array(list(chain.from_iterable(groups)), dtype=np.int64)
    columns = np.concatenate((own, np.full(2 * len(aux), -1)))
    sizes = [*map(len, groups), *[2] * len(aux)]
    place: dict[Key, int] = dict(zip(own.tolist(), range(len(own)), strict=True))
    place.update({key: len(own) + 2 * number + 1 for number, key in enumerate(aux)})
    values = np.concatenate((scores[own] + _tie_break(sizes[: len(groups)]), np.zeros(2 * len(aux))))
    program, order = _program(values, sizes, found, place)
    return Compiled(
        program,
        columns,
        pairs,
        mentions,
        tuple(found.rules[number] for number in order),
        tuple(found.rows[number] for number in order),
        {name: rule.family for name, rule in constraints.items()},
    )


def _checked(problem: Problem, scores: NDArray[np.float64]) -> Floats:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != (problem.size,):
        raise FrostlineError(
            f"decode got scores of shape {scores.shape} for a problem of {problem.size} columns; pass one score for "
            "each of problem.columns."
        )
    for pair, columns in enumerate(problem.pair_groups):
        if not len(columns):
            event = problem.events[problem.pairs[pair].event]
            raise FrostlineError(
                f"event type {event.type!r} has no roles, but the argument "
                f"{problem.mentions[problem.pairs[pair].mention].id!r} of event {event.id!r} must have one. Add roles "
                'to the ontology, or set the event\'s candidates to "entities".'
            )
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise FrostlineError(
            f"the score of {_said(problem, problem.columns[bad[0]])} is {scores[bad[0]]}"
            f"{f', and so are {len(bad) - 1} more' if len(bad) > 1 else ''}; scores must be finite numbers: see what "
            "the scorer does with this text."
        )
    return scores


def _said(problem: Problem, column: Column) -> str:
    if column.pair is None:
        assert column.mention is not None
        return f"entity type {column.type!r} of mention {problem.mentions[column.mention].id!r}"
    cell = problem.pairs[column.pair]
    where = f"of mention {problem.mentions[cell.mention].id!r} in event {problem.events[cell.event].id!r}"
    return f"{'no role' if column.role is NONE else f'role {column.role!r}'} {where}"


def _ordered(problem: Problem) -> tuple[tuple[int, ...], tuple[int, ...], list[list[int]]]:
    """Return pairs and mentions with types in their order, and the problem's columns of each of their groups."""
    event = [(e.trigger.start, e.trigger.end, e.type, e.id) for e in problem.events]
    mention = [(m.start, m.end, m.id) for m in problem.mentions]
    cells = problem.pairs
    pairs = sorted(range(len(cells)), key=lambda pair: (event[cells[pair].event], mention[cells[pair].mention]))
    typed = sorted((m for m in range(len(mention)) if problem.types[m]), key=mention.__getitem__)
    orders: dict[tuple[str | None, ...], list[int]] = {}
    groups = []
    starts = [(problem.pair_groups[pair], problem.roles(pair)) for pair in pairs]
    starts += [(problem.type_groups[m], problem.types[m]) for m in typed]
    for numbers, names in starts:
        if names not in orders:
            orders[names] = sorted(range(len(names)), key=lambda i: (names[i] is NONE, names[i] or ""))
        first = int(numbers[0]) if len(numbers) else 0
        groups.append([first + i for i in orders[names]])
    return tuple(pairs), tuple(typed), groups


def _tie_break(sizes: list[int]) -> Floats:
    """Return what is added to scores: earlier names, and among groups the earlier ones, are preferred by a trifle."""
    if not sizes:
        return np.empty(0)
    weights = TIE / np.sqrt(np.arange(1, len(sizes) + 1))
    return np.concatenate([weight * (1 - np.arange(size) / size) for weight, size in zip(weights, sizes, strict=True)])


def _program(scores: Floats, sizes: list[int], found: Rows, place: Mapping[Key, int]) -> tuple[Program, list[int]]:
    """Return the programme and the order in which it has the rows: by their columns, values, bounds, price, rule."""
    column = np.array([place[key] for key in found.keys], dtype=np.int64)
    row = np.repeat(np.arange(len(found.rows)), found.count)
    sort = np.lexsort((found.values, column, row))
    column, value = column[sort], found.values[sort]
    starts = np.concatenate(([0], np.cumsum(found.count))).tolist()
    columns, values = column.astype(">i8").tobytes(), value.tobytes()
    numbers = zip(found.lower.tolist(), found.upper.tolist(), found.price.tolist(), strict=True)
    contents = [
        (columns[8 * a : 8 * b], values[8 * a : 8 * b], more, rule, given.reason)
        for a, b, more, rule, given in zip(starts[:-1], starts[1:], numbers, found.rules, found.rows, strict=True)
    ]
    order = sorted(range(len(contents)), key=contents.__getitem__)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    again = np.argsort(rank[row], kind="stable")
    row, column, value = _merged(rank[row][again], column[again], value[again])
    group_starts = np.concatenate(([0], np.cumsum(np.array(sizes, dtype=np.int64)))).astype(np.int64)
    bounds = (found.lower[order], found.upper[order], found.price[order])
    return Program(scores, group_starts, row, column, value, *bounds), order


def _merged(row: Ints, column: Ints, value: Floats) -> tuple[Ints, Ints, Floats]:
    """Add up the values of a column that a row names more than once."""
    new = np.ones(len(row), dtype=bool)
    new[1:] = (row[1:] != row[:-1]) | (column[1:] != column[:-1])
    if new.all():
        return row, column, value
    return row[new], column[new], np.add.reduceat(value, np.flatnonzero(new))
