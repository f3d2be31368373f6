"""From a problem, its scores and its constraints to a programme in an order that does not hang on the input's.

Events are ordered by trigger, type and id, mentions by span and id, roles and types by name with NONE last, auxiliary
variables by rule and name, rows by content. So the same passage gives the same programme, bit by bit, whatever the
order in which its events, mentions, roles and rules are listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from math import isfinite, isnan

import numpy as np
from numpy.typing import NDArray

from backbones.core.errors import FrostlineError
from zeroshot.constraints.base import FAMILIES, Aux, Constraint, Row
from zeroshot.decode.program import Floats, Ints, Program
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
    rules, rows = _rows(problem, constraints)
    named = ((rule, key) for rule, row in zip(rules, rows, strict=True) for key, _ in row.terms)
    aux = sorted({(rule, key) for rule, key in named if isinstance(key, tuple)})
    own = np.array(list(chain.from_iterable(groups)), dtype=np.int64)
    columns = np.concatenate((own, np.full(2 * len(aux), -1)))
    sizes = [*map(len, groups), *[2] * len(aux)]
    place: dict[object, int] = dict(zip(own.tolist(), range(len(own)), strict=True))
    place.update({key: len(own) + 2 * number + 1 for number, key in enumerate(aux)})
    values = np.concatenate((scores[own] + _tie_break(sizes[: len(groups)]), np.zeros(2 * len(aux))))
    program, order = _program(values, sizes, rules, rows, place)
    families = {name: rule.family for name, rule in constraints.items()}
    return Compiled(
        program,
        columns,
        pairs,
        mentions,
        tuple(rules[number] for number in order),
        tuple(rows[number] for number in order),
        families,
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


def _rows(problem: Problem, constraints: Mapping[str, Constraint]) -> tuple[list[str], list[Row]]:
    rules: list[str] = []
    rows: list[Row] = []
    for name in sorted(constraints):
        if constraints[name].family not in FAMILIES:
            raise FrostlineError(
                f"constraint {name!r} says that its family is {constraints[name].family!r}; families are "
                f"{', '.join(FAMILIES)}."
            )
        made = list(constraints[name].rows(problem))
        for row in made:
            fault = row_fault(row, problem.size)
            if fault:
                raise FrostlineError(f"constraint {name!r} yields a row ({row.reason!r}) that {fault}.")
        rules += [name] * len(made)
        rows += made
    return rules, rows


def row_fault(row: Row, size: int) -> str | None:
    """Return what is wrong with a row of a problem of ``size`` columns, None if nothing is."""
    if row.price is not None and not (isfinite(row.price) and row.price >= 0):
        return f"has the price {row.price}: it must be finite and at least 0, or None for a hard row"
    if isnan(row.lower) or isnan(row.upper) or not row.lower <= row.upper:
        return f"has the bounds {row.lower} to {row.upper}: the lower one must not exceed the upper one"
    if row.lower == np.inf or row.upper == -np.inf:
        return f"has the bounds {row.lower} to {row.upper}, which nothing lies in"
    for key, value in row.terms:
        if not isfinite(value):
            return f"has the factor {value}: factors must be finite"
        if not isinstance(key, tuple) and not 0 <= key < size:
            return f"names the column {key} of {size}"
    return None if row.reason.strip() else "gives no reason"


def _program(
    scores: Floats, sizes: list[int], rules: list[str], rows: list[Row], place: Mapping[object, int]
) -> tuple[Program, list[int]]:
    """Return the programme and the order in which it has the rows."""
    keys: list[int | tuple[str, Aux]] = []
    for rule, row in zip(rules, rows, strict=True):
        keys += [(rule, key) if isinstance(key, tuple) else key for key, _ in row.terms]
    column = np.array([place[key] for key in keys], dtype=np.int64)
    value = np.array([value for row in rows for _, value in row.terms], dtype=np.float64)
    count = np.array([len(row.terms) for row in rows], dtype=np.int64)
    row_number = np.repeat(np.arange(len(rows)), count)
    sort = np.lexsort((value, column, row_number))
    row_number, column, value = row_number[sort], column[sort], value[sort]
    starts = np.concatenate(([0], np.cumsum(count))).tolist()
    # Order rows by their content: bytes of columns and values, then bounds, price, rule and reason.
    column_bytes, value_bytes = column.astype(">i8").tobytes(), value.tobytes()
    order = sorted(
        range(len(rows)),
        key=lambda i: (
            column_bytes[8 * starts[i] : 8 * starts[i + 1]],
            value_bytes[8 * starts[i] : 8 * starts[i + 1]],
            rows[i].lower,
            rows[i].upper,
            -1.0 if rows[i].price is None else rows[i].price,
            rules[i],
            rows[i].reason,
        ),
    )
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = np.arange(len(rows))
    again = np.argsort(rank[row_number], kind="stable")
    row_number, column, value = rank[row_number][again], column[again], value[again]
    row_number, column, value = _merged(row_number, column, value)
    price = np.array([np.inf if rows[i].price is None else rows[i].price for i in order], dtype=np.float64)
    bounds = np.array([(rows[i].lower, rows[i].upper) for i in order], dtype=np.float64).reshape(-1, 2)
    group_starts = np.concatenate(([0], np.cumsum(np.array(sizes, dtype=np.int64)))).astype(np.int64)
    lower, upper = np.ascontiguousarray(bounds[:, 0]), np.ascontiguousarray(bounds[:, 1])
    return Program(scores, group_starts, row_number, column, value, lower, upper, price), order


def _merged(row: Ints, column: Ints, value: Floats) -> tuple[Ints, Ints, Floats]:
    """Add up the values of a column that a row names more than once."""
    new = np.ones(len(row), dtype=bool)
    new[1:] = (row[1:] != row[:-1]) | (column[1:] != column[:-1])
    if new.all():
        return row, column, value
    return row[new], column[new], np.add.reduceat(value, np.flatnonzero(new))
