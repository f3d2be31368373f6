"""Exact reductions: rows that touch one group become scores, groups that hang on one other are folded into it.

Entity types of a mention that is a candidate of one event hang on that one pair: they fold into the scores of its
roles. What is left falls into parts that no row ties together (see split).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zeroshot.decode.program import TOLERANCE, Bools, Floats, Ints, Program, cost, excess

SAME = 1e-12  # values of a group that differ by less are one value


class NoAssignmentError(Exception):
    """The hard rows cannot hold together."""


@dataclass(frozen=True)
class Step:
    """A group that was folded into ``partner``: ``column[i]`` is its best column if the partner's i-th is chosen."""

    group: int
    partner: int
    column: Ints


@dataclass(frozen=True)
class Folded:
    """What is left of a programme.

    Args:
        source: the programme before.
        scores: of its columns after folding, minus infinity where a hard row forbids one.
        constant: what is lost whatever is chosen.
        alive: groups that were not folded into others.
        steps: groups that were, in that order.
        row, column, value, lower, upper, left: entries and bounds of the rows, and which rows are left.
    """

    source: Program
    scores: Floats
    constant: float
    alive: Bools
    steps: tuple[Step, ...]
    row: Ints
    column: Ints
    value: Floats
    lower: Floats
    upper: Floats
    left: Bools

    def complete(self, choice: Ints) -> Ints:
        """Fill in the best columns of the folded groups; ``choice`` is changed."""
        for step in reversed(self.steps):
            choice[step.group] = step.column[choice[step.partner] - self.source.starts[step.partner]]
        return choice


def fold(program: Program, kept: Bools | None = None) -> Folded:
    """Reduce a programme without changing its best assignments.

    Args:
        program: what to reduce.
        kept: groups that must not be folded into others; None: none.

    Raises:
        NoAssignmentError: hard rows are seen not to hold together (that none are is no proof that they do).
    """
    state = _State(program, kept if kept is not None else np.zeros(program.groups, dtype=bool))
    while state.simplify() or state.fold_leaves():
        pass
    return state.result()


@dataclass(frozen=True)
class _Segments:
    """Entries of one row in one group."""

    start: Ints  # first entry
    size: Ints
    row: Ints
    group: Ints
    low: Floats  # least and greatest sum that the group can give to the row
    high: Floats


class _State:
    def __init__(self, program: Program, kept: Bools) -> None:
        self.program, self.kept = program, kept
        self.scores = program.scores.copy()
        self.group = program.group
        self.alive = np.ones(program.groups, dtype=bool)
        self.row, self.column, self.value = program.row, program.column, program.value
        self.lower, self.upper, self.price = program.lower.copy(), program.upper.copy(), program.price
        self.left = program.price > 0
        self.constant = 0.0
        self.steps: list[Step] = []

    def result(self) -> Folded:
        return Folded(
            self.program,
            self.scores,
            self.constant,
            self.alive,
            tuple(self.steps),
            self.row,
            self.column,
            self.value,
            self.lower,
            self.upper,
            self.left,
        )

    def simplify(self) -> bool:
        """Drop rows that cannot be left, fold those of one group into scores; return whether to look again."""
        possible = np.isfinite(self.scores)
        sizes = np.bincount(self.group[possible], minlength=self.program.groups)
        if (sizes == 0).any():
            raise NoAssignmentError
        self._filter(self.left[self.row] & possible[self.column])
        segments = self._segments(sizes)
        segments = self._constant_segments(segments)
        rows = self.program.rows
        count = np.bincount(segments.row, minlength=rows)
        low = np.bincount(segments.row, segments.low, rows).astype(np.float64)
        high = np.bincount(segments.row, segments.high, rows).astype(np.float64)
        idle = (low >= self.lower - TOLERANCE) & (high <= self.upper + TOLERANCE)
        self.left &= ~idle
        empty = self.left & (count == 0)
        if empty.any():
            self._lose(empty)
        before = np.count_nonzero(np.isfinite(self.scores))
        self._unary(segments, self.left & (count == 1))
        self._propagate(segments, low, high)
        self.left &= count > 1
        self._filter(self.left[self.row])
        return bool(np.count_nonzero(np.isfinite(self.scores)) < before)

    def _filter(self, entries: Bools) -> None:
        if not entries.all():
            self.row, self.column, self.value = self.row[entries], self.column[entries], self.value[entries]

    def _lose(self, rows: Bools) -> None:
        lost = cost(excess(np.zeros(1), self.lower[rows], self.upper[rows]), self.price[rows]).sum()
        if np.isinf(lost):
            raise NoAssignmentError
        self.constant -= float(lost)

    def _segments(self, sizes: Ints) -> _Segments:
        group = self.group[self.column]
        new = np.ones(len(self.row), dtype=bool)
        new[1:] = (self.row[1:] != self.row[:-1]) | (group[1:] != group[:-1])
        start = np.flatnonzero(new)
        size = np.diff(np.append(start, len(self.row)))
        if not len(start):
            return _Segments(start, size, start, start, np.empty(0), np.empty(0))
        low, high = np.minimum.reduceat(self.value, start), np.maximum.reduceat(self.value, start)
        partial = size < sizes[group[start]]
        low, high = np.where(partial, np.minimum(low, 0.0), low), np.where(partial, np.maximum(high, 0.0), high)
        return _Segments(start, size, self.row[start], group[start], low, high)

    def _constant_segments(self, segments: _Segments) -> _Segments:
        """Move what a group always gives to a row into the row's bounds; return the other segments."""
        constant = segments.high - segments.low <= SAME
        if not constant.any():
            return segments
        shift = np.bincount(segments.row[constant], segments.low[constant], self.program.rows)
        self.lower, self.upper = self.lower - shift, self.upper - shift
        self._filter(~np.repeat(constant, segments.size))
        size = segments.size[~constant]
        start = np.concatenate(([0], np.cumsum(size)))[:-1].astype(np.int64)
        row, group = segments.row[~constant], segments.group[~constant]
        return _Segments(start, size, row, group, segments.low[~constant], segments.high[~constant])

    def _unary(self, segments: _Segments, rows: Bools) -> None:
        """Fold rows of one group into the scores of its columns."""
        chosen = np.flatnonzero(rows[segments.row])
        if not len(chosen):
            return
        at = segments.row[chosen]
        absent = cost(excess(np.zeros(len(at)), self.lower[at], self.upper[at]), self.price[at])
        plain = np.isfinite(absent)
        self.constant -= float(absent[plain].sum())
        for index in chosen[~plain]:  # the columns that are not in the row are forbidden: few rows are like that
            start, size, group = segments.start[index], segments.size[index], segments.group[index]
            others = np.ones(len(self.scores), dtype=bool)
            others[self.column[start : start + size]] = False
            others &= self.group == group
            self.scores[others] = -np.inf
        entries = rows[self.row]
        at, column = self.row[entries], self.column[entries]
        own = cost(excess(self.value[entries], self.lower[at], self.upper[at]), self.price[at])
        base = cost(excess(np.zeros(len(at)), self.lower[at], self.upper[at]), self.price[at])
        base[np.isinf(base)] = 0.0
        np.subtract.at(self.scores, column, own - base)

    def _propagate(self, segments: _Segments, low: Floats, high: Floats) -> None:
        """Forbid columns with which a hard row cannot hold."""
        hard = self.left & np.isinf(self.price)
        chosen = np.flatnonzero(hard[segments.row])
        if not len(chosen):
            return
        rest_low = low[segments.row] - segments.low
        rest_high = high[segments.row] - segments.high
        owner = np.repeat(np.arange(len(segments.row)), segments.size)
        entries = np.flatnonzero(hard[self.row])
        owner = owner[entries]
        at, value = self.row[entries], self.value[entries]
        bad = (rest_low[owner] + value > self.upper[at] + TOLERANCE) | (
            rest_high[owner] + value < self.lower[at] - TOLERANCE
        )
        self.scores[self.column[entries[bad]]] = -np.inf
        at = segments.row[chosen]
        absent = (rest_low[chosen] > self.upper[at] + TOLERANCE) | (rest_high[chosen] < self.lower[at] - TOLERANCE)
        for index in chosen[absent]:
            start, size = segments.start[index], segments.size[index]
            others = self.group == segments.group[index]
            others[self.column[start : start + size]] = False
            self.scores[others] = -np.inf

    def fold_leaves(self) -> bool:
        """Fold groups all of whose rows tie them to one and the same other group; return whether there were any."""
        if not len(self.row):
            return False
        sizes = np.bincount(self.group[np.isfinite(self.scores)], minlength=self.program.groups)
        segments = self._segments(sizes)
        partner = self._partners(segments)
        order = np.argsort(segments.group, kind="stable")
        bounds = np.searchsorted(segments.group[order], np.arange(self.program.groups + 1))
        busy: set[int] = set()
        for group in np.flatnonzero(partner >= 0)[::-1].tolist():  # types and auxiliaries come after pairs
            other = int(partner[group])
            if group in busy or not self.alive[other] or self.kept[group]:
                continue
            busy.add(other)
            rows = segments.row[order[bounds[group] : bounds[group + 1]]]
            self._fold_leaf(group, other, rows)
        return bool(busy)

    def _partners(self, segments: _Segments) -> Ints:
        """Return for each group the only other group that its rows touch, -1 if there is none or more than one."""
        first = np.ones(len(segments.row), dtype=bool)
        first[1:] = segments.row[1:] != segments.row[:-1]
        count = np.bincount(segments.row, minlength=self.program.rows)
        total = np.zeros(self.program.rows, dtype=np.int64)
        np.add.at(total, segments.row, segments.group)
        other = np.where(count[segments.row] == 2, total[segments.row] - segments.group, -1)
        least = np.full(self.program.groups, self.program.groups)
        most = np.full(self.program.groups, -1)
        np.minimum.at(least, segments.group, other)
        np.maximum.at(most, segments.group, other)
        return np.where(least == most, most, -1)

    def _fold_leaf(self, group: int, other: int, rows: Ints) -> None:
        starts = self.program.starts
        g0, g1, p0, p1 = starts[group], starts[group + 1], starts[other], starts[other + 1]
        first, last = np.searchsorted(self.row, rows), np.searchsorted(self.row, rows, side="right")
        entries = np.concatenate([np.arange(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True)])
        place = np.repeat(np.arange(len(rows)), last - first)
        column, value = self.column[entries], self.value[entries]
        own, mine = np.zeros((len(rows), g1 - g0)), (column >= g0) & (column < g1)
        own[place[mine], column[mine] - g0] = value[mine]
        theirs = np.zeros((len(rows), p1 - p0))
        theirs[place[~mine], column[~mine] - p0] = value[~mine]
        sums = theirs[:, :, None] + own[:, None, :]
        bounds = self.lower[rows][:, None, None], self.upper[rows][:, None, None]
        table = self.scores[g0:g1] - cost(excess(sums, *bounds), self.price[rows][:, None, None]).sum(axis=0)
        best = table.argmax(axis=1)
        self.scores[p0:p1] += table[np.arange(p1 - p0), best]
        self.steps.append(Step(group, other, best + g0))
        self.alive[group] = False
        self.scores[g0:g1] = 0.0
        self.left[rows] = False
