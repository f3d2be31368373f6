"""Baselines without a search: chance, one role for all, and each cell on its own."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from benchmarks.passages import Argument, Passage
from zeroshot.problem import Problem

Roles = tuple[str | None, ...]
"""For each pair of a problem its role, None for NONE."""


def allowed(problem: Problem, pair: int, *, types: bool) -> Roles:
    """Return the roles that a pair may have.

    Args:
        problem: its cells; pair: index.
        types: leave out roles that admit none of the mention's entity types; if that leaves none (a mention whose
            types no role admits), nothing is left out.
    """
    cell = problem.pairs[pair]
    every = problem.roles(pair)
    if not types:
        return every
    specs = problem.ontology.event(problem.events[cell.event].type).roles
    kinds = set(problem.types[cell.mention])
    fit = tuple(
        role for role in every if role is None or not specs[role].types or not kinds or kinds & set(specs[role].types)
    )
    return fit if any(role is not None for role in fit) else every


def random_roles(problem: Problem, generator: np.random.Generator, *, types: bool = False) -> Roles:
    """Return a role for each pair, uniform among those allowed (see ``allowed``).

    Args:
        problem: its cells; generator: own generator, see backbones.core.seed; types: use entity types.
    """
    chosen: list[str | None] = []
    for pair in range(len(problem.pairs)):
        roles = allowed(problem, pair, types=types)
        chosen.append(roles[int(generator.integers(len(roles)))])
    return tuple(chosen)


def random_expected_accuracy(problem: Problem, gold: Passage, *, types: bool = False) -> tuple[float, int]:
    """Return what ``random_roles`` gets right on average, exactly.

    Args:
        problem: its cells; gold: the same passage with gold roles, events by id and mentions by span; types: as there.

    Returns:
        (expected number of right pairs, number of pairs that have a gold role); divide the sums over documents.
    """
    roles = gold_roles(problem, gold)
    right = 0.0
    for pair, answers in enumerate(roles):
        options = allowed(problem, pair, types=types)
        right += len(answers & set(options)) / len(options)
    return right, sum(bool(answers) for answers in roles)


def gold_roles(problem: Problem, gold: Passage) -> tuple[frozenset[str], ...]:
    """Return for each pair its gold roles, none where the gold says nothing."""
    mentions = {mention.id: mention.span for mention in gold.entities}
    answers: dict[tuple[str, tuple[int, int]], set[str]] = defaultdict(set)
    for event in gold.events:
        for argument in event.arguments:
            if argument.role is not None:
                answers[event.id, mentions[argument.entity]].add(argument.role)
    keys = ((problem.events[pair.event].id, problem.mentions[pair.mention].span) for pair in problem.pairs)
    return tuple(frozenset(answers.get(key, ())) for key in keys)


Table = Mapping[tuple[str, str | None], str]
"""(Event type, entity type or None for any) -> role."""


def majority_table(gold: Iterable[Passage], *, types: bool = False) -> dict[tuple[str, str | None], str]:
    """Return the most frequent gold role of each event type (of equals the first in the alphabet): an oracle.

    Args:
        gold: passages with gold roles; types: also of each event type and entity type together.
    """
    counts: dict[tuple[str, str | None], Counter[str]] = defaultdict(Counter)
    for passage in gold:
        kinds = {mention.id: mention.type for mention in passage.entities}
        for event in passage.events:
            for argument in event.arguments:
                if argument.role is not None:
                    for kind in {None, kinds[argument.entity] if types else None}:
                        counts[event.type, kind][argument.role] += 1
    return {key: min(table, key=lambda role: (-table[role], role)) for key, table in counts.items()}


def majority_roles(problem: Problem, table: Table) -> Roles:
    """Return the table's role for each pair: of event and entity type, else of the event type, else the first role.

    A table made from the gold of the same passages is an oracle (see ``majority_table``): it shows what knowing the
    most frequent answers is worth, and no method without annotation can make it.
    """
    chosen = []
    for cell, first in zip(problem.pairs, first_roles(problem), strict=True):
        event, kind = problem.events[cell.event].type, problem.mentions[cell.mention].type
        chosen.append(table.get((event, kind), table.get((event, None), first)))
    return tuple(chosen)


def first_roles(problem: Problem) -> Roles:
    """Return for each pair the role that the ontology lists first for its event type."""
    return tuple(problem.roles(pair)[0] for pair in range(len(problem.pairs)))


def greedy_roles(problem: Problem, scores: NDArray[np.float64]) -> Roles:
    """Return for each pair the role with the greatest score, the first of equals, without any rule.

    Args:
        problem: its cells; scores: of ``problem.columns``, float64.
    """
    return tuple(
        problem.roles(pair)[int(np.argmax(scores[columns]))] for pair, columns in enumerate(problem.pair_groups)
    )


def with_roles(problem: Problem, roles: Roles) -> Passage:
    """Return the problem's passage with these roles as its arguments, for ``evaluate``; NONE is no argument."""
    filled: list[list[Argument]] = [[] for _ in problem.events]
    for pair, role in zip(problem.pairs, roles, strict=True):
        if role is not None:
            filled[pair.event].append(Argument(entity=problem.mentions[pair.mention].id, role=role))
    events = tuple(
        event.model_copy(update={"arguments": tuple(arguments)})
        for event, arguments in zip(problem.events, filled, strict=True)
    )
    return problem.passage.model_copy(update={"events": events, "entities": problem.mentions})
