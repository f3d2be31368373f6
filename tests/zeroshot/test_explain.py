"""Explanations of hand-made cases of every family, and laws over random rules, decoded by trying everything."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_decode import Rule, TypeRule, brute, scored, small

from zeroshot import explain as explain_module
from zeroshot.constraints.base import Row
from zeroshot.explain import explain, summary
from zeroshot.report import to_result

INF = math.inf
PRICE = 3.0
SEVERAL = {"ann": ("PER", "LOC"), "bob": ("PER",), "rome": ("LOC",), "gun": ("WEA",)}


def types(problem):
    """A role admits the types that the ontology lists."""
    for at, pair in enumerate(problem.pairs):
        for role in problem.roles(at):
            allowed = problem.ontology.event(problem.events[pair.event].type).roles[role].types if role else ()
            if not role or not problem.types[pair.mention]:
                continue
            terms = [(problem.y(pair.mention, kind), -1.0) for kind in problem.types[pair.mention] if kind in allowed]
            yield Row(((problem.x(at, role), 1.0), *terms), -INF, 0.0, PRICE, f"{role} is one of {', '.join(allowed)}.")


def at_most_one(role, price):
    def make(problem):
        pairs = [at for at in range(len(problem.pairs)) if role in problem.roles(at)]
        terms = tuple((problem.x(at, role), 1.0) for at in pairs)
        yield Row(terms, -INF, 1.0, price, f"{role} is filled once")

    return make


def once_by_filled(role, price):
    """The same with an auxiliary for each pair, as rules over clusters have them."""

    def make(problem):
        pairs = [at for at in range(len(problem.pairs)) if role in problem.roles(at)]
        for at in pairs:
            row = ((problem.x(at, role), 1.0), (("filled", str(at)), -1.0))
            yield Row(row, -INF, 0.0, None, "what is filled is filled")
        yield Row(tuple((("filled", str(at)), 1.0) for at in pairs), -INF, 1.0, price, f"{role} is filled once")

    return make


def same(first, second, price):
    """A mention has ``first`` in event 0 exactly if it has ``second`` in event 1."""

    def make(problem):
        for mention in range(len(problem.mentions)):
            pairs = {problem.pairs[at].event: at for at in problem.pairs_of_mention[mention]}
            if {0, 1} <= pairs.keys():
                terms = ((problem.x(pairs[0], first), 1.0), (problem.x(pairs[1], second), -1.0))
                yield Row(terms, 0.0, 0.0, price, f"the {first} is the {second}")

    return make


def force(pair, role):
    return lambda problem: [Row(((problem.x(pair, role), 1.0),), 1.0, INF, None, f"you said that it is {role}")]


def told(problem, scores, rules, **options):
    return explain(problem, scores, rules, brute(problem, scores, rules), decode=brute, **options)


def test_a_pair_that_nothing_changed_has_its_scores_and_no_cause():
    problem = small([(0, "ann")])
    (found,) = told(problem, scored(problem, {(0, "ann", "Target"): 1.0, (0, "ann", "Place"): 0.5}), {})
    assert [role for role, _ in found.scores] == ["Target", "Place", "Attacker"]
    assert sum(math.exp(score) for _, score in found.scores) == pytest.approx(1.0)
    assert (found.local_role, found.role, found.runner_up[0]) == ("Target", "Target", "Place")
    assert (found.causes, found.price, found.joint, found.proven) == ((), 0.0, False, True)
    assert summary(found).startswith("'Ann' is Target in 'shot' (E0). By its score alone it would be Target (51 %)")


def test_ties_stand_in_the_order_of_the_ontology_with_none_last():
    problem = small([(0, "ann")], none=True)
    (found,) = told(problem, np.zeros(4), {})
    assert [role for role, _ in found.scores] == ["Attacker", "Target", "Place", None]
    assert found.local_role == "Attacker"


def test_an_entity_type_changes_a_role_and_its_words_and_price_are_told():
    problem = small([(0, "rome")], types=SEVERAL)
    scores = scored(problem, {(0, "rome", "Target"): 1.0})
    (found,) = told(problem, scores, {"types": TypeRule(types)})
    (cause,) = found.causes
    assert (found.local_role, found.role, found.entity_type) == ("Target", "Place", "LOC")
    assert (cause.rule, cause.family, cause.reason) == ("types", "cross-task", "Target is one of PER")
    assert cause.cost == found.price == pytest.approx(PRICE - 1.0)
    assert "would have cost 2.00 nats" in summary(found)


def test_an_entity_type_that_keeps_the_runner_up_away_is_told_as_support():
    problem = small([(0, "rome")], types=SEVERAL)
    scores = scored(problem, {(0, "rome", "Place"): 1.0, (0, "rome", "Target"): 0.9})
    (found,) = told(problem, scores, {"types": TypeRule(types)})
    assert found.role == found.local_role == "Place"
    assert [(each.rule, each.cost) for each in found.support] == [("types", PRICE)]
    assert "Its entity type speaks for it: Target is one of PER (types)." in summary(found)


@pytest.mark.parametrize("rule", [at_most_one, once_by_filled])
@pytest.mark.parametrize("price", [2.0, None])
def test_multiplicity_counts_what_the_other_mention_would_lose(rule, price):
    problem = small([(0, "ann"), (0, "bob")])
    scores = scored(problem, {(0, "ann", "Attacker"): 1.0, (0, "bob", "Attacker"): 0.7})
    ann, bob = told(problem, scores, {"multiplicity": Rule(rule("Attacker", price))})
    assert (ann.role, ann.causes) == ("Attacker", ())
    assert (bob.local_role, bob.role) == ("Attacker", "Target")
    # bob could be the Attacker if ann were not: 1.0 - 0.7 is lost, and no row need be broken, hard or not
    assert bob.price == pytest.approx(0.3)
    assert [cause.reason for cause in bob.causes] == ["Attacker is filled once"]


def test_exclusion_of_two_roles():
    def exclusion(problem):
        terms = ((problem.x(0, "Attacker"), 1.0), (problem.x(1, "Place"), 1.0))
        yield Row(terms, -INF, 1.0, None, "Attacker and Place exclude each other")

    problem = small([(0, "ann"), (0, "bob")])
    scores = scored(problem, {(0, "ann", "Attacker"): 2.0, (0, "bob", "Place"): 1.0, (0, "bob", "Target"): 0.5})
    _, bob = told(problem, scores, {"exclusion": Rule(exclusion)})
    assert (bob.role, bob.causes[0].reason) == ("Target", "Attacker and Place exclude each other")
    assert bob.price == pytest.approx(2.0 - 0.5)  # ann would be something else


def test_a_map_between_events_and_the_rule_behind_it_are_both_named():
    problem = small([(0, "ann"), (0, "bob"), (1, "bob")], events=("attack", "die"))
    wanted = {(0, "ann", "Attacker"): 2, (0, "bob", "Attacker"): 1, (1, "bob", "Agent"): 0.5}
    rules = {
        "multiplicity": Rule(at_most_one("Attacker", None)),
        "maps": Rule(same("Target", "Victim", 4.0)),
    }
    _, attacked, died = told(problem, scored(problem, wanted | {(0, "bob", "Target"): 0.9}), rules)
    assert (attacked.local_role, attacked.role) == ("Attacker", "Target")
    assert (died.local_role, died.role) == ("Agent", "Victim")
    assert [(cause.rule, cause.reason) for cause in died.causes] == [
        ("multiplicity", "Attacker is filled once"),  # it works through the other pair
        ("maps", "the Target is the Victim"),
    ]
    assert not died.joint


def test_a_role_that_the_user_forces_has_no_price():
    problem = small([(0, "ann")])
    (found,) = told(problem, scored(problem, {(0, "ann", "Target"): 1.0}), {"user": Rule(force(0, "Place"))})
    assert (found.role, found.price, found.causes[0].cost) == ("Place", None, None)
    assert "No assignment that keeps the rules makes it Target." in summary(found)


def test_rules_that_only_together_let_go_are_a_minimal_set():
    problem = small([(0, "ann")])
    against = {
        name: Rule(lambda p, name=name: [Row(((p.x(0, "Target"), 1.0),), -INF, 0.0, 2.0, name)]) for name in "ab"
    }
    idle = Rule(lambda p: [Row(((p.x(0, "Attacker"), 1.0),), -INF, 1.0, 2.0, "never broken")])
    (found,) = told(problem, scored(problem, {(0, "ann", "Target"): 1.0}), {"idle": idle, **against})
    assert [(cause.rule, cause.reason) for cause in found.causes] == [("a", "a"), ("b", "b")]
    assert found.joint and found.price == pytest.approx(3.0)
    assert "These rules changed it together: a: a; b: b." in summary(found)


def test_only_parts_with_a_changed_role_are_decoded_again():
    problem = small([(0, "ann"), (1, "bob")], events=("attack", "die"))
    scores = scored(problem, {(0, "ann", "Target"): 1.0})
    rules = {"user": Rule(force(0, "Place")), "idle": Rule(force(1, "Victim"))}
    seen = []

    def counting(part, *rest, **options):
        seen.append(part)
        return brute(part, *rest, **options)

    found = explain(problem, scores, rules, brute(problem, scores, rules), decode=counting)
    assert found[0].causes and not found[1].causes
    assert {len(part.pairs) for part in seen} == {1}
    assert {part.pairs[0].event for part in seen} == {0}


def test_out_of_time_the_rules_that_stand_in_the_way_are_told_without_proof(monkeypatch):
    monkeypatch.setattr(explain_module, "AGAIN", 0.0)
    problem = small([(0, "ann"), (0, "bob")])
    scores = scored(problem, {(0, "ann", "Attacker"): 1.0, (0, "bob", "Attacker"): 0.7})
    _, bob = told(problem, scores, {"multiplicity": Rule(at_most_one("Attacker", 2.0))})
    assert [cause.reason for cause in bob.causes] == ["Attacker is filled once"]
    assert not bob.proven and bob.price == pytest.approx(2.0 - 0.7)
    assert "not proven" in summary(bob)


def test_long_out_of_time_no_reason_is_given_and_that_is_said():
    problem = small([(0, "ann"), (0, "bob")])
    scores = scored(problem, {(0, "ann", "Attacker"): 1.0, (0, "bob", "Attacker"): 0.7})
    rules = {"multiplicity": Rule(at_most_one("Attacker", 2.0))}
    best = brute(problem, scores, rules)
    ann, bob = explain(problem, scores, rules, best, time_limit=0.0, decode=None)
    assert ann.proven and not bob.proven and not bob.causes and bob.price is None
    assert "not found out" in summary(bob) and "Time ran out" in summary(bob)
    result = to_result(problem, best, (ann, bob), scorer="none", rules=(), notes=())
    assert "why 1 pairs have another role" in result.notes[0] and "of 1 not said" in result.notes[0]


def test_every_decoding_of_an_explanation_has_the_time_that_is_left():
    problem = small([(0, "ann"), (0, "bob"), (0, "rome")])
    likely = {"ann": 1.0, "bob": 0.7, "rome": 0.6}
    scores = scored(problem, {(0, name, "Attacker"): value for name, value in likely.items()})
    rules = {"multiplicity": Rule(at_most_one("Attacker", 2.0)), "idle": Rule(force(0, "Attacker"))}
    limits = []

    def slow(*asked, time_limit, **options):
        limits.append(time_limit)
        time.sleep(min(0.2, time_limit))
        return brute(*asked, **options)

    began = time.monotonic()
    found = explain(problem, scores, rules, brute(problem, scores, rules), time_limit=0.5, decode=slow)
    assert time.monotonic() - began < 2.0
    assert limits == sorted(limits, reverse=True) and max(limits) <= 0.5 * explain_module.AGAIN
    assert not all(each.proven for each in found)


def test_a_role_as_good_as_the_local_one_has_no_cause():
    problem = small([(0, "ann")])
    decoding = brute(problem, scored(problem, {(0, "ann", "Target"): 1e-12}), {})
    (found,) = explain(problem, scored(problem, {(0, "ann", "Target"): 1e-12}), {}, decoding, decode=brute)
    assert (found.local_role, found.role, found.causes) == ("Target", "Attacker", ())
    assert "equally good" in summary(found)


@st.composite
def random_cases(draw):
    problem = small(
        [(0, "ann"), (0, "bob"), (1, "bob")],
        events=("attack", "die"),
        types={"bob": ("PER", "LOC")},
        none=draw(st.booleans()),
    )
    number = st.integers(-40, 40).map(lambda value: value / 8)
    scores = np.array(draw(st.lists(number, min_size=len(problem.columns), max_size=len(problem.columns))))
    columns = st.integers(0, len(problem.columns) - 1)
    keys = columns | st.sampled_from([("a",), ("b",)])
    rules = {}
    for name in draw(st.lists(st.sampled_from("pqr"), unique=True, max_size=3)):
        rows = []
        for index in range(draw(st.integers(1, 2))):
            terms = draw(st.dictionaries(keys, st.sampled_from([1.0, -1.0]), min_size=1, max_size=3))
            upper = draw(st.sampled_from([0.0, 1.0]))
            price = draw(st.sampled_from([0.5, 2.0, 5.0]))
            rows.append(Row(tuple(terms.items()), -INF, upper, price, f"{name}{index}"))
        rules[name] = Rule(lambda _, rows=tuple(rows): rows)
    return problem, scores, rules


@settings(max_examples=60, deadline=None)
@given(random_cases(), st.booleans())
def test_laws_of_causes(case, margins):
    problem, scores, rules = case
    decoding = brute(problem, scores, rules, margins=margins)
    for pair, found in enumerate(explain(problem, scores, rules, decoding, decode=brute)):
        names = [cause.rule for cause in found.causes]
        assert found.proven and found.role == decoding.roles[pair]
        assert set(names) <= set(rules)
        if found.role == found.local_role:
            assert not names and found.price == 0.0
            continue
        held = {
            **rules,
            "hold": Rule(lambda p, at=pair, role=found.local_role: [Row(((p.x(at, role), 1.0),), 1.0, INF, None, "")]),
        }
        assert found.price == pytest.approx(decoding.objective - brute(problem, scores, held).objective)

        def role_without(gone, at=pair):
            return brute(problem, scores, {name: rule for name, rule in rules.items() if name not in gone}).roles[at]

        if found.joint:
            assert role_without(names) != found.role
            assert all(role_without([name]) == found.role for name in rules)
            assert all(role_without([other for other in names if other != name]) == found.role for name in names)
        else:
            assert all(role_without([name]) != found.role for name in names)
