"""What each constraint says about a passage, and what it says when the user's rules make no sense."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from backbones.core.errors import FrostlineError
from benchmarks.ontologies import EntityType, EventType, Ontology, Role, RoleMap
from benchmarks.passages import Argument, Event, Mention, Passage, Trigger, UserRule
from zeroshot.constraints import CONSTRAINTS
from zeroshot.decode import decode
from zeroshot.problem import Pair, Problem

TEXT = "On Monday the mayor of Lyon and his guards were shot, and Lyon mourned the mayor."
ROLES = {"Attacker": Role(types=("PER",)), "Target": Role(types=("PER", "LOC"), max=1), "Time": Role(time=True)}
DIE = {"Victim": Role(types=("PER",)), "Agent": Role(), "Time": Role(time=True)}


def span(word: str, after: int = 0) -> dict[str, int]:
    start = TEXT.index(word, after)
    return {"start": start, "end": start + len(word)}


def mention(name: str, word: str, after: int = 0, **more) -> Mention:
    return Mention(id=name, **span(word, after), **more)


def event(name: str, kind: str, word: str, coref: str | None = None) -> Event:
    return Event(id=name, type=kind, trigger=Trigger(**span(word)), coref=coref)


def ontology(**more) -> Ontology:
    kinds = {
        "Attack": EventType(roles=ROLES, exclusions=(("Attacker", "Target"),), implies=(("Attacker", "Target"),)),
        "Die": EventType(roles=DIE),
    }
    return Ontology(
        name="toy",
        entity_types={name: EntityType() for name in ("PER", "LOC", "TIM")},
        events=kinds,
        time_types=("TIM",),
        **{"maps": (RoleMap(source="Attack", target="Die", roles={"Target": "Victim"}),)} | more,
    )


def problem(mentions, events, none: bool = True, rules=(), types=None, pairs=None, **more) -> Problem:
    """Return the problem in which every mention is a candidate of every event."""
    given = tuple(e.model_copy(update={"arguments": tuple(Argument(entity=m.id) for m in mentions)}) for e in events)
    passage = Passage(doc_id="d", text=TEXT, entities=tuple(mentions), events=given, constraints=tuple(rules))
    made = ontology(**more)
    all_pairs = tuple(Pair(e, m, none) for e in range(len(events)) for m in range(len(mentions)))
    kinds = types or tuple((m.type,) if m.type else tuple(made.entity_types) for m in mentions)
    return Problem(passage, made, tuple(mentions), pairs or all_pairs, kinds)


def rows(name: str, made: Problem, **settings):
    return list(CONSTRAINTS.load(name)(**settings).rows(made))


def cost(name: str, made: Problem, roles, types=None, **settings) -> float:
    """Return what the rule charges for an assignment of roles, by decoding with all else forbidden by scores."""
    scores = np.zeros(made.size)
    for pair, role in enumerate(roles):
        scores[made.x(pair, role)] = 1000.0
    for number, kind in enumerate(types or ()):
        scores[made.y(number, kind)] = 1000.0
    found = decode(made, scores, {"rule": CONSTRAINTS.load(name)(**settings)})
    assert found.roles == tuple(roles)
    return sum(violation.cost for violation in found.violations)


MAYOR = mention("T1", "the mayor of Lyon", type="PER")
LYON = mention("T2", "Lyon", type="LOC")
GUARDS = mention("T3", "his guards")
MONDAY = mention("T4", "Monday")
MAYOR2 = mention("T5", "the mayor", 60, type="PER", coref="c")
SHOT, MOURNED = event("E1", "Attack", "shot"), event("E2", "Die", "mourned")


def test_types_charge_roles_that_do_not_admit_the_type() -> None:
    made = problem([LYON], [SHOT])
    assert cost("types", made, ["Attacker"], weight=2.0) == 2.0
    assert cost("types", made, ["Target"], weight=2.0) == cost("types", made, [None], weight=2.0) == 0
    (row,) = rows("types", made)
    assert row.reason == "Attacker of Attack (“shot”) admits PER: “Lyon”"
    assert row.price == made.ontology.weights.types


def test_types_follow_the_type_where_it_is_not_given_and_leave_mentions_without_types_alone() -> None:
    made = problem([GUARDS], [SHOT])
    assert cost("types", made, ["Attacker"], ["LOC"], weight=2.0) == 2.0
    assert cost("types", made, ["Attacker"], ["PER"], weight=2.0) == 0
    assert rows("types", problem([GUARDS], [SHOT], types=((),))) == []


def test_multiplicity_counts_things_and_not_mentions() -> None:
    same = [mention("T1", "the mayor of Lyon", coref="c"), MAYOR2, GUARDS]
    made = problem(same, [SHOT])
    assert cost("multiplicity", made, ["Target", "Target", None], weight=2.0) == 0
    assert cost("multiplicity", made, ["Target", "Target", "Target"], weight=2.0) == 2.0
    assert cost("multiplicity", made, ["Attacker", None, "Attacker"], weight=2.0) == 0
    assert cost("multiplicity", made, ["Attacker", None, "Attacker"], weight=2.0, max=1) == 2.0
    assert cost("multiplicity", made, [None, None, None], weight=2.0, min=1) == 6.0
    told = {row.reason for row in rows("multiplicity", made)}
    assert "Target of Attack (“shot”) is filled by at most 1" in told


def test_exclusion_and_cooccurrence_charge_once_however_many_fill_the_role() -> None:
    made = problem([MAYOR, GUARDS, MAYOR2], [SHOT])
    assert cost("exclusion", made, ["Attacker", "Attacker", "Target"], weight=2.0) == 2.0
    assert cost("exclusion", made, ["Attacker", "Attacker", None], weight=2.0) == 0
    assert cost("cooccurrence", made, ["Attacker", "Attacker", None], weight=2.0) == 2.0
    assert cost("cooccurrence", made, ["Attacker", "Attacker", "Target"], weight=2.0) == 0
    assert cost("cooccurrence", made, [None, None, "Target"], weight=2.0) == 0


def test_overlap_keeps_nested_spans_from_one_role_and_crossing_ones_from_one_event() -> None:
    nested = problem([MAYOR, LYON], [SHOT])
    assert cost("overlap", nested, ["Target", "Target"], weight=2.0) == 2.0
    assert cost("overlap", nested, ["Target", "Attacker"], weight=2.0) == 0
    assert cost("overlap", nested, ["Target", "Attacker"], weight=2.0, nested="any") == 2.0
    assert cost("overlap", nested, ["Target", "Target"], weight=2.0, nested="allowed") == 0
    crossing = [MAYOR, mention("T6", "Lyon and his guards")]
    assert cost("overlap", problem(crossing, [SHOT]), ["Target", "Attacker"], weight=2.0) == 2.0
    assert cost("overlap", problem(crossing, [SHOT], none=False), ["Target", "Attacker"], weight=2.0) == 0
    assert cost("overlap", problem(crossing, [SHOT], none=False), ["Target", "Target"], weight=2.0) == 2.0
    one = [mention("T1", "the mayor of Lyon", coref="c"), mention("T2", "the mayor", coref="c")]
    assert rows("overlap", problem(one, [SHOT])) == []


def test_maps_tie_one_mention_in_two_events_both_ways() -> None:
    made = problem([MAYOR], [SHOT, MOURNED], none=False)
    assert cost("maps", made, ["Target", "Victim"], weight=2.0) == 0
    assert cost("maps", made, ["Target", "Agent"], weight=2.0) == 2.0
    assert cost("maps", made, ["Attacker", "Victim"], weight=2.0) == 2.0
    assert cost("maps", made, ["Attacker", "Agent"], weight=2.0) == 0


def test_maps_say_nothing_of_a_mention_without_a_role_unless_asked() -> None:
    made = problem([MAYOR], [SHOT, MOURNED])
    assert cost("maps", made, ["Target", None], weight=2.0) == 0
    assert cost("maps", made, ["Target", None], weight=2.0, none=True) == 2.0
    assert cost("maps", made, ["Target", "Agent"], weight=2.0) == 2.0
    assert cost("maps", made, [None, None], weight=2.0, none=True) == 0


def test_maps_follow_coreference_and_look_only_so_far() -> None:
    two = [mention("T1", "the mayor of Lyon", coref="c"), MAYOR2]
    made = problem(two, [SHOT, MOURNED], none=False, pairs=(Pair(0, 0, False), Pair(1, 1, False)))
    assert cost("maps", made, ["Target", "Agent"], weight=2.0) == 2.0
    assert rows("maps", made, by="mention") == []
    far = problem([MAYOR], [SHOT, MOURNED])
    assert rows("maps", far, reach=3) == []
    assert rows("maps", far, reach=None)
    assert rows("maps", problem([MAYOR], [SHOT, MOURNED], none=False), reach=3), "given arguments have no distance"


def test_the_distance_of_two_events_is_that_between_their_triggers_and_not_their_starts() -> None:
    made = problem([MAYOR], [SHOT, MOURNED])
    between = TEXT.index("mourned") - (TEXT.index("shot") + len("shot"))
    assert rows("maps", made, reach=between)
    assert rows("maps", made, reach=between - 1) == []
    turned = problem([MAYOR], [event("E1", "Attack", "mourned"), event("E2", "Die", "shot")])  # the other one first
    assert rows("maps", turned, reach=between)
    assert rows("maps", turned, reach=between - 1) == []


def test_the_weight_of_a_map_comes_before_the_ontology_and_the_settings_before_both() -> None:
    maps = (RoleMap(source="At*", target="D*", roles={"Target": "Victim"}, weight=0.7),)
    made = problem([MAYOR], [SHOT, MOURNED], none=False, maps=maps)
    assert [row.price for row in rows("maps", made)] == [0.7]
    assert [row.price for row in rows("maps", made, weight="hard")] == [None]
    assert rows("maps", made, weight=0) == []


def test_coreferent_events_charge_another_role_once() -> None:
    events = [event("E1", "Attack", "shot", "x"), event("E2", "Attack", "mourned", "x")]
    made = problem([MAYOR], events)
    assert cost("coreference", made, ["Target", "Target"], weight=2.0) == 0
    assert cost("coreference", made, ["Target", "Attacker"], weight=2.0) == 2.0
    assert cost("coreference", made, ["Target", None], weight=2.0) == 2.0
    assert rows("coreference", problem([MAYOR], [SHOT, event("E2", "Attack", "mourned")])) == []


@pytest.mark.parametrize(
    ("word", "is_time"),
    [("Monday", True), ("On Monday", True), ("Lyon", False), ("On Monday the mayor", False), ("his guards", False)],
)
def test_time_is_told_by_the_text(word: str, is_time: bool) -> None:
    made = problem([mention("T1", word)], [SHOT])
    assert cost("time", made, ["Time"], weight=2.0) == (0 if is_time else 2.0)
    assert cost("time", made, ["Target"], weight=2.0) == (2.0 if is_time else 0)
    assert cost("time", made, [None], weight=2.0) == 0
    assert cost("time", made, ["Time"], weight=2.0, only=False) == 0


def test_time_is_told_by_the_given_type() -> None:
    assert cost("time", problem([mention("T1", "Lyon", type="TIM")], [SHOT]), ["Target"], weight=2.0) == 2.0
    assert rows("time", problem([mention("T1", "Monday", type="LOC")], [SHOT])) == []


def force(rule: str = "force", entity: str = "T1", role: str | None = "Target", event: str = "E1") -> list[UserRule]:
    return [UserRule(rule=rule, event=event, entity=entity, role=role)]


def test_user_rules_are_obeyed_against_the_scores() -> None:
    for rule in (force(), force("forbid", role=None), force(role=None), force("forbid")):
        made = problem([MAYOR], [SHOT], rules=rule)
        scores = np.zeros(made.size)
        scores[made.x(0, "Attacker" if rule[0].rule == "force" else rule[0].role)] = 9.0
        (role,) = decode(made, scores, {"user": CONSTRAINTS.load("user")()}).roles
        assert (role == rule[0].role) == (rule[0].rule == "force")
    (row,) = rows("user", problem([MAYOR], [SHOT], rules=force()))
    assert row.price is None and row.lower == 1.0 and row.upper == inf
    assert row.reason == "the user's rule: “the mayor of Lyon” has Target in Attack (“shot”)"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (force(event="E7"), r"unknown event of the user's rules \(force 'T1' in 'E7'\) 'E7'"),
        (force(role="Targte"), r"unknown role .* 'Targte'. Did you mean 'Target'"),
        (force(entity="T9"), r"unknown mention of the user's rules .* 'T9'"),
        (force(entity="T2"), r"gives 'T2' the role 'Target' in 'E1', where it is no candidate. Candidates: T1"),
        (force("forbid", entity="T2", role=None), r"keeps 'T2' in 'E1', where it is no candidate"),
        (force(role=None), r"keeps 'T1' out of 'E1', but it is given as an argument"),
    ],
)
def test_user_rules_that_make_no_sense_are_named(rule: list[UserRule], words: str) -> None:
    made = problem([MAYOR, LYON], [SHOT], none=False, rules=rule, pairs=(Pair(0, 0, False),))
    with pytest.raises(FrostlineError, match=words):
        rows("user", made)


def test_user_rules_that_hold_anyway_yield_nothing() -> None:
    for rule in (force("forbid", entity="T2"), force("forbid", role=None), force(entity="T2", role=None)):
        assert rows("user", problem([MAYOR, LYON], [SHOT], none=False, rules=rule, pairs=(Pair(0, 0, False),))) == []


@pytest.mark.parametrize("name", [name for name in CONSTRAINTS.names() if name != "user"])
def test_weights_that_would_pay_are_refused(name: str) -> None:
    with pytest.raises(FrostlineError, match="weight"):
        CONSTRAINTS.load(name).parse({"weight": -1.0}, f"constraint {name!r}")
    with pytest.raises(FrostlineError, match="weight"):
        CONSTRAINTS.load(name).parse({"weight": "soft"}, f"constraint {name!r}")
    assert CONSTRAINTS.load(name).parse({"weight": "2.5"}, "x").weight == 2.5
