"""The integer programme in numbers: columns in groups of which one is chosen, and rows with bounds and prices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

TOLERANCE = 1e-9  # by how much a row may leave its bounds for free: what sums of a few hundred values err


@dataclass(frozen=True)
class Program:
    """Maximise the scores of the chosen columns less price times excess of the rows; one column of each group.

    Args:
        scores: of each column, float64 (n,).
        starts: first column of each group, then n: int64 (groups + 1,).
        row, column, value: the entries of the rows, sorted by row and then by column, each place once.
        lower, upper: bounds of each row, float64 (m,), infinite where there is none.
        price: of each row, float64 (m,), infinite where it is hard.
    """

    scores: Floats
    starts: Ints
    row: Ints
    column: Ints
    value: Floats
    lower: Floats
    upper: Floats
    price: Floats

    @property
    def groups(self) -> int:
        return len(self.starts) - 1

    @property
    def rows(self) -> int:
        return len(self.lower)

    @cached_property
    def group(self) -> Ints:
        """Group of each column."""
        return np.repeat(np.arange(self.groups), np.diff(self.starts))

    @cached_property
    def row_starts(self) -> Ints:
        """First entry of each row, then the number of entries."""
        return np.searchsorted(self.row, np.arange(self.rows + 1))

    def best_of_groups(self, values: Floats) -> tuple[Floats, Ints]:
        """Return the greatest of ``values`` (one for each column) in each group and its first column."""
        top = np.maximum.reduceat(values, self.starts[:-1])
        where = np.where(values == np.repeat(top, np.diff(self.starts)), np.arange(len(values)), len(values))
        return top, np.minimum.reduceat(where, self.starts[:-1])

    def totals(self, values: Floats) -> Floats:
        """Return the sum of ``values`` (one for each entry) in each row."""
        return np.bincount(self.row, values, self.rows).astype(np.float64)

    def amounts(self, choice: Ints) -> Floats:
        """Return by how much each row is left by ``choice``, the chosen column of each group."""
        on = np.zeros(len(self.scores))
        on[choice] = 1.0
        return excess(self.totals(self.value * on[self.column]), self.lower, self.upper)

    def worth(self, choice: Ints) -> float:
        """Return the objective of ``choice``, minus infinity if it breaks a hard row."""
        amounts = self.amounts(choice)
        return float(self.scores[choice].sum() - cost(amounts, self.price).sum())

    def keep(self, columns: Bools) -> tuple[Program, Ints]:
        """Return the programme with the columns of the mask alone, and their numbers here; no group may be emptied."""
        kept = np.flatnonzero(columns)
        number = np.cumsum(columns) - 1
        entries = columns[self.column]
        starts = np.concatenate(([0], np.cumsum(np.add.reduceat(columns.astype(np.int64), self.starts[:-1]))))
        return Program(
            self.scores[kept],
            starts,
            self.row[entries],
            number[self.column[entries]],
            self.value[entries],
            self.lower,
            self.upper,
            self.price,
        ), kept


def excess(value: Floats, lower: Floats, upper: Floats) -> Floats:
    """Return by how much values lie outside of their bounds, 0 within TOLERANCE; shapes are broadcast."""
    over = np.maximum(np.maximum(lower - value, value - upper), 0.0)
    return np.where(over > TOLERANCE, over, 0.0)


def cost(amounts: Floats, price: Floats) -> Floats:
    """Return amount times price, 0 where the amount is 0 (also at an infinite price); shapes are broadcast."""
    with np.errstate(invalid="ignore"):
        return np.where(amounts > 0, amounts * price, 0.0)
