"""Assignments to start from: one role changed, auxiliary variables mended."""

from __future__ import annotations

import numpy as np

from zeroshot.decode.program import Bools, Ints, Program

ROUNDS = 4  # of mending: a changed role touches an auxiliary variable or two
TRIED = 8  # other columns of a group that are looked at


def mended(program: Program, choice: Ints) -> Ints:
    """Flip groups of two columns (as auxiliary variables are) while that makes hard rows break by less."""
    hard = np.isinf(program.price)
    if not hard.any():
        return choice
    choice, sizes = choice.copy(), np.diff(program.starts)
    broken = program.amounts(choice) * hard
    for _ in range(ROUNDS):
        if not broken.any():
            break
        near = program.group[program.column[(broken > 0)[program.row]]]
        for group in np.unique(near[sizes[near] == 2]).tolist():
            other = choice.copy()
            other[group] = 2 * program.starts[group] + 1 - choice[group]
            amounts = program.amounts(other) * hard
            if amounts.sum() < broken.sum():
                choice, broken = other, amounts
    return choice


def changed(program: Program, choice: Ints, mask: Bools) -> Ints | None:
    """Return the best of the assignments that differ from ``choice`` only where ``mask`` asks for it, None if none.

    Args:
        mask: columns that may be chosen; at most one group has its chosen column forbidden.
    """
    forbidden = np.flatnonzero(~mask[choice])
    if len(forbidden) != 1:
        return None
    group = int(forbidden[0])
    columns = program.starts[group] + np.flatnonzero(mask[program.starts[group] : program.starts[group + 1]])
    columns = columns[np.argsort(-program.scores[columns], kind="stable")][:TRIED]
    found, top = None, -np.inf
    for column in columns.tolist():
        other = choice.copy()
        other[group] = column
        other = mended(program, other)
        worth = program.worth(other) if mask[other].all() else -np.inf
        if worth > top:
            found, top = other, worth
    return found
