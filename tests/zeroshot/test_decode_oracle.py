"""Decoding equals brute force on random small problems with rules of every family, and SCIP on large ones."""

from __future__ import annotations

from itertools import pairwise

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


def scip(problem, scores, constraints) -> float:
    """Return the optimum that SCIP proves for the whole programme at once."""
    linear = pytest.importorskip("ortools.linear_solver.pywraplp", reason="ortools, which has SCIP, is absent")
    program, solver = compile_problem(problem, scores, constraints).program, linear.Solver.CreateSolver("SCIP")
    on = [solver.BoolVar("") for _ in program.scores]
    goal = solver.Objective()
    goal.SetMaximization()
    for variable, score in zip(on, program.scores.tolist(), strict=True):
        goal.SetCoefficient(variable, score)
    for first, end in pairwise(program.starts.tolist()):
        one = solver.Constraint(1, 1)
        for variable in on[first:end]:
            one.SetCoefficient(variable, 1)
    for number, (first, end) in enumerate(pairwise(program.row_starts.tolist())):
        lower, upper, price = (float(part[number]) for part in (program.lower, program.upper, program.price))
        row = solver.Constraint(max(lower, -solver.infinity()), min(upper, solver.infinity()))
        for column, value in zip(program.column[first:end], program.value[first:end], strict=True):
            row.SetCoefficient(on[column], float(value))
        for sign, bound in ((-1, upper), (1, lower)):
            if np.isfinite(price) and np.isfinite(bound):
                slack = solver.NumVar(0, solver.infinity(), "")
                row.SetCoefficient(slack, sign)
                goal.SetCoefficient(slack, -price)
    exact = linear.MPSolverParameters()
    exact.SetDoubleParam(exact.RELATIVE_MIP_GAP, 0.0)
    assert solver.Solve(exact) == linear.Solver.OPTIMAL
    return goal.Value()


@pytest.mark.parametrize(("arguments", "events", "shared"), [(40, 8, 0.3), (60, 12, 0.5)])
def test_equal_to_a_second_solver(arguments: int, events: int, shared: float) -> None:
    rng = np.random.default_rng(arguments)
    problem = large_problem(rng, arguments, 12, events, shared)
    scores = scores_of(problem, rng)
    constraints = {name: CONSTRAINTS.load(name)() for name in CONSTRAINTS.names()}
    found = decode(problem, scores, constraints)
    assert found.status == "optimal"
    assert found.objective == pytest.approx(scip(problem, scores, constraints), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "roles", "events", "shared"), [(120, 12, 12, 0.4), (500, 36, 50, 0.1), (500, 36, 50, 0.3)]
)
def test_equal_to_a_second_solver_on_many_arguments(arguments: int, roles: int, events: int, shared: float) -> None:
    rng = np.random.default_rng(7)
    problem = large_problem(rng, arguments, roles, events, shared)
    scores = scores_of(problem, rng)
    constraints = {name: CONSTRAINTS.load(name)() for name in CONSTRAINTS.names()}
    found = decode(problem, scores, constraints, time_limit=100)
    assert found.status == "optimal"
    assert found.objective == pytest.approx(scip(problem, scores, constraints), abs=1e-5)
