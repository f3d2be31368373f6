"""From a decoding to what a user reads: the passage with roles, scores and reasons."""

from __future__ import annotations

import math

from zeroshot.decoding import Decoding
from zeroshot.explain import Explanation
from zeroshot.problem import Problem
from zeroshot.result import Alternative, ArgumentResult, Assignment, BrokenRule, EventResult, Result, Solver


def to_result(
    problem: Problem,
    decoding: Decoding,
    reasons: tuple[Explanation, ...],
    *,
    scorer: str,
    rules: tuple[str, ...],
    notes: tuple[str, ...],
) -> Result:
    """Put a decoding into words.

    Args:
        problem: its cells; decoding: its answer; reasons: one for each pair.
        scorer: name of what scored; rules: constraints in force; notes: what the user must know.
    """
    passage = problem.passage
    if decoding.status != "optimal":
        notes += (
            f"decoding stopped at its time limit: the best assignment found is within {decoding.gap:.3g} nats of "
            "the best possible one (--time-limit).",
        )
    late = [each for each in reasons if not each.proven]
    if late:
        blank = sum(not each.causes for each in late)
        notes += (
            f"time ran out while explaining: why {len(late)} pairs have another role than by their scores is "
            f"{'not proven' if not blank else f'not proven, and of {blank} not said'} (--time-limit).",
        )
    return Result(
        doc_id=passage.doc_id,
        ontology=problem.ontology.name,
        language=passage.language,
        text=passage.text,
        entities=passage.entities,
        events=tuple(_event(problem, decoding, reasons, index) for index in range(len(problem.events))),
        constraints=passage.constraints,
        scorer=scorer,
        rules=rules,
        solver=_solver(decoding),
        alternatives=tuple(_assignment(problem, decoding, other) for other in decoding.alternatives),
        notes=notes,
    )


def _event(problem: Problem, decoding: Decoding, reasons: tuple[Explanation, ...], index: int) -> EventResult:
    event = problem.events[index]
    told = [_argument(problem, decoding, reasons[pair], pair) for pair in problem.pairs_of_event[index]]
    return EventResult(
        id=event.id,
        type=event.type,
        trigger=event.trigger,
        arguments=tuple(each for each in told if each.role is not None),
        rejected=tuple(each for each in told if each.role is None),
        coref=event.coref,
    )


def _argument(problem: Problem, decoding: Decoding, reason: Explanation, pair: int) -> ArgumentResult:
    mention = problem.pairs[pair].mention
    chosen = decoding.roles[pair]
    scores = dict(reason.scores)
    margin = decoding.margins[pair] if decoding.margins is not None else math.inf
    return ArgumentResult(
        entity=problem.mentions[mention].id,
        role=chosen,
        score=scores[chosen],
        margin=margin if math.isfinite(margin) else None,
        entity_type=decoding.types[mention],
        alternatives=tuple(Alternative(role=role, score=value) for role, value in reason.scores),
        local_role=reason.local_role,
        changed_by=reason.causes,
    )


def _solver(decoding: Decoding) -> Solver:
    return Solver(
        status=decoding.status,
        objective=decoding.objective,
        bound=decoding.bound,
        gap=decoding.gap,
        seconds=decoding.seconds,
        components=decoding.components,
        violations=tuple(
            BrokenRule(rule=each.rule, family=each.family, reason=each.reason, amount=each.amount, cost=each.cost)
            for each in decoding.violations
            if not each.evidence
        ),
        evidence=sum(each.cost for each in decoding.violations if each.evidence),
    )


def _assignment(problem: Problem, best: Decoding, other: Decoding) -> Assignment:
    changes = tuple(
        (problem.events[cell.event].id, problem.mentions[cell.mention].id, role)
        for cell, was, role in zip(problem.pairs, best.roles, other.roles, strict=True)
        if was != role
    )
    return Assignment(objective=other.objective, changes=changes)
