"""Laws of decoding: order does not matter, rules cost, hard is a great price, parts are as good as the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from decoding_oracle import random_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.ontologies import EventType, Ontology
from zeroshot.constraints import CONSTRAINTS, Row
from zeroshot.decode import InfeasibleError, decode, solve
from zeroshot.decode.clock import Clock
from zeroshot.decode.compile import compile_problem
from zeroshot.decode.mip import Mixed, mixed
from zeroshot.problem import Pair, Problem

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=40, deadline=None, derandomize=True)


def shuffled(rng: np.random.Generator, problem: Problem, scores: np.ndarray, constraints) -> tuple:
    """Return the same problem with events, arguments, mentions, roles, types, maps and rules in another order."""
    old = problem.ontology
    flip = {
        name: EventType(
            roles={key: kind.roles[key] for key in rng.permutation(list(kind.roles)).tolist()},
            exclusions=kind.exclusions[::-1],
            implies=kind.implies[::-1],
        )
        for name, kind in old.events.items()
    }
    ontology = Ontology(
        name=old.name,
        entity_types={key: old.entity_types[key] for key in rng.permutation(list(old.entity_types)).tolist()},
        events=flip,
        maps=old.maps[::-1],
        time_types=old.time_types,
        weights=old.weights,
    )
    events, mentions = rng.permutation(len(problem.events)), rng.permutation(len(problem.mentions))
    passage = problem.passage.model_copy(
        update={
            "events": tuple(problem.events[e] for e in events),
            "entities": tuple(problem.mentions[m] for m in mentions),
            "constraints": problem.passage.constraints[::-1],
        }
    )
    event_place, mention_place = np.argsort(events), np.argsort(mentions)
    cells = [Pair(int(event_place[p.event]), int(mention_place[p.mention]), p.none) for p in problem.pairs]
    order = sorted(range(len(cells)), key=lambda number: (cells[number].event, cells[number].mention))
    types = tuple(tuple(sorted(problem.types[m], key=list(ontology.entity_types).index)) for m in mentions)
    other = Problem(passage, ontology, passage.entities, tuple(cells[number] for number in order), types)
    moved = np.empty(other.size)
    for new, number in enumerate(order):
        for role in problem.roles(number):
            moved[other.x(new, role)] = scores[problem.x(number, role)]
    for new, m in enumerate(mentions):
        for kind in types[new]:
            moved[other.y(new, kind)] = scores[problem.y(int(m), kind)]
    names = list(constraints)
    rules = {names[number]: constraints[names[number]] for number in rng.permutation(len(names))}
    return other, moved, rules


def named(problem: Problem, found) -> tuple[dict, dict]:
    """Return the roles and types of an assignment by ids."""
    roles = {
        (problem.events[pair.event].id, problem.mentions[pair.mention].id): role
        for pair, role in zip(problem.pairs, found.roles, strict=True)
    }
    return roles, {mention.id: kind for mention, kind in zip(problem.mentions, found.types, strict=True)}


@FEW
@given(seed=SEEDS, levels=st.integers(1, 3))
def test_order_does_not_matter_even_where_scores_are_tied(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    problem, _, constraints = random_problem(rng, hard=0.05)
    scores = rng.integers(0, levels, size=problem.size).astype(float)
    try:
        found = decode(problem, scores, constraints, best=3)
    except InfeasibleError as error:
        with pytest.raises(InfeasibleError) as again:
            other, moved, rules = shuffled(rng, problem, scores, constraints)
            decode(other, moved, rules)
        assert {row.reason for _, row in again.value.conflict} == {row.reason for _, row in error.conflict}
        return
    for _ in range(2):
        other, moved, rules = shuffled(rng, problem, scores, constraints)
        again = decode(other, moved, rules, best=3)
        assert named(other, again) == named(problem, found)
        assert again.objective == found.objective
        assert [named(other, a)[0] for a in again.alternatives] == [named(problem, a)[0] for a in found.alternatives]


def test_ties_go_to_the_role_that_is_first_in_the_alphabet_and_to_none_last() -> None:
    problem, _, _ = random_problem(np.random.default_rng(5))
    found = decode(problem, np.zeros(problem.size), {})
    for pair, role in enumerate(found.roles):
        assert role == min(role for role in problem.roles(pair) if role is not None)


@FEW
@given(seed=SEEDS)
def test_rules_never_raise_the_optimum_and_taking_them_out_never_lowers_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem, scores, constraints = random_problem(rng, hard=0.0)
    constraints = {name: rule for name, rule in constraints.items() if name != "user"}
    worth = decode(problem, scores, {}).objective
    names = rng.permutation(sorted(constraints)).tolist()
    for count in range(1, len(names) + 1):
        more = decode(problem, scores, {name: constraints[name] for name in names[:count]}).objective
        assert more <= worth + 1e-6
        worth = more


@FEW
@given(seed=SEEDS)
def test_hard_is_a_great_price(seed: int) -> None:
    problem, scores, _ = random_problem(np.random.default_rng(seed), hard=0.0)
    name = ("types", "multiplicity", "exclusion", "maps", "time", "coreference", "overlap", "cooccurrence")[seed % 8]
    kind = CONSTRAINTS.load(name)
    dear = decode(problem, scores, {name: kind(weight=1e5)})
    try:
        hard = decode(problem, scores, {name: kind(weight="hard")})
    except InfeasibleError:
        assert dear.objective < -1e4
    else:
        assert hard.objective == pytest.approx(dear.objective, abs=1e-6)
        assert hard.roles == dear.roles
        assert not hard.violations


@FEW
@given(seed=SEEDS)
def test_parts_are_as_good_as_the_whole(seed: int) -> None:
    problem, scores, constraints = random_problem(np.random.default_rng(seed), hard=0.0)
    constraints.pop("user")
    program = compile_problem(problem, scores, constraints).program
    whole = mixed(program, Clock(60))
    assert whole.proven
    found = decode(problem, scores, constraints)
    assert found.objective == pytest.approx(program.worth(whole.choice), abs=1e-5)
    assert 1 <= found.components <= len(problem.pairs)


@dataclass(frozen=True)
class Guest:
    """A constraint of random rows with factors and bounds of every sort."""

    seed: int
    family: ClassVar[str] = "cross-event"

    def rows(self, problem: Problem) -> list[Row]:
        rng = np.random.default_rng(self.seed)
        made = []
        for number in range(rng.integers(1, 6)):
            columns = rng.choice(problem.size, size=min(problem.size, rng.integers(1, 7)), replace=False)
            terms = [(int(column), float(np.round(rng.normal(), 2))) for column in columns]
            terms += [(("aux", str(rng.integers(2))), float(rng.choice([-1.0, 1.0])))] if rng.random() < 0.3 else []
            low, high = np.sort(np.round(rng.normal(size=2), 2))
            low, high = (low, np.inf) if rng.random() < 0.3 else (-np.inf, high) if rng.random() < 0.5 else (low, high)
            made.append(Row(tuple(terms), float(low), float(high), float(rng.uniform(0, 3)), f"row {number}"))
        return made


@FEW
@given(seed=SEEDS)
def test_rows_of_guests_with_any_factors_are_decoded_exactly(seed: int) -> None:
    from decoding_oracle import every_value

    rng = np.random.default_rng(seed)
    problem, scores, constraints = random_problem(rng, limit=2000)
    chosen = {"guest": Guest(seed), "multiplicity": constraints["multiplicity"]}
    _, value = every_value(problem, scores, chosen)
    if np.isfinite(value.max()):
        assert decode(problem, scores, chosen).objective == pytest.approx(value.max(), abs=1e-6)


@dataclass(frozen=True)
class SharedRest:
    """Rows that tie the roles of one cell, one at a time, to the same column of another, with any bounds.

    Those that can be left without their role must not be added up: each of them is paid for alone. Three cells are
    tied in a ring, so that none of them is decided before the others.
    """

    seed: int
    family: ClassVar[str] = "cross-event"

    def rows(self, problem: Problem) -> list[Row]:
        rng = np.random.default_rng(self.seed)
        groups = [*problem.pair_groups, *(group for group in problem.type_groups if len(group))]
        ring = [groups[number] for number in sorted(rng.choice(len(groups), size=3, replace=False))]
        made = []
        for one, other in ((0, 1), (1, 2), (0, 2)):
            rest = (int(rng.choice(ring[other])), float(rng.choice([-1.0, 1.0])))
            low, high = ((-np.inf, 0.0), (0.0, np.inf), (1.0, np.inf), (-np.inf, -1.0), (0.0, 1.0))[rng.integers(5)]
            factor, price = float(rng.choice([-1.0, 1.0])), float(rng.uniform(0.5, 3))
            made += [Row(((int(column), factor), rest), low, high, price, f"{one} and {other}") for column in ring[one]]
        return made


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=SEEDS)
def test_rows_that_share_their_rest_are_decoded_exactly_whether_or_not_they_can_be_added_up(seed: int) -> None:
    from decoding_oracle import every_value

    rng = np.random.default_rng(seed)
    problem, scores, constraints = random_problem(rng, limit=2000)
    if len(problem.pair_groups) + sum(len(group) > 0 for group in problem.type_groups) < 3:
        return
    chosen = {"guest": SharedRest(seed), "multiplicity": constraints["multiplicity"]}
    _, value = every_value(problem, scores, chosen)
    if np.isfinite(value.max()):
        assert decode(problem, scores, chosen).objective == pytest.approx(value.max(), abs=1e-6)


def _fractional():
    """Yield problems whose rows have any factors, so that relaxations are not whole, and the best value of each."""
    from decoding_oracle import every_value

    for seed in range(60):
        problem, scores, constraints = random_problem(np.random.default_rng(seed), limit=2000)
        chosen = {"guest": Guest(seed), "other": Guest(seed + 1000), "types": constraints["types"]}
        _, value = every_value(problem, scores, chosen)
        if np.isfinite(value.max()):
            yield problem, scores, chosen, value.max()


def _long_way(patch: pytest.MonkeyPatch, nearly_all: float) -> None:
    """Let no search end and no part be small, so that columns are dropped and what is left is a mixed programme."""
    for name, value in {"SMALL": 0.5, "TRIES": 0, "GROUPS": 0, "NEARLY_ALL": nearly_all}.items():
        patch.setattr(solve, name, value)


@pytest.mark.parametrize("nearly_all", [0.0, 0.8])
def test_what_is_too_tangled_to_be_searched_is_as_exact(nearly_all: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside brute force: a mixed programme at once, or of the columns that are not dropped."""
    _long_way(monkeypatch, nearly_all)
    asked: list[int] = []
    monkeypatch.setattr(solve, "mixed", lambda program, clock: asked.append(1) or mixed(program, clock))
    for problem, scores, chosen, best in _fractional():
        found = decode(problem, scores, chosen)
        assert found.objective == pytest.approx(best, abs=1e-6)
        assert (found.status, found.gap) == ("optimal", 0.0)
    assert asked


@pytest.mark.parametrize("choice", ["none yet", "poor", "breaks a hard rule"])
def test_a_mixed_programme_that_runs_out_of_time_gives_its_best_and_a_true_bound(
    choice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _long_way(monkeypatch, 0.0)

    def stopped(program, clock):
        true = mixed(program, clock)
        first = program.starts[:-1].copy()
        for group in range(program.groups):  # any assignment at all, or one of the asked kind
            if (choice == "poor") == np.isfinite(program.worth(first)):
                break
            first[group] = program.starts[group + 1] - 1
        return Mixed(None if choice == "none yet" else first, true.bound + 0.25, False)

    monkeypatch.setattr(solve, "mixed", stopped)
    stopped_at_all = 0
    for problem, scores, chosen, best in _fractional():
        found = decode(problem, scores, chosen)
        assert found.objective - 1e-6 <= best <= found.bound + 1e-6
        assert np.isfinite(found.objective)  # an assignment that breaks a hard rule is not given
        stopped_at_all += found.status == "time limit"
    assert stopped_at_all or choice == "none yet"  # then a search of so small a part is a proof
