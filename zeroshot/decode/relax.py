"""The linear relaxation of a programme, solved with HiGHS for its prices on the rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array

from zeroshot.decode.bundles import Bundles, bundles
from zeroshot.decode.clock import Clock
from zeroshot.decode.dual import Dual, dual
from zeroshot.decode.fold import NoAssignmentError
from zeroshot.decode.program import Floats, Ints, Program

SCALE = 1e3  # objectives are given to the solver times this: its tolerances are absolute


@dataclass(frozen=True)
class Relaxed:
    """The bound of the relaxation, and the assignment of the greatest fractions: int64 (groups,)."""

    dual: Dual
    rounded: Ints


def relax(program: Program, clock: Clock) -> Relaxed | None:
    """Solve the linear relaxation; None if time ran out.

    Raises:
        NoAssignmentError: not even fractions satisfy the hard rows.
    """
    lay = _Layout(program)
    found = linprog(
        lay.costs() * SCALE,
        *lay.inequalities(),
        *lay.equalities(),
        method="highs",
        options={"time_limit": clock.left()},
    )
    if found.status == 2:
        raise NoAssignmentError
    if found.status != 0:
        return None
    bound = lay.dual(found.ineqlin.marginals / SCALE, found.eqlin.marginals / SCALE)
    return Relaxed(bound, program.best_of_groups(found.x[: len(program.scores)])[1])


class _Layout:
    """Columns: the programme's, a slack for each soft bound, a flow for each ``y`` of a bundled row.

    Inequalities: rows with an upper bound, rows with a lower one (times -1), gates of bundles. Equalities: rows with
    equal bounds (two slacks each), then groups.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        level = program.lower == program.upper
        soft = np.isfinite(program.price)
        self.over = np.flatnonzero(np.isfinite(program.upper) & ~level)
        self.under = np.flatnonzero(np.isfinite(program.lower) & ~level)
        self.even = np.flatnonzero(level)
        self.slacks = [which[soft[which]] for which in (self.over, self.under, self.even, self.even)]
        ends = len(program.scores) + np.cumsum([0, *map(len, self.slacks)])
        self.first = [int(end) for end in ends]  # column of the first slack of each kind, then of the first flow
        self.tied: Bundles = bundles(program)
        self.width = self.first[-1] + len(self.tied.gate)

    def costs(self) -> Floats:
        prices = (self.program.price[which] for which in self.slacks)
        return np.concatenate((-self.program.scores, *prices, np.zeros(len(self.tied.gate))))

    def inequalities(self) -> tuple[csr_array, Floats]:
        program, tied = self.program, self.tied
        flows, gates = self.first[-1] + np.arange(len(tied.gate)), len(tied.gate_column)
        column = program.column.copy()
        column[tied.far] = flows
        height = len(self.over) + len(self.under)
        parts = [
            self._rows(self.over, 0, column, 1.0),
            self._rows(self.under, len(self.over), column, -1.0),
            self._slack(self.over, 0, 0, -1.0),
            self._slack(self.under, len(self.over), 1, -1.0),
            (height + tied.gate, flows, np.ones(len(flows))),
            (height + np.arange(gates), tied.gate_column, -np.ones(gates)),
        ]
        bounds = np.concatenate((program.upper[self.over], -program.lower[self.under], np.zeros(gates)))
        return self._matrix(parts, height + gates), bounds

    def equalities(self) -> tuple[csr_array, Floats]:
        program, height = self.program, len(self.even)
        parts = [
            self._rows(self.even, 0, program.column, 1.0),
            self._slack(self.even, 0, 2, -1.0),
            self._slack(self.even, 0, 3, 1.0),
            (height + program.group, np.arange(len(program.scores)), np.ones(len(program.scores))),
        ]
        bounds = np.concatenate((program.lower[self.even], np.ones(program.groups)))
        return self._matrix(parts, height + program.groups), bounds

    def dual(self, inequal: Floats, equal: Floats) -> Dual:
        """Return the bound that the solver's marginals give (changes of the least cost, so not positive)."""
        prices, height = np.zeros(self.program.rows), len(self.over) + len(self.under)
        prices[self.over] -= inequal[: len(self.over)]
        prices[self.under] += inequal[len(self.over) : height]
        prices[self.even] -= equal[: len(self.even)]
        terms = self.tied.terms(self.program, np.clip(prices, 0.0, self.program.price))
        prices[self.tied.of_row >= 0] = 0.0  # their part of the bound is in the terms
        return dual(self.program, prices, terms)

    def _rows(self, which: Ints, height: int, column: Ints, sign: float) -> tuple[Ints, Ints, Floats]:
        number = np.full(self.program.rows, -1)
        number[which] = height + np.arange(len(which))
        own = number[self.program.row] >= 0
        return number[self.program.row[own]], column[own], sign * self.program.value[own]

    def _slack(self, which: Ints, height: int, kind: int, sign: float) -> tuple[Ints, Ints, Floats]:
        count = len(self.slacks[kind])
        place = height + np.searchsorted(which, self.slacks[kind])
        return place, self.first[kind] + np.arange(count), np.full(count, sign)

    def _matrix(self, parts: list[tuple[Ints, Ints, Floats]], height: int) -> csr_array:
        row, column, value = (np.concatenate(part) for part in zip(*parts, strict=True))
        return csr_array((value, (row, column)), shape=(height, self.width))
