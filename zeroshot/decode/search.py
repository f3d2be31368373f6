"""Depth-first branch and bound over the losses of a dual: fast where the bound is tight or the part is small."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

from zeroshot.decode.dual import Dual
from zeroshot.decode.program import TOLERANCE, Ints, Program

MANY = 300  # groups that are taken as they come: a better order costs their number squared
STEP = 1e-11  # an assignment is better only if its loss is less by this: what sums of a few hundred values err


@dataclass(frozen=True)
class Found:
    """The best assignment that was met (None: none satisfies the hard rows so far) and whether all were tried."""

    choice: Ints | None
    loss: float
    complete: bool


def search(program: Program, dual: Dual, tries: int, loss: float = inf) -> Found:
    """Look for the assignment of least loss.

    Args:
        program, dual: what to solve and its bound.
        tries: columns and rows to look at, at most.
        loss: only assignments that lose less are of interest.
    """
    return _Search(program, dual).run(tries, loss)


class _Search:
    """Groups are visited so that rows are complete early; a row's loss counts as soon as it is complete."""

    def __init__(self, program: Program, dual: Dual) -> None:
        self.program = program
        self.tried = 0
        self.losses = dual.loss.tolist()
        # The linear function of a bundle is a row without bounds whose whole value counts.
        row = np.concatenate((program.row, program.rows + dual.terms.bundle)).tolist()
        column = np.concatenate((program.column, dual.terms.column))
        group = program.group[column].tolist()
        value = np.concatenate((program.value, dual.terms.value)).tolist()
        parts = (program.lower, program.upper, program.price, dual.prices, dual.conjugate)
        self.rows = list(zip(*(part.tolist() for part in parts), strict=True))
        self.rows += [(-inf, inf, 0.0, 1.0, 0.0)] * dual.terms.number
        touched: list[set[int]] = [set() for _ in self.rows]
        self.entries: list[list[tuple[int, float]]] = [[] for _ in self.losses]
        for at, where, own, factor in zip(row, column.tolist(), group, value, strict=True):
            touched[at].add(own)
            self.entries[where].append((at, factor))
        # The rows of a bundle count with its function or after it: together they never gain.
        for number, bundle in enumerate(dual.terms.of_row.tolist()):
            if bundle >= 0:
                touched[number] |= touched[program.rows + bundle]
        groups_of = [sorted(groups) for groups in touched]
        self.order = _order(program.groups, groups_of)
        place = {group: number for number, group in enumerate(self.order)}
        self.done: list[list[int]] = [[] for _ in self.order]
        for number, groups in enumerate(groups_of):
            self.done[max((place[group] for group in groups), default=0)].append(number)
        self.columns = [
            sorted(range(a, b), key=self.losses.__getitem__)
            for a, b in zip(program.starts[:-1].tolist(), program.starts[1:].tolist(), strict=True)
        ]

    def run(self, tries: int, best: float) -> Found:
        depth = len(self.order)
        sums = [0.0] * len(self.rows)
        chosen = [0] * depth
        top: list[int] | None = None
        stack = [iter(self._children(0, 0.0, sums, best))]
        while stack:
            level = len(stack) - 1
            total, column = next(stack[-1], (inf, -1))
            if column < 0 or total >= best - STEP:  # children are sorted: the rest is worse
                stack.pop()
                if stack:
                    self._add(sums, chosen[level - 1], -1.0)
                continue
            chosen[level] = column
            if level + 1 == depth:
                best, top = total, chosen.copy()
                continue
            if self.tried > tries:
                return Found(self._answer(top), best, False)
            self._add(sums, column, 1.0)
            stack.append(iter(self._children(level + 1, total, sums, best)))
        return Found(self._answer(top), best, True)

    def _children(self, level: int, total: float, sums: list[float], best: float) -> list[tuple[float, int]]:
        found = []
        done = self.done[level]
        for column in self.columns[self.order[level]]:
            loss = total + self.losses[column]
            if loss >= best - STEP:
                break
            self.tried += 1 + len(done)
            if done:
                own = dict(self.entries[column])
                for row in done:
                    lower, upper, price, dual_price, conjugate = self.rows[row]
                    value = sums[row] + own.get(row, 0.0)
                    over = max(lower - value, value - upper)
                    loss += conjugate - dual_price * value + (over * price if over > TOLERANCE else 0.0)
            if loss < best - STEP:
                found.append((loss, column))
        found.sort()
        return found

    def _add(self, sums: list[float], column: int, sign: float) -> None:
        for row, value in self.entries[column]:
            sums[row] += sign * value

    def _answer(self, chosen: list[int] | None) -> Ints | None:
        if chosen is None:
            return None
        choice = np.zeros(len(chosen), dtype=np.int64)
        choice[self.order] = chosen
        return choice


def _order(count: int, groups_of: list[list[int]]) -> list[int]:
    """Return an order of groups: next the one that completes most rows, then that touches most begun ones."""
    rows_of: list[list[int]] = [[] for _ in range(count)]
    for row, groups in enumerate(groups_of):
        for group in groups:
            rows_of[group].append(row)
    waiting = [len(groups) for groups in groups_of]
    completes = [sum(waiting[row] == 1 for row in rows) for rows in rows_of]
    touches = [0] * count
    if count > MANY:
        return list(range(count))
    left, order = list(range(count)), []
    while left:
        group = max(left, key=lambda g: (completes[g], touches[g], -g))
        left.remove(group)
        order.append(group)
        for row in rows_of[group]:
            waiting[row] -= 1
            for other in groups_of[row]:
                touches[other] += 1
                completes[other] += waiting[row] == 1
    return order
