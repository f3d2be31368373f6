"""Explanations under the constraints and the decoder that ship: the same answers as by trying everything."""

from __future__ import annotations

import numpy as np
import pytest
from small_decode import ONTOLOGY, brute, scored, small

from benchmarks.ontologies import RoleMap
from benchmarks.passages import UserRule
from zeroshot.constraints import CONSTRAINTS
from zeroshot.decode import decode
from zeroshot.explain import explain, summary
from zeroshot.problem import Problem

TYPES = {"ann": ("PER", "LOC"), "bob": ("PER",), "rome": ("LOC",), "gun": ("WEA",)}


def rules(*names, **settings):
    return {name: CONSTRAINTS.load(name)(**settings) for name in names}


def changed(problem: Problem, **updates) -> Problem:
    passage = problem.passage.model_copy(update={"constraints": updates.get("constraints", ())})
    ontology = problem.ontology.model_copy(update={"maps": updates.get("maps", ())})
    return Problem(passage, ontology, problem.mentions, problem.pairs, problem.types)


def told(problem, scores, constraints):
    decoding = decode(problem, scores, constraints, margins=True)
    return explain(problem, scores, constraints, decoding)


def test_types():
    problem = small([(0, "rome")], types=TYPES)
    (found,) = told(problem, scored(problem, {(0, "rome", "Target"): 1.0}), rules("types", "multiplicity"))
    assert (found.role, [cause.rule for cause in found.causes]) == ("Place", ["types"])
    assert found.price == pytest.approx(ONTOLOGY.weights.types - 1.0)
    assert "Target" in found.causes[0].reason and "Rome" in found.causes[0].reason


@pytest.mark.parametrize("weight", [1.0, "hard"])
def test_multiplicity(weight):
    problem = small([(0, "ann"), (0, "bob")])
    scores = scored(problem, {(0, "ann", "Attacker"): 1.0, (0, "bob", "Attacker"): 0.7, (0, "bob", "Target"): 0.1})
    _, bob = told(problem, scores, rules("multiplicity", weight=weight))
    assert (bob.role, bob.price) == ("Target", pytest.approx(0.4))
    assert "Attacker" in bob.causes[0].reason and "at most 1" in bob.causes[0].reason


def test_maps():
    problem = small([(0, "bob"), (1, "bob")], events=("attack", "die"))
    problem = changed(problem, maps=(RoleMap(source="attack", target="die", roles={"Target": "Victim"}),))
    scores = scored(problem, {(0, "bob", "Target"): 2.0, (1, "bob", "Agent"): 0.5})
    attacked, died = told(problem, scores, rules("maps"))
    assert not attacked.causes and died.role == "Victim"
    assert "Victim" in died.causes[0].reason and died.price == pytest.approx(1.5)  # the attack would give way


def test_a_forced_role_cannot_be_otherwise():
    problem = changed(
        small([(0, "ann")]), constraints=(UserRule(rule="force", event="E0", entity="ann", role="Place"),)
    )
    (found,) = told(problem, scored(problem, {(0, "ann", "Target"): 1.0}), rules("user"))
    assert (found.role, found.price) == ("Place", None)
    assert "the user's rule" in summary(found)


def test_the_answers_are_those_of_trying_everything():
    generator = np.random.default_rng(5)
    shape = small(
        [(0, "ann"), (0, "bob"), (1, "ann"), (1, "bob")], events=("attack", "die"), types=TYPES, none=True
    )  # fmt: skip
    problem = changed(shape, maps=(RoleMap(source="attack", target="die", roles={"Target": "Victim"}),))
    constraints = rules("types", "multiplicity", "maps")
    for _ in range(6):
        scores = generator.normal(size=len(problem.columns)) * 2
        exact = explain(problem, scores, constraints, brute(problem, scores, constraints), decode=brute)
        for one, other in zip(exact, told(problem, scores, constraints), strict=True):
            assert (one.role, one.causes == (), one.joint) == (other.role, other.causes == (), other.joint)
            assert [cause.rule for cause in one.causes] == [cause.rule for cause in other.causes]
            assert one.price == pytest.approx(other.price, abs=1e-5)
