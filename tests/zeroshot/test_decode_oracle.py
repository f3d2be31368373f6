"""Decoding equals brute force on random small problems with rules of every family, and CP-SAT on large ones."""

from __future__ import annotations

import numpy as np
import pytest
from decoding_oracle import by_roles, every_value, objective, random_problem

from benchmarks.perf.decode_problems import large_problem, scores_of
from zeroshot.constraints import CONSTRAINTS
from zeroshot.decode import InfeasibleError, decode
from zeroshot.decode.compile import compile_problem

BEST = 6


def compare(seed: int, more: bool) -> tuple[bool, set[str]]:
    """Check one random problem; return whether it has an assignment at all and the rules that speak of it."""
    problem, scores, constraints = random_problem(np.random.default_rng(seed))
    index, value = every_value(problem, scores, constraints)
    spoken = {name for name, rule in constraints.items() if any(True for _ in rule.rows(problem))}
    if np.isneginf(value.max()):
        with pytest.raises(InfeasibleError):
            decode(problem, scores, constraints)
        return False, spoken
    found = decode(problem, scores, constraints, best=BEST if more else 1, margins=more)
    assert found.status == "optimal"
    assert found.gap == 0
    assert found.objective == pytest.approx(value.max(), abs=1e-6)
    assert found.objective == pytest.approx(objective(problem, scores, constraints, found.roles, found.types), abs=1e-9)
    if more:
        check_alternatives(found, by_roles(problem, index, value))
    return True, spoken


def check_alternatives(found, table: dict[tuple[str | None, ...], float]) -> None:
    ranked = sorted(table.values(), reverse=True)
    given = [found, *found.alternatives]
    assert len({decoding.roles for decoding in given}) == len(given) == min(BEST, len(ranked))
    np.testing.assert_allclose([decoding.objective for decoding in given], ranked[:BEST], atol=1e-6)
    assert all(table[decoding.roles] == pytest.approx(decoding.objective, abs=1e-6) for decoding in given)
    for pair, margin in enumerate(found.margins):
        other = max((worth for roles, worth in table.items() if roles[pair] != found.roles[pair]), default=-np.inf)
        assert margin >= 0
        assert margin == pytest.approx(ranked[0] - other, abs=1e-6)


@pytest.mark.parametrize("start", range(0, 240, 40))
def test_equal_to_brute_force(start: int) -> None:
    possible, spoken = zip(*(compare(seed, more=seed % 4 == 0) for seed in range(start, start + 40)), strict=True)
    assert set(CONSTRAINTS.names()) == set.union(*spoken), "some rule never spoke"
    assert any(possible)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 11000, 1000))
def test_equal_to_brute_force_on_ten_thousand(start: int) -> None:
    for seed in range(start, start + 1000):
        compare(seed, more=seed % 4 == 0)


def cp_sat(problem, scores, constraints) -> tuple[float, float]:
    """Return the optimum and the bound that CP-SAT finds, with prices and scores rounded to 1e-6 nats."""
    model_of = pytest.importorskip("ortools.sat.python.cp_model", reason="ortools, the second solver, is not installed")
    model, program = model_of.CpModel(), compile_problem(problem, scores, constraints).program
    on = [model.new_bool_var("") for _ in program.scores]
    for a, b in zip(program.starts[:-1], program.starts[1:], strict=True):
        model.add_exactly_one(on[a:b])
    terms = [(round(float(score) * 1e6), var) for score, var in zip(program.scores, on, strict=True)]
    for row in range(program.rows):
        a, b = program.row_starts[row], program.row_starts[row + 1]
        total = sum(round(v) * on[c] for c, v in zip(program.column[a:b], program.value[a:b], strict=True))
        slack = 0
        if np.isfinite(program.price[row]):
            slack = model.new_int_var(0, 1000, "")
            terms.append((-round(float(program.price[row]) * 1e6), slack))
        if np.isfinite(program.upper[row]):
            model.add(total <= round(program.upper[row]) + slack)
        if np.isfinite(program.lower[row]):
            model.add(total >= round(program.lower[row]) - slack)
    model.maximize(sum(factor * var for factor, var in terms))
    solver = model_of.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_time_in_seconds = 120
    assert solver.solve(model) == model_of.OPTIMAL
    return solver.objective_value / 1e6, solver.best_objective_bound / 1e6


@pytest.mark.parametrize(("arguments", "events", "shared"), [(40, 8, 0.3), (60, 6, 0.1), (60, 12, 0.5)])
def test_equal_to_a_second_solver(arguments: int, events: int, shared: float) -> None:
    rng = np.random.default_rng(arguments)
    problem = large_problem(rng, arguments, 10, events, shared)
    scores = scores_of(problem, rng)
    constraints = {name: CONSTRAINTS.load(name)() for name in CONSTRAINTS.names()}
    found = decode(problem, scores, constraints)
    assert found.status == "optimal"
    assert found.objective == pytest.approx(cp_sat(problem, scores, constraints)[0], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.1, 0.3])
def test_equal_to_a_second_solver_on_five_hundred_arguments(shared: float) -> None:
    rng = np.random.default_rng(7)
    problem = large_problem(rng, 500, 36, 50, shared)
    scores = scores_of(problem, rng)
    constraints = {name: CONSTRAINTS.load(name)() for name in CONSTRAINTS.names()}
    found = decode(problem, scores, constraints, time_limit=100)
    assert found.status == "optimal"
    assert found.objective == pytest.approx(cp_sat(problem, scores, constraints)[0], abs=1e-2)
