"""How long exact decoding takes, and how often a greedy loop misses what it finds.

    python -m benchmarks.perf.decode --out DIR

Random scores; every constraint at the ontology's weights; times include the making of the rows. The naive side is the
same rows as one dense mixed-integer programme, given to the same solver in the same process. Writes decoding.md and
decoding.json. CPU seconds are given beside wall seconds, since another process may share the machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from backbones.core.artifacts import write_json, write_text
from backbones.core.seed import numpy_generator
from benchmarks.ontologies import EventType, Ontology, Role, RoleMap, load_ontology
from benchmarks.perf.decode_problems import large_problem, news_problem, pair_problem, scores_of
from zeroshot.baselines.release import release_roles
from zeroshot.constraints import CONSTRAINTS
from zeroshot.constraints.base import Constraint
from zeroshot.decode import decode
from zeroshot.decode.clock import Clock
from zeroshot.decode.compile import compile_problem
from zeroshot.decode.mip import mixed
from zeroshot.problem import Problem

ROLES = 36
T = TypeVar("T")
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Timing:
    """Seconds of decodings of one kind of problem; naive: of one programme, None if it was not tried."""

    kind: str
    problems: int
    pairs: float
    columns: float
    parts: float
    wall: list[float]
    cpu: list[float]
    naive_wall: list[float]
    naive_cpu: list[float]
    apart: float  # greatest difference of objectives between both sides, in nats


@dataclass(frozen=True)
class Agreement:
    """How often the best pair of roles that agree was found, of one mention in two events."""

    events: str
    cases: int
    decode: float
    release: float


def constraints() -> dict[str, Constraint]:
    """Return every registered constraint with its own settings."""
    return {name: CONSTRAINTS.load(name)() for name in CONSTRAINTS.names()}


def naive(problem: Problem, scores: Scores, rules: dict[str, Constraint], limit: float) -> float:
    """Return the objective that one dense programme finds, minus infinity if it finds none in time."""
    program = compile_problem(problem, scores, rules).program
    found = mixed(program, Clock(limit))
    return -np.inf if found.choice is None else program.worth(found.choice)


def timing(kind: str, problems: Sequence[tuple[Problem, Scores]], dense: int, limit: float = 120.0) -> Timing:
    """Time decode on all problems and the naive side on the first ``dense`` of them."""
    rules = constraints()
    wall, cpu, parts, slow_wall, slow_cpu, apart = [], [], [], [], [], 0.0
    for number, (problem, scores) in enumerate(problems):
        found, *spent = _timed(lambda p=problem, s=scores: decode(p, s, rules, time_limit=limit))  # type: ignore[misc]
        wall.append(spent[0])
        cpu.append(spent[1])
        parts.append(found.components)
        if found.status != "optimal":
            raise RuntimeError(f"{kind}: problem {number} is not proven in {limit:g} s (gap {found.gap:.3g})")
        if number < dense:
            other, *spent = _timed(lambda p=problem, s=scores: naive(p, s, rules, limit))  # type: ignore[misc]
            slow_wall.append(spent[0])
            slow_cpu.append(spent[1])
            apart = max(apart, abs(other - found.objective))
    pairs = statistics.mean(len(problem.pairs) for problem, _ in problems)
    columns = statistics.mean(problem.size for problem, _ in problems)
    return Timing(kind, len(wall), pairs, columns, statistics.median(parts), wall, cpu, slow_wall, slow_cpu, apart)


def _timed(call: Callable[[], T]) -> tuple[T, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    value = call()
    return value, time.perf_counter() - wall, time.process_time() - cpu


def agreement(ontology: Ontology, first: str, second: str, cases: int) -> Agreement:
    """Count how often each side finds the best pair of roles that agree with the map between two event types."""
    rule = next(rule for rule in ontology.maps if (rule.source, rule.target) == (first, second))
    kinds = {name: EventType(roles={role: Role() for role in ontology.events[name].roles}) for name in (first, second)}
    plain = Ontology(name="pair", events=kinds, maps=(rule,))
    problem = pair_problem(plain, first, second)
    maps: dict[str, Constraint] = {"maps": CONSTRAINTS.load("maps")(weight="hard")}
    rng = numpy_generator(0, "perf decode agreement", first, second)
    ours = theirs = 0
    for _ in range(cases):
        scores = rng.normal(size=problem.size)
        best = _best_agreeing(problem, scores, rule)
        ours += decode(problem, scores, maps).roles == best
        theirs += release_roles(problem, scores) == best
    return Agreement(f"{first} and {second}", cases, ours / cases, theirs / cases)


def _best_agreeing(problem: Problem, scores: Scores, rule: RoleMap) -> tuple[str | None, ...]:
    """Return the best pair of roles that agree, by looking at all pairs."""
    back = {b: a for a, b in rule.roles.items()}
    pairs = [
        (scores[problem.x(0, a)] + scores[problem.x(1, b)], (a, b))
        for a in problem.roles(0)
        for b in problem.roles(1)
        if rule.roles.get(a or "", b) == b and back.get(b or "", a) == a
    ]
    return max(pairs)[1]


def measure(quick: bool) -> tuple[list[Timing], list[Agreement]]:
    """Measure everything; ``quick``: on few problems."""
    ace = load_ontology("ace")
    rows = []
    for none in (False, True):
        rng = numpy_generator(0, "perf decode news", none)
        made = [news_problem(rng, ace, none) for _ in range(10 if quick else 200)]
        kind = "news, ACE, every mention a candidate or none" if none else "news, ACE, given arguments"
        rows.append(timing(kind, [(problem, scores_of(problem, rng)) for problem in made], 5 if quick else 50))
    sizes = [(100, 10, 0.1), (500, 50, 0.0), (500, 50, 0.1), (500, 50, 0.3), (1000, 100, 0.1), (1000, 100, 0.3)]
    sizes += [(2000, 200, 0.1), (2000, 200, 0.3)]
    for arguments, events, shared in sizes[:2] if quick else sizes:
        rng = numpy_generator(0, "perf decode", arguments, shared)
        many = [large_problem(rng, arguments, ROLES, events, shared) for _ in range(1 if quick else 3)]
        kind = f"{arguments:,} arguments x {ROLES} roles x {events} events, {shared:.0%} shared"
        dense = 1 if arguments <= 500 else 0
        rows.append(timing(kind, [(problem, scores_of(problem, rng)) for problem in many], dense))
    pairs = [("Conflict:Attack", "Life:Die"), ("Conflict:Attack", "Life:Injure"), ("Life:Die", "Life:Injure")]
    return rows, [agreement(ace, *pair, 50 if quick else 2000) for pair in pairs]


def report(rows: list[Timing], pairs: list[Agreement]) -> str:
    """Return the tables as Markdown."""
    lines = [
        "# Exact decoding: time and what greedy decoding misses",
        "",
        "`python -m benchmarks.perf.decode --out benchmarks/results`",
        "",
        "Random scores, every constraint at the ontology's weights, entity types decided together with roles; no",
        "time includes a scorer, every time includes the making of the rows. Every optimum is proven. Naive: the same",
        "rows as one dense mixed-integer programme for the same solver (HiGHS), same process. Medians; CPU seconds",
        "are those of one core, wall seconds hang on what else the machine did.",
        "",
        "| problem | number | pairs | columns | parts | CPU s | wall s | slowest CPU s | naive CPU s | naive / ours |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cpu, slow = statistics.median(row.cpu), statistics.median(row.naive_cpu) if row.naive_cpu else None
        ratio = statistics.median(row.cpu[: len(row.naive_cpu)]) if slow is not None else 1.0
        lines.append(
            f"| {row.kind} | {row.problems} | {row.pairs:.0f} | {row.columns:,.0f} | {row.parts:.0f} | {cpu:.4f} | "
            f"{statistics.median(row.wall):.4f} | {max(row.cpu):.3f} | "
            + ("not tried | |" if slow is None else f"{slow:.3f} | {slow / ratio:.1f} |")
        )
    apart = max(row.apart for row in rows)
    lines += [
        "",
        f"The objectives of both sides differ by {apart:.1e} nats at most.",
        "",
        "How often the best pair of roles that agree is found, for one mention in two events with random scores:",
        "",
        "| events | cases | decode | the release's loop, as we read it |",
        "|---|---|---|---|",
    ]
    lines += [f"| {pair.events} | {pair.cases} | {pair.decode:.1%} | {pair.release:.1%} |" for pair in pairs]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the measurement from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="folder for decoding.md and decoding.json")
    parser.add_argument("--quick", action="store_true", help="few and small problems, to see that it runs")
    options = parser.parse_args(arguments)
    rows, pairs = measure(options.quick)
    text = report(rows, pairs)
    write_text(options.out / "decoding.md", text)
    write_json(
        options.out / "decoding.json",
        {"timings": [asdict(row) for row in rows], "agreement": [asdict(pair) for pair in pairs]},
    )
    print(text)


if __name__ == "__main__":
    main()
