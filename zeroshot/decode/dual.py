"""Upper bounds by Lagrangian duality: prices on rows turn the objective into losses of single columns and rows.

For any prices pi with abs(pi) <= price, the objective of an assignment is ``bound - losses of its columns - losses of
its rows``, and no loss is negative. The prices come from the linear relaxation; the bound is computed here from them,
so that the proof does not lean on the solver's arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zeroshot.decode.clock import Clock
from zeroshot.decode.fold import NoAssignmentError
from zeroshot.decode.program import Bools, Floats, Ints, Program

SCALE = 1e3  # objectives are given to the solver times this: its tolerances are absolute


@dataclass(frozen=True)
class Dual:
    """An upper bound and where it is lost.

    Args:
        prices: on the rows, float64 (m,).
        bound: no assignment has a greater objective.
        loss: of each column, float64 (n,), not negative, 0 for one of each group.
        conjugate: what the bound holds for each row: ``prices * upper`` where positive, ``prices * lower`` else.
    """

    prices: Floats
    bound: float
    loss: Floats
    conjugate: Floats


def dual(program: Program, prices: Floats | None = None) -> Dual:
    """Return the bound that ``prices`` give, the best of each group by itself if there are none."""
    if prices is None:
        prices = np.zeros(program.rows)
    prices = np.clip(prices, -program.price, program.price)
    prices[(prices > 0) & np.isinf(program.upper)] = 0.0
    prices[(prices < 0) & np.isinf(program.lower)] = 0.0
    reduced = program.scores - np.bincount(program.column, program.value * prices[program.row], len(program.scores))
    top = np.maximum.reduceat(reduced, program.starts[:-1])
    conjugate = np.zeros(program.rows)
    above, below = prices > 0, prices < 0
    conjugate[above] = prices[above] * program.upper[above]
    conjugate[below] = prices[below] * program.lower[below]
    loss = np.repeat(top, np.diff(program.starts)) - reduced
    return Dual(prices, float(top.sum() + conjugate.sum()), loss, conjugate)


def relax(program: Program, clock: Clock) -> Dual | None:
    """Solve the linear relaxation and return its bound, None if time ran out.

    Raises:
        NoAssignmentError: not even fractions satisfy the hard rows.
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array

    level = program.lower == program.upper
    over = np.flatnonzero(np.isfinite(program.upper) & ~level)
    under = np.flatnonzero(np.isfinite(program.lower) & ~level)
    even = np.flatnonzero(level)
    columns, groups = len(program.scores), program.groups
    soft = np.isfinite(program.price)
    # One slack for each soft bound; an equality has two.
    slacks = [which[soft[which]] for which in (over, under, even, even)]
    first = columns + np.concatenate(([0], np.cumsum([len(which) for which in slacks])))
    width = int(first[-1])
    inequal = _stack(program, [(over, 1.0, first[0]), (under, -1.0, first[1])], soft)
    equal = _stack(program, [(even, 1.0, first[2])], soft)
    row = np.concatenate((equal[0], np.searchsorted(even, slacks[3]), len(even) + program.group))
    column = np.concatenate((equal[1], np.arange(first[3], width), np.arange(columns)))
    value = np.concatenate((equal[2], np.ones(len(slacks[3])), np.ones(columns)))
    found = linprog(
        np.concatenate((-program.scores, *(program.price[which] for which in slacks))) * SCALE,
        A_ub=csr_array((inequal[2], inequal[:2]), shape=(len(over) + len(under), width)),
        b_ub=np.concatenate((program.upper[over], -program.lower[under])),
        A_eq=csr_array((value, (row, column)), shape=(len(even) + groups, width)),
        b_eq=np.concatenate((program.lower[even], np.ones(groups))),
        method="highs",
        options={"time_limit": clock.left()},
    )
    if found.status == 2:
        raise NoAssignmentError
    if found.status != 0:
        return None
    prices = np.zeros(program.rows)
    prices[over] += found.ineqlin.marginals[: len(over)] / -SCALE
    prices[under] += found.ineqlin.marginals[len(over) :] / SCALE
    prices[even] += found.eqlin.marginals[: len(even)] / -SCALE
    return dual(program, prices)


def _stack(program: Program, blocks: list[tuple[Ints, float, int]], soft: Bools) -> tuple[Ints, Ints, Floats]:
    """Return entries (row, column, value) of rows one under another.

    Args:
        blocks: rows of the programme, the sign that their entries get, and the column of the first one's slack.
        soft: which rows of the programme have a slack, of value -1.
    """
    parts, height = [], 0
    for which, sign, first in blocks:
        number = np.full(program.rows, -1)
        number[which] = height + np.arange(len(which))
        own = number[program.row] >= 0
        slack = number[which[soft[which]]]
        parts.append((number[program.row[own]], program.column[own], sign * program.value[own]))
        parts.append((slack, first + np.arange(len(slack)), -np.ones(len(slack))))
        height += len(which)
    rows, columns, values = zip(*parts, strict=True)
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(values)
