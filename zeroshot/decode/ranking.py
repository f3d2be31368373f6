"""Second best and further: assignments of a part in the order of their worth, and what each role is worth."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from zeroshot.decode.clock import Clock
from zeroshot.decode.dual import Dual
from zeroshot.decode.fold import NoAssignmentError
from zeroshot.decode.program import Bools, Ints, Program
from zeroshot.decode.relax import relax
from zeroshot.decode.repair import changed
from zeroshot.decode.solve import Answer, NoIncumbentError, finish


@dataclass(frozen=True)
class Solved:
    """A part (or a single group, whose programme has no rows) with its best assignment.

    Args:
        program: of the part; groups, columns: their numbers in the whole programme.
        roles: the part's groups that are pairs; assignments that agree on them count as one.
        answer: the best assignment; tight: the bound that proved it.
    """

    program: Program
    groups: Ints
    columns: Ints
    roles: Sequence[int]
    answer: Answer
    tight: Dual

    def sharpened(self, clock: Clock) -> Solved:
        """Return the part with the bound of its linear relaxation."""
        if not self.program.rows or self.tight.relaxed:
            return self
        found = relax(self.program, clock)
        return self if found is None else replace(self, tight=found.dual)

    def among(self, mask: Bools, clock: Clock) -> Answer | None:
        """Solve with the columns of ``mask`` alone; None if they do not admit an assignment."""
        if not np.logical_or.reduceat(mask, self.program.starts[:-1]).all():
            return None
        if clock.left() <= 0:
            return Answer(self.answer.choice, -np.inf, self.bound(mask), False)
        smaller, columns = self.program.keep(mask)
        try:
            start = changed(self.program, self.answer.choice, mask)
            if start is not None:
                start = np.searchsorted(columns, start)
            found = finish(smaller, self.tight.on(smaller, columns), clock, start)
        except NoAssignmentError:
            return None
        except NoIncumbentError:
            return Answer(self.answer.choice, -np.inf, self.bound(mask), False)
        return Answer(columns[found.choice], found.worth, found.bound, found.proven)

    def bound(self, mask: Bools) -> float:
        """Return an upper bound on the assignments with the columns of ``mask`` alone."""
        loss = np.where(mask, self.tight.loss, np.inf)
        return self.tight.bound - float(np.minimum.reduceat(loss, self.program.starts[:-1]).sum())

    def margin(self, group: int, clock: Clock) -> float:
        """Return what is lost if ``group`` must take another column, infinite if it cannot.

        Where time runs out, what is surely lost.
        """
        mask = np.ones(len(self.program.scores), dtype=bool)
        mask[self.answer.choice[group]] = False
        found = self.among(mask, clock)
        if found is None:
            return np.inf
        return max(0.0, self.answer.worth - (found.worth if found.proven else found.bound))

    def ranked(self, clock: Clock) -> Iterator[Answer]:
        """Yield assignments that differ in some role, best first (Lawler 1972; a space is solved in its turn).

        Ends when there is no other one, or when time has run out.
        """
        ticket = count()
        everything = np.ones(len(self.program.scores), dtype=bool)
        queue: list[tuple[float, int, Bools, int, Answer | None]] = [
            (-self.answer.worth, next(ticket), everything, 0, self.answer)
        ]
        while queue:
            _, _, mask, first, answer = heapq.heappop(queue)
            if answer is None:
                answer = self.among(mask, clock)
                if answer is not None and answer.proven:
                    heapq.heappush(queue, (-answer.worth, next(ticket), mask, first, answer))
                elif answer is not None:
                    return  # what comes next cannot be proven any more
                continue
            yield answer
            for place, rest in self._around(mask, first, answer.choice):
                heapq.heappush(queue, (-self.bound(rest), next(ticket), rest, place, None))

    def _around(self, mask: Bools, first: int, choice: Ints) -> Iterator[tuple[int, Bools]]:
        """Yield the spaces that make up ``mask`` without ``choice``: roles before agree with it, one differs."""
        starts = self.program.starts
        fixed = mask.copy()
        for place in range(first, len(self.roles)):
            group = self.roles[place]
            rest = fixed.copy()
            rest[choice[group]] = False
            if rest[starts[group] : starts[group + 1]].any():
                yield place, rest
            fixed[starts[group] : starts[group + 1]] = False
            fixed[choice[group]] = True


def merged(parts: Sequence[Solved], number: int, clock: Clock) -> Iterator[list[Answer]]:
    """Yield the ``number`` best combinations of assignments of independent parts after the best, best first."""
    streams = [part.ranked(clock) for part in parts]
    lists: list[list[Answer]] = [[next(stream)] for stream in streams]

    def at(part: int, place: int) -> Answer | None:
        while len(lists[part]) <= place:
            following = next(streams[part], None)
            if following is None:
                return None
            lists[part].append(following)
        return lists[part][place]

    ticket = count()
    queue: list[tuple[float, int, tuple[tuple[int, int], ...]]] = [(0.0, next(ticket), ())]
    while queue and number >= 0:
        loss, _, places = heapq.heappop(queue)
        if places:
            chosen = dict(places)
            yield [lists[part][chosen.get(part, 0)] for part in range(len(parts))]
        number -= 1
        last = places[-1][0] if places else 0
        for part in range(last, len(parts)):
            place = dict(places).get(part, 0)
            other = at(part, place + 1)
            if other is not None:
                more = lists[part][place].worth - other.worth
                rest = tuple(item for item in places if item[0] != part)
                heapq.heappush(queue, (loss + more, next(ticket), (*rest, (part, place + 1))))
