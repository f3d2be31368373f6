"""Mixed-integer programming with HiGHS, for what is too tangled for the search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from zeroshot.decode.clock import Clock
from zeroshot.decode.fold import NoAssignmentError
from zeroshot.decode.program import Ints, Program
from zeroshot.decode.relax import SCALE


@dataclass(frozen=True)
class Mixed:
    """The best assignment that HiGHS met (None: none yet), its bound and whether it is proven to be the best."""

    choice: Ints | None
    bound: float
    proven: bool


def mixed(program: Program, clock: Clock) -> Mixed:
    """Solve a programme as one mixed-integer programme, without a gap.

    Raises:
        NoAssignmentError: the hard rows cannot hold together.
    """
    columns, rows = len(program.scores), program.rows
    soft = np.isfinite(program.price)
    over, under = np.flatnonzero(soft & np.isfinite(program.upper)), np.flatnonzero(soft & np.isfinite(program.lower))
    slack = np.concatenate((over, under))
    width = columns + len(slack)
    row = np.concatenate((program.row, slack, rows + program.group))
    column = np.concatenate((program.column, np.arange(columns, width), np.arange(columns)))
    value = np.concatenate((program.value, -np.ones(len(over)), np.ones(len(under)), np.ones(columns)))
    ones = np.ones(program.groups)
    matrix = csr_array((value, (row, column)), shape=(rows + program.groups, width))
    whole = np.zeros(width)
    whole[:columns] = 1.0
    limit = np.full(width, np.inf)
    limit[:columns] = 1.0
    found = milp(
        np.concatenate((-program.scores, program.price[slack])) * SCALE,
        integrality=whole,
        bounds=Bounds(np.zeros(width), limit),
        constraints=LinearConstraint(
            matrix, np.concatenate((program.lower, ones)), np.concatenate((program.upper, ones))
        ),
        options={"time_limit": clock.left(), "mip_rel_gap": 0.0},
    )
    if found.status == 2:
        raise NoAssignmentError
    choice = None if found.x is None else program.best_of_groups(found.x[:columns])[1]
    bound = getattr(found, "mip_dual_bound", None)
    return Mixed(choice, np.inf if bound is None or not np.isfinite(bound) else -bound / SCALE, found.status == 0)
