"""decode: problem, scores and constraints in; the best assignment and its proof out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from backbones.core.errors import FrostlineError
from zeroshot.constraints.base import Constraint
from zeroshot.decode.clock import Clock
from zeroshot.decode.compile import Compiled, compile_problem
from zeroshot.decode.conflict import conflict
from zeroshot.decode.dual import dual
from zeroshot.decode.fold import Folded, NoAssignmentError, fold
from zeroshot.decode.program import Ints, Program, cost
from zeroshot.decode.ranking import Solved, merged
from zeroshot.decode.solve import Answer, NoIncumbentError, free_choice, solve_with_dual
from zeroshot.decode.split import split
from zeroshot.decoding import Decoding, Violation
from zeroshot.problem import Problem


def decode(
    problem: Problem,
    scores: NDArray[np.float64],
    constraints: Mapping[str, Constraint],
    *,
    time_limit: float = 10.0,
    best: int = 1,
    margins: bool = False,
) -> Decoding:
    """Find the assignment with the greatest sum of scores less the price of the rules that it breaks.

    The answer is proven to be the best, to 1e-6 nats, unless time runs out. It does not hang on the order of events,
    mentions, arguments, roles or rules. Of assignments that are equally good to 1e-6 nats, the one is taken that has
    the roles that are first in the alphabet (NONE last) at the pairs that are first in the text.

    Args:
        problem: what is to be decided.
        scores: of ``problem.columns``, in nats: float64, shape (problem.size,), finite.
        constraints: name -> constraint.
        time_limit: seconds, after which the best assignment found so far is returned with what is not proven as gap.
        best: number of assignments; those after the best one are ``alternatives`` (fewer if there are no more, or
            time runs out).
        margins: whether to find what each pair's role is worth.

    Raises:
        InfeasibleError: the hard rules cannot hold together; names a minimal conflict.
        FrostlineError: a score that is not finite, a malformed row, or no assignment that keeps the hard rules was
            found in time.
    """
    clock = Clock(time_limit)
    compiled = compile_problem(problem, scores, constraints)
    whole = compiled.program
    try:
        kept = np.arange(whole.groups) < len(compiled.pairs)
        folded = fold(whole, kept if best > 1 or margins else None)
        parts, singles, choice = _solve(folded, len(compiled.pairs), clock)
    except NoAssignmentError:
        raise conflict(compiled) from None
    except NoIncumbentError:
        raise FrostlineError(
            f"no assignment that keeps the hard rules was found in {time_limit:g} s. Raise the time limit, or give "
            'some hard rules a weight in place of "hard".'
        ) from None
    proven = all(part.answer.proven for part in parts)
    spare = sum(part.answer.bound - part.answer.worth for part in parts)
    found = _report(problem, scores, compiled, folded.complete(choice.copy()), clock)
    found = replace(
        found,
        bound=found.objective if proven else found.objective + float(spare),
        status="optimal" if proven else "time limit",
        components=len(parts) + _alone(folded, parts, len(compiled.pairs)),
    )
    if margins:
        found = replace(found, margins=_margins(problem, compiled, parts, singles, clock))
    if best > 1 and proven:
        others = []
        for answers in merged([*parts, *singles], best - 1, clock):
            other = choice.copy()
            for part, answer in zip((*parts, *singles), answers, strict=True):
                other[part.groups] = part.columns[answer.choice]
            report = _report(problem, scores, compiled, folded.complete(other), clock)
            others.append(replace(report, components=found.components))
        found = replace(found, alternatives=tuple(others))
    return replace(found, seconds=clock.spent())


def _solve(folded: Folded, pairs: int, clock: Clock) -> tuple[list[Solved], list[Solved], Ints]:
    """Return solved parts, groups without rows as parts of their own, and the chosen column of each group."""
    pieces = split(folded)
    choice = free_choice(folded)
    parts = []
    for part in pieces.parts:
        answer, tight = solve_with_dual(part.program, clock)
        roles = np.flatnonzero(part.groups < pairs).tolist()
        parts.append(Solved(part.program, part.groups, part.columns, roles, answer, tight))
        choice[part.groups] = part.columns[answer.choice]
    singles = [_single(folded, int(group), int(choice[group])) for group in pieces.free if group < pairs]
    return parts, singles, choice


def _alone(folded: Folded, parts: list[Solved], pairs: int) -> int:
    """Return how many groups without rows are a pair, or have one folded into them."""
    root = list(range(folded.source.groups))
    for step in reversed(folded.steps):
        root[step.group] = root[step.partner]
    tied = {int(group) for part in parts for group in part.groups}
    return len(set(root[:pairs]) - tied)


def _single(folded: Folded, group: int, chosen: int) -> Solved:
    start, end = folded.source.starts[group], folded.source.starts[group + 1]
    columns = start + np.flatnonzero(np.isfinite(folded.scores[start:end]))
    scores = folded.scores[columns]
    ints, floats = np.empty(0, dtype=np.int64), np.empty(0)
    program = Program(scores, np.array([0, len(columns)]), ints, ints, floats, floats, floats, floats)
    worth = float(folded.scores[chosen])
    answer = Answer(np.flatnonzero(columns == chosen), worth, worth, True)
    return Solved(program, np.array([group]), columns, [0], answer, dual(program))


def _margins(
    problem: Problem, compiled: Compiled, parts: list[Solved], singles: list[Solved], clock: Clock
) -> tuple[float, ...]:
    """Return for each pair what is lost if it must take another role."""
    margins = [np.inf] * len(problem.pairs)
    for part in (*parts, *singles):
        sharp = part.sharpened(clock)
        for group in part.roles:
            margins[compiled.pairs[part.groups[group]]] = sharp.margin(group, clock)
    return tuple(margins)


def _report(problem: Problem, scores: NDArray[np.float64], compiled: Compiled, choice: Ints, clock: Clock) -> Decoding:
    """Say what an assignment is in words of the problem; the objective is computed from the problem's own scores."""
    columns = compiled.columns[choice]
    roles: list[str | None] = [None] * len(problem.pairs)
    types: list[str | None] = [None] * len(problem.mentions)
    for group, pair in enumerate(compiled.pairs):
        roles[pair] = problem.roles(pair)[columns[group] - problem.pair_groups[pair][0]]
    for group, mention in enumerate(compiled.mentions, len(compiled.pairs)):
        types[mention] = problem.types[mention][columns[group] - problem.type_groups[mention][0]]
    amounts = compiled.program.amounts(choice)
    costs = cost(amounts, compiled.program.price)
    broken = [
        Violation(
            compiled.rules[row],
            compiled.families[compiled.rules[row]],
            compiled.rows[row].reason,
            float(amounts[row]),
            float(costs[row]),
            compiled.rows[row].evidence,
        )
        for row in np.flatnonzero(costs)
    ]
    broken.sort(key=lambda found: (-found.cost, found.rule, found.reason))
    own = columns[columns >= 0]
    objective = float(np.asarray(scores, dtype=np.float64)[own].sum() - costs.sum())
    return Decoding(tuple(roles), tuple(types), objective, objective, "optimal", clock.spent(), 1, tuple(broken))
