"""Random problems for measurements of decoding: passages of the size of a news item, and documents of any size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.ontologies import EntityType, EventType, Ontology, Role, RoleMap
from benchmarks.passages import Argument, Event, Mention, Passage, Trigger
from zeroshot.problem import Pair, Problem

# Which entity types roles admit, much as in published ontologies: people, groups, places, things, time, crime, money.
ADMITTED = ((0,), (0, 1), (0, 1, 2), (2, 3, 4), (5, 6), (7,), (8, 9), (10,), (11,), (0, 1, 2, 5, 6))
KINDS = 12


def scores_of(problem: Problem, rng: np.random.Generator, spread: float = 2.0) -> NDArray[np.float64]:
    """Return random log-probabilities: normal logits of the given spread, normalised in each cell and mention."""
    values: NDArray[np.float64] = rng.normal(size=problem.size) * spread
    for group in (*problem.pair_groups, *problem.type_groups):
        if len(group):
            values[group] -= np.log(np.exp(values[group]).sum())
    return values


def news_problem(rng: np.random.Generator, ontology: Ontology, none: bool) -> Problem:
    """Return a passage with 2 to 6 events and 5 to 12 mentions, half of them of a known type.

    Args:
        none: whether every mention is a candidate of every event and may have no role; else each event has 1 to 6
            given arguments.
    """
    kinds = sorted(ontology.entity_types)
    count, events = int(rng.integers(5, 13)), int(rng.integers(2, 7))
    types = [(str(rng.choice(kinds)),) if rng.random() < 0.5 else tuple(kinds) for _ in range(count)]
    near = [name for name in ontology.events if name.startswith(("Conflict", "Life", "Justice", "Movement"))]
    names = [str(name) for name in rng.choice(near, size=events)]
    given = [
        list(range(count)) if none else sorted(rng.permutation(count)[: rng.integers(1, 7)].tolist())
        for _ in range(events)
    ]
    return _passage(ontology, names, given, types, none)


def large_ontology(rng: np.random.Generator, roles: int) -> Ontology:
    """Return five event types with so many roles each and maps of five roles between any two."""
    kinds = [f"K{number}" for number in range(KINDS)]
    events = {}
    for number in range(5):
        table = {
            f"R{place:02d}": Role(
                types=tuple(kinds[kind] for kind in ADMITTED[rng.integers(len(ADMITTED))]),
                max=1 if place % 2 == 0 else None,
            )
            for place in range(roles)
        }
        events[f"E{number}"] = EventType(
            roles=table, exclusions=(("R00", "R01"), ("R02", "R03")), implies=(("R04", "R05"),)
        )
    tied = {f"R{place:02d}": f"R{(place + 3) % roles:02d}" for place in range(5)}
    maps = [RoleMap(source=f"E{a}", target=f"E{b}", roles=tied) for a in range(5) for b in range(a + 1, 5)]
    return Ontology(name="random", entity_types={kind: EntityType() for kind in kinds}, events=events, maps=tuple(maps))


def large_problem(rng: np.random.Generator, arguments: int, roles: int, events: int, shared: float) -> Problem:
    """Return a document in which no entity type is known.

    Args:
        arguments: in all, spread evenly over the events; shared: share of them whose mention is already an argument
            of an earlier event.
    """
    ontology = large_ontology(rng, roles)
    given: list[list[int]] = []
    used: list[int] = []
    count = 0
    for _ in range(events):
        own: list[int] = []
        for again in rng.random(arguments // events) < shared:
            pool = [mention for mention in used if mention not in own]
            if again and pool:
                own.append(int(rng.choice(pool)))
            else:
                own.append(count)
                count += 1
        given.append(sorted(own))
        used = sorted({*used, *own})
    names = [f"E{rng.integers(5)}" for _ in range(events)]
    return _passage(ontology, names, given, [tuple(ontology.entity_types)] * count, False)


def pair_problem(ontology: Ontology, first: str, second: str) -> Problem:
    """Return two events that share their only argument, whose entity type is of no account."""
    return _passage(ontology, [first, second], [[0], [0]], [()], False)


def _passage(
    ontology: Ontology, names: list[str], given: list[list[int]], types: list[tuple[str, ...]], none: bool
) -> Problem:
    text = " ".join(f"m{number}" for number in range(len(types)))
    mentions, end = [], 0
    for number, kinds in enumerate(types):
        start, end = end, end + len(f"m{number}")
        mentions.append(Mention(id=f"m{number}", start=start, end=end, type=kinds[0] if len(kinds) == 1 else None))
        end += 1
    made = []
    for number, (name, own) in enumerate(zip(names, given, strict=True)):
        start = len(text) + 1
        text += " event"
        made.append(
            Event(
                id=f"e{number}",
                type=name,
                trigger=Trigger(start=start, end=start + 5),
                arguments=() if none else tuple(Argument(entity=f"m{mention}") for mention in own),
                candidates="entities" if none else "arguments",
            )
        )
    passage = Passage(doc_id="random", text=text, entities=tuple(mentions), events=tuple(made))
    pairs = tuple(Pair(number, mention, none) for number, own in enumerate(given) for mention in own)
    return Problem(passage, ontology, tuple(mentions), pairs, tuple(types))
