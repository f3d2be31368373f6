"""The rows of all constraints, checked and laid out flat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite, isnan

import numpy as np

from backbones.core.errors import FrostlineError
from zeroshot.constraints.base import FAMILIES, Aux, Constraint, Row
from zeroshot.decode.program import Floats, Ints
from zeroshot.problem import Problem

Key = int | tuple[str, Aux]
"""A column of the problem, or an auxiliary variable with its rule."""


@dataclass(frozen=True)
class Rows:
    """Rows with their entries one after another.

    Args:
        rules: name of the rule of each row; rows: the rows themselves.
        keys, values: of the entries; count: number of entries of each row.
        lower, upper, price: of each row, float64; the price of a hard row is infinite.
    """

    rules: list[str]
    rows: list[Row]
    keys: list[Key]
    values: Floats
    count: Ints
    lower: Floats
    upper: Floats
    price: Floats

    def aux(self) -> list[tuple[str, Aux]]:
        """Return the auxiliary variables in the order of rules and names."""
        return sorted({key for key in self.keys if isinstance(key, tuple)})


def collect(problem: Problem, constraints: Mapping[str, Constraint]) -> Rows:
    """Ask every constraint for its rows, in the order of their names.

    Raises:
        FrostlineError: an unknown family or a malformed row, with the name of the constraint.
    """
    rules: list[str] = []
    rows: list[Row] = []
    keys: list[Key] = []
    for name in sorted(constraints):
        if constraints[name].family not in FAMILIES:
            raise FrostlineError(
                f"constraint {name!r} says that its family is {constraints[name].family!r}; families are "
                f"{', '.join(FAMILIES)}."
            )
        made = list(constraints[name].rows(problem))
        rules += [name] * len(made)
        rows += made
        for row in made:
            keys += [(name, key) if isinstance(key, tuple) else key for key, _ in row.terms]
    values = np.array([value for row in rows for _, value in row.terms], dtype=np.float64)
    count = np.array([len(row.terms) for row in rows], dtype=np.int64)
    lower = np.array([row.lower for row in rows], dtype=np.float64)
    upper = np.array([row.upper for row in rows], dtype=np.float64)
    price = np.array([inf if row.price is None else row.price for row in rows], dtype=np.float64)
    found = Rows(rules, rows, keys, values, count, lower, upper, price)
    _check(found, problem.size)
    return found


def _check(found: Rows, size: int) -> None:
    """Look at all rows at once, and for the faulty one only where there is one."""
    numbers = [key for key in found.keys if not isinstance(key, tuple)]
    fine = (
        bool(np.isfinite(found.values).all() and (found.lower <= found.upper).all() and (found.price >= 0).all())
        and not np.isposinf(found.lower).any()
        and not np.isneginf(found.upper).any()
        and all(row.price != inf for row in found.rows)
        and min(numbers, default=0) >= 0
        and (not numbers or max(numbers) < size)
        and all(row.reason and not row.reason.isspace() for row in found.rows)
    )
    if fine:
        return
    for rule, row in zip(found.rules, found.rows, strict=True):
        fault = row_fault(row, size)
        if fault:
            raise FrostlineError(f"constraint {rule!r} yields a row ({row.reason!r}) that {fault}.")


def row_fault(row: Row, size: int) -> str | None:
    """Return what is wrong with a row of a problem of ``size`` columns, None if nothing is."""
    if row.price is not None and not (isfinite(row.price) and row.price >= 0):
        return f"has the price {row.price}: it must be finite and at least 0, or None for a hard row"
    if isnan(row.lower) or isnan(row.upper) or not row.lower <= row.upper:
        return f"has the bounds {row.lower} to {row.upper}: the lower one must not exceed the upper one"
    if row.lower == inf or row.upper == -inf:
        return f"has the bounds {row.lower} to {row.upper}, which nothing lies in"
    for key, value in row.terms:
        if not isfinite(value):
            return f"has the factor {value}: factors must be finite"
        if not isinstance(key, tuple) and not 0 <= key < size:
            return f"names the column {key} of {size}"
    return None if row.reason.strip() else "gives no reason"
