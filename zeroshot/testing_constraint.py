"""The public contract of a constraint, and small problems to check one on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from backbones.core.errors import FrostlineError
from backbones.core.seed import numpy_generator
from benchmarks.ontologies import EntityType, EventType, Ontology, Role, RoleMap
from benchmarks.passages import Argument, Event, Mention, Passage, Trigger
from zeroshot.constraints.base import FAMILIES, Constraint, Row
from zeroshot.decode import InfeasibleError, decode
from zeroshot.problem import Pair, Problem

__all__ = ["check_constraint", "sample_problems"]

_TEXT = "On Monday rebels fired at the mayor of Lyon, who died; the attack and the death shocked his guards."


def sample_problems() -> tuple[Problem, ...]:
    """Return problems with given arguments, with candidates that may have no role, and with nothing to decide.

    Their one passage has overlapping mentions, mentions and events that corefer, an expression of time, and mentions
    of known and unknown types; their ontology has rules of every kind.
    """
    ontology = Ontology(
        name="sample",
        entity_types={"PER": EntityType(), "LOC": EntityType(), "TIME": EntityType()},
        events={
            "Attack": EventType(
                roles={
                    "Attacker": Role(types=("PER",), max=1),
                    "Target": Role(types=("PER", "LOC"), min=1),
                    "Place": Role(types=("LOC",)),
                    "Time": Role(time=True),
                },
                exclusions=(("Target", "Place"),),
                implies=(("Attacker", "Target"),),
            ),
            "Die": EventType(roles={"Victim": Role(types=("PER",), max=1), "Agent": Role(), "Time": Role(time=True)}),
        },
        maps=(RoleMap(source="Attack", target="Die", roles={"Target": "Victim", "Attacker": "Agent"}),),
        time_types=("TIME",),
    )
    spans = {"T1": "Monday", "T2": "rebels", "T3": "the mayor of Lyon", "T4": "Lyon", "T5": "who", "T6": "his guards"}
    kinds = {"T1": None, "T2": "PER", "T3": "PER", "T4": "LOC", "T5": None, "T6": None}
    clusters = {"T3": "mayor", "T5": "mayor"}
    mentions = tuple(
        Mention(
            id=name,
            start=_TEXT.index(word),
            end=_TEXT.index(word) + len(word),
            type=kinds[name],
            coref=clusters.get(name),
        )
        for name, word in spans.items()
    )
    triggers = {"E1": ("Attack", "fired", "A"), "E2": ("Die", "died", "D"), "E3": ("Attack", "attack", "A")}
    events = tuple(
        Event(
            id=name,
            type=kind,
            trigger=Trigger(start=_TEXT.index(word), end=_TEXT.index(word) + len(word)),
            arguments=tuple(Argument(entity=mention) for mention in spans),
            coref=cluster,
        )
        for name, (kind, word, cluster) in triggers.items()
    )
    passage = Passage(doc_id="sample", text=_TEXT, entities=mentions, events=events)
    types = tuple((mention.type,) if mention.type else tuple(ontology.entity_types) for mention in mentions)
    given, free = (
        tuple(Pair(event, mention, none) for event in range(len(events)) for mention in range(len(mentions)))
        for none in (False, True)
    )
    return tuple(Problem(passage, ontology, mentions, pairs, types) for pairs in (given, free, ()))


def check_constraint(constraint: Constraint, problems: Sequence[Problem] | None = None) -> None:
    """Check a constraint.

    Its family is one of FAMILIES; the same problem gives the same rows, and a problem whose events, mentions and pairs
    are listed the other way round gives rows of the same meaning; each row has bounds that something can lie in,
    finite factors, a price that is not negative or none, columns that exist, a name of strings for each auxiliary
    variable, and a reason; the problem is left as it was; decoding works with it, and no assignment is worth more with
    it than without.

    Args:
        constraint: what to check.
        problems: what to check it on; None for ``sample_problems()``.

    Raises:
        AssertionError: the first promise that is broken, and where.
    """
    assert constraint.family in FAMILIES, f"family is {constraint.family!r}, none of {', '.join(FAMILIES)}"
    for number, problem in enumerate(sample_problems() if problems is None else problems):
        where = f"problem {number}"
        before = (problem.passage.model_dump_json(), problem.ontology.model_dump_json(), problem.columns)
        rows = list(constraint.rows(problem))
        assert rows == list(constraint.rows(problem)), f"{where}: a second call gives other rows"
        for row in rows:
            _check_row(row, problem, where)
        after = (problem.passage.model_dump_json(), problem.ontology.model_dump_json(), problem.columns)
        assert before == after, f"{where}: the problem was changed"
        turned = _turned(problem)
        assert _meaning(rows, problem) == _meaning(constraint.rows(turned), turned), (
            f"{where}: with events, mentions and pairs in another order the rows mean something else; are numbers "
            "(which hang on the order) in the names of auxiliary variables?"
        )
        _check_decoding(constraint, problem, where)


def _check_row(row: Row, problem: Problem, where: str) -> None:
    where = f"{where}, row {row.reason!r}"
    assert isinstance(row.reason, str) and row.reason.strip(), f"{where}: gives no reason"
    assert row.price is None or (math.isfinite(row.price) and row.price >= 0), f"{where}: price is {row.price}"
    assert row.lower <= row.upper, f"{where}: bounds are {row.lower} and {row.upper}"
    assert row.lower < math.inf and row.upper > -math.inf, f"{where}: nothing lies in {row.lower} to {row.upper}"
    for key, value in row.terms:
        assert math.isfinite(value), f"{where}: factor is {value}"
        if isinstance(key, tuple):
            assert all(isinstance(part, str) for part in key), f"{where}: {key!r} is not a tuple of strings"
        else:
            assert 0 <= key < problem.size, f"{where}: column {key} of {problem.size}"


def _turned(problem: Problem) -> Problem:
    """Return the same problem with events, mentions and pairs listed the other way round."""
    passage = problem.passage.model_copy(update={"events": problem.events[::-1], "entities": problem.mentions[::-1]})
    last_event, last_mention = len(problem.events) - 1, len(problem.mentions) - 1
    pairs = tuple(Pair(last_event - pair.event, last_mention - pair.mention, pair.none) for pair in problem.pairs[::-1])
    return Problem(passage, problem.ontology, problem.mentions[::-1], pairs, problem.types[::-1])


def _meaning(rows: Iterable[Row], problem: Problem) -> list[tuple[object, ...]]:
    """Return rows with ids in place of numbers, in an order of their own."""

    def named(key: int | tuple[str, ...]) -> tuple[str, ...]:
        if isinstance(key, tuple):
            return ("aux", *key)
        column = problem.columns[key]
        if column.pair is None:
            assert column.mention is not None
            return ("type", problem.mentions[column.mention].id, str(column.type))
        pair = problem.pairs[column.pair]
        return ("role", problem.events[pair.event].id, problem.mentions[pair.mention].id, column.role or "")

    return sorted(
        (
            sorted((named(key), value) for key, value in row.terms),
            row.lower,
            row.upper,
            -1.0 if row.price is None else row.price,
        )
        for row in rows
    )


def _check_decoding(constraint: Constraint, problem: Problem, where: str) -> None:
    scores = numpy_generator(0, "check_constraint", where).normal(size=problem.size)
    free = decode(problem, scores, {})
    try:
        bound = decode(problem, scores, {"checked": constraint})
    except InfeasibleError:
        return  # hard rules may ask too much of a random problem
    except FrostlineError as error:
        raise AssertionError(f"{where}: decoding fails: {error}") from error
    assert bound.objective <= free.objective + 1e-6, f"{where}: an assignment is worth more with the constraint"
    assert np.isfinite(bound.objective), f"{where}: the objective is {bound.objective}"
