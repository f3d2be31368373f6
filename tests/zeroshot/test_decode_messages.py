"""What decoding says when it cannot do what is asked: one test for each message."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from decoding_oracle import every_value, random_problem

from backbones.core.errors import FrostlineError
from benchmarks.ontologies import EventType, Ontology
from benchmarks.perf.decode_problems import large_problem, scores_of
from zeroshot.constraints import CONSTRAINTS, Row
from zeroshot.decode import InfeasibleError, decode
from zeroshot.problem import Pair, Problem
from zeroshot.testing import sample_problems

INF = float("inf")


@dataclass(frozen=True)
class Guest:
    """A constraint of given rows."""

    made: tuple[Row, ...]
    family: ClassVar[str] = "user"

    def rows(self, problem):
        return self.made


def given() -> Problem:
    return sample_problems()[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_name_their_cell(bad: float) -> None:
    problem = given()
    scores = np.zeros(problem.size)
    scores[problem.x(3, "Target")] = bad
    with pytest.raises(FrostlineError, match=rf"role 'Target' of mention 'T4' in event 'E1' is {bad}"):
        decode(problem, scores, {})
    scores[problem.x(3, "Target")] = 0.0
    scores[problem.y(0, "LOC")] = scores[problem.y(0, "PER")] = bad
    with pytest.raises(FrostlineError, match=r"entity type 'PER' of mention 'T1' is .*and so are 1 more"):
        decode(problem, scores, {})


def test_wrong_number_of_scores() -> None:
    with pytest.raises(FrostlineError, match=r"shape \(3,\) for a problem of \d+ columns"):
        decode(given(), np.zeros(3), {})


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (Row(((0, 1.0),), 0.0, 1.0, -2.0, "r"), "has the price -2.0"),
        (Row(((0, 1.0),), 0.0, 1.0, INF, "r"), "has the price inf"),
        (Row(((0, 1.0),), 2.0, 1.0, 1.0, "r"), "bounds 2.0 to 1.0"),
        (Row(((0, 1.0),), INF, INF, 1.0, "r"), "which nothing lies in"),
        (Row(((0, 1.0),), float("nan"), 1.0, 1.0, "r"), "bounds nan to 1.0"),
        (Row(((0, 1.0),), -INF, -INF, 1.0, "r"), "which nothing lies in"),
        (Row(((0, float("nan")),), 0.0, 1.0, 1.0, "r"), "factor nan"),
        (Row(((10**6, 1.0),), 0.0, 1.0, 1.0, "r"), "names the column 1000000"),
        (Row(((-1, 1.0),), 0.0, 1.0, 1.0, "r"), "names the column -1"),
        (Row(((0, 1.0),), 0.0, 1.0, 1.0, " "), "gives no reason"),
    ],
)
def test_malformed_rows_name_the_constraint(row: Row, words: str) -> None:
    with pytest.raises(FrostlineError, match=f"constraint 'guest' yields a row .* that .*{words}"):
        decode(given(), np.zeros(given().size), {"guest": Guest((row,))})


def test_the_row_at_fault_is_named_and_not_a_sound_one_before_it() -> None:
    sound = (Row(((0, 1.0),), -INF, INF, 0.0, "free"), Row(((0, 1.0),), 0.0, 1.0, 0.5, "cheap"))
    last = Row(((given().size, 1.0),), 0.0, 1.0, 1.0, "past the end")
    with pytest.raises(FrostlineError, match=f"past the end.*names the column {given().size} of {given().size}"):
        decode(given(), np.zeros(given().size), {"guest": Guest((*sound, last))})


def test_unknown_family() -> None:
    class Stranger(Guest):
        family: ClassVar[str] = "other"

    with pytest.raises(FrostlineError, match="its family is 'other'; families are cross-task"):
        decode(given(), np.zeros(given().size), {"guest": Stranger(())})


def test_argument_of_an_event_type_without_roles() -> None:
    problem = given()
    bare = Ontology(name="bare", events={name: EventType(roles={}) for name in problem.ontology.events})
    none = tuple(() for _ in problem.mentions)
    with pytest.raises(FrostlineError, match=r"'Attack' has no roles, but the argument 'T1' of event 'E1' must"):
        decode(replace(problem, ontology=bare, types=none), np.zeros(0), {})
    free = tuple(Pair(pair.event, pair.mention, True) for pair in problem.pairs)
    found = decode(replace(problem, ontology=bare, types=none, pairs=free), np.zeros(len(free)), {})
    assert set(found.roles) == {None}


def test_infeasible_rules_are_told_as_a_minimal_conflict_in_plain_words() -> None:
    problem = given()
    user = problem.passage.model_validate(
        problem.passage.model_dump()
        | {
            "constraints": [
                {"rule": "force", "event": "E1", "entity": "T2", "role": "Attacker"},
                {"rule": "force", "event": "E1", "entity": "T3", "role": "Attacker"},
                {"rule": "forbid", "event": "E2", "entity": "T1", "role": "Agent"},
            ]
        }
    )
    problem = replace(problem, passage=user)
    rules = {"user": CONSTRAINTS.load("user")(), "multiplicity": CONSTRAINTS.load("multiplicity")(weight="hard")}
    with pytest.raises(InfeasibleError) as caught:
        decode(problem, np.zeros(problem.size), rules)
    told = str(caught.value)
    assert "multiplicity: Attacker of Attack (“fired”) is filled by at most 1" in told
    assert "user: the user's rule: “rebels” has Attacker in Attack (“fired”)" in told
    assert "user: the user's rule: “the mayor of Lyon” has Attacker in Attack (“fired”)" in told
    assert "Agent" not in told
    assert "in place of" in told
    assert caught.value.exit_code == 2


def test_dropping_any_row_of_the_conflict_makes_it_feasible() -> None:
    seen = 0
    for seed in range(400):
        problem, scores, constraints = random_problem(np.random.default_rng(seed), limit=3000, hard=0.6)
        try:
            decode(problem, scores, constraints)
        except InfeasibleError as error:
            seen += 1
            rows = [row for _, row in error.conflict]
            keyed = [replace(row, terms=tuple(_own(rule, row))) for rule, row in error.conflict]
            assert np.isneginf(every_value(problem, scores, {"all": Guest(tuple(keyed))})[1].max())
            for gone in range(len(rows)):
                rest = Guest((*keyed[:gone], *keyed[gone + 1 :]))
                assert np.isfinite(every_value(problem, scores, {"rest": rest})[1].max())
                assert np.isfinite(decode(problem, scores, {"rest": rest}).objective)
        if seen >= 25:
            return
    raise AssertionError(f"only {seen} infeasible problems met")


def _own(rule: str, row: Row):
    return [((rule, *key) if isinstance(key, tuple) else key, value) for key, value in row.terms]


def test_time_limit_gives_an_incumbent_that_keeps_hard_rules_its_gap_and_status() -> None:
    rng = np.random.default_rng(0)
    problem = large_problem(rng, 120, 12, 12, 0.4)
    scores = scores_of(problem, rng)
    rules = {name: CONSTRAINTS.load(name)() for name in CONSTRAINTS.names()}
    rules["maps"] = CONSTRAINTS.load("maps")(weight="hard")
    best = decode(problem, scores, rules)
    rough = decode(problem, scores, rules, time_limit=0.0, best=3, margins=True)
    assert best.status == "optimal"
    assert rough.status == "time limit"
    assert rough.gap > 0
    assert rough.objective <= best.objective + 1e-6 <= rough.bound + 2e-6
    assert np.isfinite(rough.objective)
    assert not any(violation.rule == "maps" for violation in rough.violations)
    assert rough.alternatives == ()
    assert all(margin >= 0 for margin in rough.margins)


def test_time_limit_without_any_assignment() -> None:
    """Pigeons and holes: no search sees quickly that eleven things do not fit into ten."""
    rng = np.random.default_rng(0)
    problem = large_problem(rng, 11, 10, 1, 0.0)
    rows = tuple(
        Row(tuple((problem.x(pair, role), 1.0) for pair in range(11)), -INF, 1.0, None, f"{role} is filled once")
        for role in problem.roles(0)
    )
    with pytest.raises(FrostlineError, match=r"no assignment that keeps the hard rules was found in 0 s. Raise"):
        decode(problem, scores_of(problem, rng), {"guest": Guest(rows)}, time_limit=0.0)
