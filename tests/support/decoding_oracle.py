"""Random small passages with rules of every family, and the best assignment by trying all of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from benchmarks.ontologies import EntityType, EventType, Ontology, Role, RoleMap, Weights
from benchmarks.passages import Argument, Event, Mention, Passage, Trigger, UserRule
from zeroshot.constraints import CONSTRAINTS
from zeroshot.constraints.base import Constraint
from zeroshot.problem import Pair, Problem

WORDS = ("rebels", "Monday", "the mayor of Lyon", "Lyon", "rifles", "10 May 2003", "he", "a barracks")
TYPES = ("LOC", "PER", "TIME")


def weight(rng: np.random.Generator, hard: float = 0.15):
    """Return a price, sometimes none at all, sometimes a hard one."""
    if rng.random() < hard:
        return "hard"
    return 0.0 if rng.random() < 0.1 else float(np.round(rng.uniform(0.2, 4.0), 3))


def random_ontology(rng: np.random.Generator, roles: int, hard: float = 0.15) -> Ontology:
    """Return two event types that share some roles, with every kind of rule between them."""
    events = {}
    for name in ("Attack", "Die"):
        kinds = {}
        for key in [f"R{number}" for number in range(roles - 1)] + ["Time"]:
            least = int(rng.random() < 0.15)
            kinds[key] = Role(
                types=tuple(str(kind) for kind in rng.permutation(TYPES)[: rng.integers(0, 3)]),
                min=least,
                max=[None, 1, 1, 2][rng.integers(4)],
                time=key == "Time",
            )
        pick = [tuple(str(key) for key in rng.permutation(list(kinds))[:2]) for _ in range(2)]
        events[name] = EventType(
            roles=kinds,
            exclusions=(pick[0],) if rng.random() < 0.4 else (),
            implies=(pick[1],) if rng.random() < 0.4 else (),
        )
    maps = [
        RoleMap(
            source="Attack",
            target="Die",
            roles={"R0": "R1", "Time": "Time"},
            weight=weight(rng, hard) if rng.random() < 0.3 else None,
        ),
        RoleMap(source="*", target="Die", roles={"R1": "R0"}),
    ]
    names = ("types", "multiplicity", "exclusion", "overlap", "cooccurrence", "maps", "coreference", "time")
    return Ontology(
        name="toy",
        entity_types={kind: EntityType() for kind in TYPES},
        events=events,
        maps=tuple(maps[: rng.integers(0, 3)]),
        time_types=("TIME",),
        weights=Weights(**{name: weight(rng, hard) for name in names}),
    )


def random_passage(rng: np.random.Generator, mentions: int, events: int, roles: int) -> Passage:
    """Return a text with mentions, some of which overlap or corefer, events over them, and now and then a user rule."""
    chosen = [WORDS[number] for number in rng.permutation(len(WORDS))[:mentions]]
    text, entities = "", []
    for number, word in enumerate(chosen):
        start = len(text)
        text += word + " and "
        if number and rng.random() < 0.25:
            start, word = entities[-1].start, text[entities[-1].start : entities[-1].end][: rng.integers(2, 9)]
        entities.append(
            Mention(
                id=f"m{number}",
                start=start,
                end=start + len(word),
                coref=f"C{rng.integers(2)}" if rng.random() < 0.4 else None,
                type=str(rng.choice(TYPES)) if rng.random() < 0.5 else None,
            )
        )
    made, rules = [], []
    for number in range(events):
        start = len(text)
        text += "fired " if number % 2 else "killed "
        own = [m.id for m in entities if rng.random() < 0.75]
        made.append(
            Event(
                id=f"e{number}",
                type=("Attack", "Die")[rng.integers(2)],
                trigger=Trigger(start=start, end=len(text) - 1),
                arguments=tuple(Argument(entity=name) for name in own),
                candidates="arguments" if rng.random() < 0.5 else "entities",
                coref="same" if rng.random() < 0.4 else None,
            )
        )
        if own and rng.random() < 0.3:
            role = f"R{rng.integers(roles - 1)}"
            rules.append(
                UserRule(rule=("force", "forbid")[rng.integers(2)], event=f"e{number}", entity=own[0], role=role)
            )
    return Passage(doc_id="toy", text=text, entities=tuple(entities), events=tuple(made), constraints=tuple(rules))


def lay_out(passage: Passage, ontology: Ontology) -> Problem:
    """Return the problem of a passage: given arguments must have a role, other candidates may have none."""
    place = {mention.id: number for number, mention in enumerate(passage.entities)}
    pairs = []
    for number, event in enumerate(passage.events):
        given = event.candidates == "arguments"
        names = [argument.entity for argument in event.arguments] if given else list(place)
        pairs += [Pair(number, place[name], not given) for name in sorted(names, key=place.__getitem__)]
    types = tuple((m.type,) if m.type else tuple(ontology.entity_types) for m in passage.entities)
    return Problem(passage, ontology, passage.entities, tuple(pairs), types)


def random_problem(
    rng: np.random.Generator, limit: int = 60_000, hard: float = 0.15
) -> tuple[Problem, np.ndarray, dict[str, Constraint]]:
    """Return a problem with at most ``limit`` assignments, its scores (sometimes with ties), and all constraints."""
    while True:
        roles = int(rng.integers(2, 5))
        passage = random_passage(rng, int(rng.integers(1, 5)), int(rng.integers(1, 4)), roles)
        problem = lay_out(passage, random_ontology(rng, roles, hard))
        constraints = {name: CONSTRAINTS.load(name)() for name in CONSTRAINTS.names()}
        if rng.random() < 0.3:
            constraints["maps"] = CONSTRAINTS.load("maps")(none=True)
        if rng.random() < 0.3:
            constraints["overlap"] = CONSTRAINTS.load("overlap")(nested="any")
        extra = len(
            {
                key
                for rule in constraints.values()
                for row in rule.rows(problem)
                for key, _ in row.terms
                if isinstance(key, tuple)
            }
        )
        groups = [*map(len, problem.pair_groups), *(len(g) for g in problem.type_groups if len(g))]
        if float(np.prod([float(size) for size in groups])) * 2.0**extra <= limit and problem.pairs:
            break
    scores = rng.normal(size=problem.size) * rng.choice([0.5, 2.0])
    return problem, np.round(scores) if rng.random() < 0.2 else scores, constraints


def every_value(
    problem: Problem, scores: np.ndarray, constraints: Mapping[str, Constraint]
) -> tuple[np.ndarray, np.ndarray]:
    """Return all assignments, int (number, pairs + mentions with types), and the objective of each.

    An assignment stands for the best values of the auxiliary variables; minus infinity: a hard row is broken.
    """
    rows = [(name, row) for name, rule in constraints.items() for row in rule.rows(problem)]
    extra = sorted({(name, key) for name, row in rows for key, _ in row.terms if isinstance(key, tuple)})
    groups = [*problem.pair_groups, *(g for g in problem.type_groups if len(g))]
    sizes = [len(group) for group in groups] + [2] * len(extra)
    index = np.indices(sizes).reshape(len(sizes), -1).T
    on = np.zeros((len(index), problem.size + len(extra)))
    for number, group in enumerate(groups):
        on[np.arange(len(index)), np.asarray(group)[index[:, number]]] = 1
    on[:, problem.size :] = index[:, len(groups) :]
    place = {key: problem.size + number for number, key in enumerate(extra)}
    value = on[:, : problem.size] @ scores
    for name, row in rows:
        total = np.zeros(len(index))
        for key, factor in row.terms:
            total += factor * on[:, place[(name, key)] if isinstance(key, tuple) else key]
        left = np.maximum(np.maximum(row.lower - total, total - row.upper), 0)
        price = np.inf if row.price is None else row.price
        if price:
            value[left > 1e-9] -= left[left > 1e-9] * price
    best = value.reshape(-1, 2 ** len(extra)).max(axis=1)
    return index.reshape(len(best), -1, len(sizes))[:, 0, : len(groups)], best


def by_roles(problem: Problem, index: np.ndarray, value: np.ndarray) -> dict[tuple[str | None, ...], float]:
    """Return the best objective of each assignment of roles that keeps the hard rows."""
    found: dict[tuple[str | None, ...], float] = {}
    for chosen, worth in zip(index[:, : len(problem.pairs)].tolist(), value.tolist(), strict=True):
        if np.isfinite(worth):
            roles = tuple(problem.roles(pair)[place] for pair, place in enumerate(chosen))
            found[roles] = max(worth, found.get(roles, -np.inf))
    return found


def objective(problem: Problem, scores: np.ndarray, constraints: Mapping[str, Constraint], roles, types) -> float:
    """Return the objective of roles and types by the definition, auxiliaries by trying all."""
    columns = {problem.x(pair, role) for pair, role in enumerate(roles)}
    columns |= {problem.y(mention, kind) for mention, kind in enumerate(types) if kind is not None}
    total = sum(float(scores[column]) for column in columns)
    for rule in constraints.values():
        rows = list(rule.rows(problem))
        extra = sorted({key for row in rows for key, _ in row.terms if isinstance(key, tuple)})
        costs = []
        for bits in itertools.product((False, True), repeat=len(extra)):
            on = columns | {key for key, bit in zip(extra, bits, strict=True) if bit}
            cost = 0.0
            for row in rows:
                value = sum(factor for key, factor in row.terms if key in on)
                left = max(row.lower - value, value - row.upper, 0.0)
                if left > 1e-9:
                    cost += np.inf if row.price is None else left * row.price
            costs.append(cost)
        total -= min(costs)
    return total
