"""Rows that tie two groups tightly together, such as the roles of a pair and the types of its mention.

Rows ``x(A_k) <= y(S_k)`` over the same two groups, with disjoint ``A_k``, are relaxed far more tightly together than
one by one: what the chosen role takes must flow through the one type that is chosen. In the relaxation each row gets a
flow to every column of its ``S_k``, and a column ``y`` lets through no more than itself. For prices ``pi_k`` on the
rows, the sum of their penalties is at least ``pi_k`` of the chosen ``x`` less the greatest ``pi_k`` of the rows that
admit the chosen ``y``: linear in the columns, and that is what a bundle adds to a dual bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zeroshot.decode.program import Bools, Floats, Ints, Program


@dataclass(frozen=True)
class Terms:
    """A linear function of the columns for each bundle, never greater than the penalties of its rows.

    Args:
        of_row: bundle of each row of the programme, -1 for none.
        bundle, column, value: its entries; number: of bundles.
    """

    of_row: Ints
    bundle: Ints
    column: Ints
    value: Floats
    number: int

    def on(self, columns: Ints, size: int) -> Terms:
        """Return the same for a programme that keeps only ``columns`` of the ``size`` that there were."""
        place = np.full(size, -1)
        place[columns] = np.arange(len(columns))
        kept = place[self.column] >= 0
        return Terms(self.of_row, self.bundle[kept], place[self.column[kept]], self.value[kept], self.number)


def no_terms(rows: int) -> Terms:
    """Return the terms of a programme of so many rows without bundles."""
    none = np.empty(0, dtype=np.int64)
    return Terms(np.full(rows, -1), none, none, np.empty(0), 0)


@dataclass(frozen=True)
class Bundles:
    """The bundles of a programme.

    Args:
        of_row: bundle of each row, -1 for none.
        near: which entries are an ``x`` of a bundled row; far: which are a ``y`` of one.
        gate: for each far entry the number of its pair (bundle, column).
        gate_bundle, gate_column: those pairs.
        number: of bundles.
    """

    of_row: Ints
    near: Bools
    far: Bools
    gate: Ints
    gate_bundle: Ints
    gate_column: Ints
    number: int

    def terms(self, program: Program, prices: Floats) -> Terms:
        """Return the linear functions for prices on the rows (not negative, at most the rows' own)."""
        over = np.zeros(len(self.gate_column))
        np.maximum.at(over, self.gate, prices[program.row[self.far]])
        return Terms(
            self.of_row,
            np.concatenate((self.of_row[program.row[self.near]], self.gate_bundle)),
            np.concatenate((program.column[self.near], self.gate_column)),
            np.concatenate((prices[program.row[self.near]], -over)),
            self.number,
        )


def bundles(program: Program) -> Bundles:
    """Find the bundles of at least two rows."""
    group = program.group[program.column]
    count = np.diff(program.row_starts)
    full = np.flatnonzero(count > 0)
    first = np.full(program.rows, -1)
    last = np.full(program.rows, -1)
    first[full] = group[program.row_starts[full]]
    last[full] = group[program.row_starts[full] + count[full] - 1]
    near, far = group == first[program.row], group == last[program.row]
    good = (near & (program.value == 1.0)) | (far & (program.value == -1.0))
    bad_row = np.zeros(program.rows, dtype=bool)
    bad_row[program.row[~good]] = True
    fits = ~bad_row & (first != last) & (program.upper == 0) & np.isneginf(program.lower)
    key = first * program.groups + last
    key[~fits] = -1
    # A column that is in two rows of one bundle spoils it.
    entries = fits[program.row] & near
    places, times = np.unique(
        np.stack((key[program.row[entries]], program.column[entries])), axis=1, return_counts=True
    )
    key[np.isin(key, places[0][times > 1])] = -1
    names, of_row, sizes = np.unique(key, return_inverse=True, return_counts=True)
    useful = (sizes > 1) & (names >= 0)
    renumbered = np.where(useful, np.cumsum(useful) - 1, -1)
    of_row = renumbered[of_row]
    inside = of_row[program.row] >= 0
    near, far = near & inside, far & inside
    gates, gate = np.unique(np.stack((of_row[program.row[far]], program.column[far])), axis=1, return_inverse=True)
    return Bundles(of_row, near, far, gate.reshape(-1), gates[0], gates[1], int(useful.sum()))
