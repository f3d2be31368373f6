"""Solving a programme: fold, split, and for each part the cheapest method that gives a proof.

A part is first searched with the bound of each group by itself, then with the bound of its linear relaxation; where
that does not end soon, columns that lose more than the best known assignment are dropped, what is left is folded and
split again, and what still hangs together is a mixed-integer programme.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zeroshot.decode.clock import Clock
from zeroshot.decode.dual import Dual, dual
from zeroshot.decode.fold import Folded, NoAssignmentError, fold
from zeroshot.decode.mip import mixed
from zeroshot.decode.program import Bools, Ints, Program
from zeroshot.decode.relax import relax
from zeroshot.decode.repair import mended
from zeroshot.decode.search import search
from zeroshot.decode.split import split

SMALL = 1e4  # a part with fewer assignments is searched before its linear relaxation is solved
FIRST_TRIES = 1000  # rows looked at in that search
TRIES = 4000  # rows looked at before the columns that lose too much are dropped
MOST_TRIES = 100_000  # rows looked at before anything else is preferred
GROUPS = 80  # parts with more are not searched: conflicts far apart would multiply
GUESS = 0.5  # nats that an optimum is guessed to lie under its bound at most
NEARLY_ALL = 0.8  # a piece with more than this share of the columns is not worth another round
EQUAL = 1e-9  # nats between a bound and an assignment that is taken at once
PROVEN = 1e-7  # nats between a value and its bound that count as none


class NoIncumbentError(Exception):
    """Time ran out before any assignment that satisfies the hard rows was found."""


@dataclass(frozen=True)
class Answer:
    """An assignment (chosen column of each group), its objective, a bound on any, and whether it is proven."""

    choice: Ints
    worth: float
    bound: float
    proven: bool


def solve(program: Program, clock: Clock, parent: int | None = None) -> Answer:
    """Solve a programme.

    Args:
        program: what to solve.
        clock: when to stop.
        parent: number of columns of the part that this one is a piece of, None if it is none.

    Raises:
        NoAssignmentError: the hard rows cannot hold together.
        NoIncumbentError: the time ran out before any assignment was found.
    """
    folded = fold(program)
    pieces = split(folded)
    choice = free_choice(folded)
    bound, proven = folded.constant + float(folded.scores[choice[pieces.free]].sum()), True
    for part in pieces.parts:
        if parent is not None and len(part.program.scores) > NEARLY_ALL * parent:
            answer = tangled(part.program, dual(part.program), clock)
        else:
            answer = solve_part(part.program, clock)
        choice[part.groups] = part.columns[answer.choice]
        bound += answer.bound
        proven &= answer.proven
    folded.complete(choice)
    worth = program.worth(choice)
    return Answer(choice, worth, max(bound, worth) if not proven else worth, proven)


def free_choice(folded: Folded) -> Ints:
    """Return the best column of each group by itself: int64 (groups,)."""
    return folded.source.best_of_groups(folded.scores)[1]


def solve_part(program: Program, clock: Clock) -> Answer:
    """Solve a connected part (see solve)."""
    answer, _ = solve_with_dual(program, clock)
    return answer


def solve_with_dual(program: Program, clock: Clock) -> tuple[Answer, Dual]:
    """Solve a connected part and return the bound that proved it as well (see solve)."""
    simple = dual(program)
    choice = program.best_of_groups(program.scores)[1]
    worth = program.worth(choice)
    if worth >= simple.bound - EQUAL:
        return Answer(choice, worth, worth, True), simple
    if np.log(np.diff(program.starts)).sum() <= np.log(SMALL):
        found = search(program, simple, FIRST_TRIES)
        if found.complete:
            return _proven(program, found.choice), simple
    if clock.left() <= 0:
        return rough(program, simple), simple
    relaxed = relax(program, clock)
    if relaxed is None:
        return rough(program, simple), simple
    return finish(program, relaxed.dual, clock, mended(program, relaxed.rounded)), relaxed.dual


def finish(program: Program, tight: Dual, clock: Clock, start: Ints | None = None) -> Answer:
    """Solve a programme with a good bound at hand: search, or drop the columns that lose too much and go on.

    Args:
        start: an assignment that may be good, None if none is known.
    """
    worth = -np.inf if start is None else program.worth(start)
    if start is not None and worth >= tight.bound - EQUAL:
        return Answer(start, worth, worth, True)
    loss = tight.bound - worth
    if program.groups <= GROUPS:
        smaller, columns = program.keep(tight.loss <= loss + PROVEN)
        found = search(smaller, tight.on(smaller, columns), TRIES, loss + PROVEN)
        if found.complete:
            return _proven(program, None if found.choice is None else columns[found.choice])
        loss = min(loss, found.loss)
    return _squeeze(program, tight, loss, clock)


def _proven(program: Program, choice: Ints | None) -> Answer:
    if choice is None:
        raise NoAssignmentError
    worth = program.worth(choice)
    return Answer(choice, worth, worth, True)


def _squeeze(program: Program, tight: Dual, loss: float, clock: Clock) -> Answer:
    """Solve with the columns alone that lose no more than the best known assignment."""
    budget = min(loss, GUESS)  # a poor assignment must not let in more columns than a guess would
    while True:
        mask = tight.loss <= budget + PROVEN
        if mask.mean() > NEARLY_ALL:
            return tangled(program, tight, clock)
        answer = _within(program, mask, tight, clock)
        if answer is None:
            budget = loss if budget < loss else np.inf
            continue
        lost = tight.bound - answer.worth
        if answer.proven and lost > budget + PROVEN:
            budget = lost
            continue
        bound = answer.worth if answer.proven else max(answer.worth, tight.bound)
        return Answer(answer.choice, answer.worth, bound, answer.proven)


def _within(program: Program, mask: Bools, tight: Dual, clock: Clock) -> Answer | None:
    """Solve with the columns of the mask alone; None if they do not admit an assignment."""
    smaller, columns = program.keep(mask)
    try:
        answer = solve(smaller, clock, parent=len(program.scores))
    except NoAssignmentError:
        return None
    except NoIncumbentError:
        return rough(program, tight)
    choice = columns[answer.choice]
    return Answer(choice, program.worth(choice), answer.bound, answer.proven)


def tangled(program: Program, tight: Dual, clock: Clock) -> Answer:
    """Solve as one mixed-integer programme; where time runs out, with the best assignment at hand."""
    if clock.left() <= 0:
        return rough(program, tight)
    found = mixed(program, clock)
    if found.choice is None:
        return rough(program, tight)
    worth = program.worth(found.choice)
    if found.proven:
        return Answer(found.choice, worth, worth, True)
    other = rough(program, tight) if np.isinf(worth) else None
    best, worth = (other.choice, other.worth) if other is not None else (found.choice, worth)
    return Answer(best, worth, max(worth, min(found.bound, tight.bound)), False)


def rough(program: Program, loose: Dual) -> Answer:
    """Return an assignment that satisfies the hard rows without any proof, found by a short search.

    Raises:
        NoIncumbentError: the search found none.
    """
    found = search(program, loose, len(program.scores) + MOST_TRIES)
    if found.choice is None:
        if found.complete:
            raise NoAssignmentError
        raise NoIncumbentError
    worth = program.worth(found.choice)
    return Answer(found.choice, worth, worth if found.complete else max(worth, loose.bound), found.complete)
