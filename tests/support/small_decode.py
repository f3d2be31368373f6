"""Decoding by trying every assignment: the oracle of small problems, and problems to try it on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from benchmarks.ontologies import EntityType, EventType, Ontology, Role
from benchmarks.passages import Event, Mention, Passage, Trigger
from zeroshot.constraints.base import Constraint, Row
from zeroshot.decode import InfeasibleError
from zeroshot.decoding import Decoding, Violation
from zeroshot.problem import Pair, Problem


@dataclass(frozen=True)
class Rule:
    """A constraint made of a function from a problem to its rows."""

    make: object
    family: ClassVar[str] = "cross-argument"

    def rows(self, problem: Problem) -> list[Row]:
        return list(self.make(problem))


@dataclass(frozen=True)
class TypeRule(Rule):
    family: ClassVar[str] = "cross-task"


def amount(row: Row, on: set) -> float:
    value = sum(factor for key, factor in row.terms if key in on)
    return max(row.lower - value, value - row.upper, 0.0)


def brute(problem: Problem, scores, constraints: Mapping[str, Constraint], *, time_limit=10.0, best=1, margins=False):
    """Return the first of the best assignments in the order of columns; auxiliaries are tried as well."""
    rows = [(name, rule.family, row) for name, rule in constraints.items() for row in rule.rows(problem)]
    # auxiliaries of different rules are different variables
    extra = sorted({(name, key) for name, _, row in rows for key, _ in row.terms if isinstance(key, tuple)})
    keyed = [
        (name, family, row, [((name, key) if isinstance(key, tuple) else key, factor) for key, factor in row.terms])
        for name, family, row in rows
    ]
    groups = [*problem.pair_groups, *[group for group in problem.type_groups if len(group)]]
    top = None
    for chosen in itertools.product(*[group.tolist() for group in groups]):
        score = float(sum(scores[column] for column in chosen))
        for bits in itertools.product((0, 1), repeat=len(extra)):
            on = {*chosen, *(key for key, bit in zip(extra, bits, strict=True) if bit)}
            broken = []
            for name, family, row, terms in keyed:
                value = sum(factor for key, factor in terms if key in on)
                left = max(row.lower - value, value - row.upper, 0.0)
                if left > 1e-9:
                    broken.append((name, family, row, left))
            if any(row.price is None for _, _, row, _ in broken):
                continue
            objective = score - sum(left * row.price for _, _, row, left in broken)
            if top is None or objective > top[0] + 1e-9:
                top = (objective, chosen, broken)
    if top is None:
        raise InfeasibleError([(name, row) for name, _, row in rows])
    found = _decoding(problem, *top)
    if not margins:
        return found
    worth = [_margin(problem, scores, constraints, found, pair) for pair in range(len(problem.pairs))]
    return replace(found, margins=tuple(worth))


def _margin(problem: Problem, scores, constraints, found: Decoding, pair: int) -> float:
    row = Row(((problem.x(pair, found.roles[pair]), 1.0),), -math.inf, 0.0, None, "")
    try:
        other = brute(problem, scores, {**constraints, "other": Rule(lambda _: [row])})
    except InfeasibleError:
        return math.inf
    return found.objective - other.objective


def _decoding(problem: Problem, objective: float, chosen, broken) -> Decoding:
    columns = [problem.columns[column] for column in chosen]
    types = {column.mention: column.type for column in columns if column.mention is not None}
    return Decoding(
        roles=tuple(column.role for column in columns if column.pair is not None),
        types=tuple(types.get(mention) for mention in range(len(problem.mentions))),
        objective=objective,
        bound=objective,
        status="optimal",
        seconds=0.0,
        components=1,
        violations=tuple(
            Violation(name, family, row.reason, left, left * row.price) for name, family, row, left in broken
        ),
    )


TEXT = "Ann shot Bob in Rome with a gun and he died"
ONTOLOGY = Ontology(
    name="tiny",
    entity_types={"PER": EntityType(), "LOC": EntityType(), "WEA": EntityType()},
    events={
        "attack": EventType(
            roles={
                "Attacker": Role(types=("PER",), max=1),
                "Target": Role(types=("PER",)),
                "Place": Role(types=("LOC",)),
            }
        ),
        "die": EventType(roles={"Victim": Role(types=("PER",)), "Agent": Role(types=("PER",))}),
    },
)
SPANS = {"ann": (0, 3), "bob": (9, 12), "rome": (16, 20), "gun": (28, 31)}


def small(pairs, *, events=("attack",), types=None, none=False) -> Problem:
    """Return a problem about TEXT: ``pairs`` are (event number, mention name)."""
    names = list(SPANS)
    passage = Passage(
        doc_id="d",
        text=TEXT,
        entities=[Mention(id=name, start=start, end=end) for name, (start, end) in SPANS.items()],
        events=[
            Event(
                id=f"E{at}",
                type=kind,
                trigger=Trigger(start=4, end=8) if kind == "attack" else Trigger(start=39, end=43),
            )
            for at, kind in enumerate(events)
        ],
    )
    cells = tuple(
        sorted((Pair(event, names.index(name), none) for event, name in pairs), key=lambda p: (p.event, p.mention))
    )
    kinds = tuple(tuple((types or {}).get(name, ())) for name in names)
    return Problem(passage, ONTOLOGY, passage.entities, cells, kinds)


def scored(problem: Problem, wanted: Mapping) -> np.ndarray:
    """Return scores that are 0 but for ``wanted``: (event, mention name, role) or (mention name, type) -> score."""
    names = list(SPANS)
    cells = {(pair.event, names[pair.mention]): at for at, pair in enumerate(problem.pairs)}
    scores = np.zeros(len(problem.columns))
    for key, value in wanted.items():
        column = problem.x(cells[key[:2]], key[2]) if len(key) == 3 else problem.y(names.index(key[0]), key[1])
        scores[column] = value
    return scores
