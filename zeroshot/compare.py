"""Rows of an evaluation: the prediction, fewer rules, and what it must beat, all from one scoring of the passages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.core.seed import numpy_generator
from benchmarks.passages import Passage
from zeroshot.baselines import (
    Roles,
    ablate,
    families,
    first_roles,
    greedy_roles,
    majority_roles,
    majority_table,
    random_expected_accuracy,
    random_roles,
    release_roles,
    with_roles,
)
from zeroshot.evaluate.rows import Kind
from zeroshot.predict import Predictor, Prepared
from zeroshot.problem import Problem

Predicted = tuple[str, Kind, Sequence[Passage]]


def prepare(predictor: Predictor, passages: Sequence[Passage], progress: Progress = silent) -> list[Prepared]:
    """Score passages, to be decoded in several ways.

    Args:
        predictor: what is evaluated; passages: gold roles in them are not looked at; progress: told of documents.

    Raises:
        FrostlineError: a passage cannot be predicted; there is none.
    """
    if not passages:
        raise FrostlineError("there is no document to evaluate: name files with gold roles.")
    scored = []
    for number, passage in enumerate(passages):
        progress("scoring documents", number, len(passages))
        scored.append(predictor.prepare(passage))
    progress("scoring documents", len(passages), len(passages))
    return scored


def rows(
    predictor: Predictor,
    gold: Sequence[Passage],
    scored: Sequence[Prepared],
    *,
    ablations: bool = False,
    baselines: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> Iterator[Predicted]:
    """Yield (name, kind, predicted passages) of each row, the prediction itself first.

    Args:
        predictor: decodes; gold: for the rows of oracles alone; scored: see ``prepare``.
        ablations: add rows without each family of constraints, with it alone, and without any.
        baselines: add random, first role, greedy and the release's loop, and the majority role as an oracle.
        seed: of the random rows.
        progress: told of documents decoded.
    """

    def decoded(without: tuple[str, ...]) -> list[Passage]:
        made = []
        for number, each in enumerate(scored):
            progress("decoding documents", number, len(scored))
            made.append(with_roles(each.problem, predictor.decode(each, without, plain=True).roles))
        progress("decoding documents", len(scored), len(scored))
        return made

    if ablations:
        for row in ablate(decoded, families(predictor.constraints)):
            yield row.name, "predicted" if row.kind == "all" else "ablation", row.result
    else:
        yield "all constraints", "predicted", decoded(())
    if baselines:
        yield from _baselines(gold, scored, seed)


def _baselines(gold: Sequence[Passage], scored: Sequence[Prepared], seed: int) -> Iterator[Predicted]:
    table = majority_table(gold)
    plain: dict[str, Callable[[Problem, np.random.Generator], Roles]] = {
        "random": lambda problem, draw: random_roles(problem, draw),
        "random + types": lambda problem, draw: random_roles(problem, draw, types=True),
        "first role": lambda problem, draw: first_roles(problem),
    }
    for name, choose in plain.items():
        draw = numpy_generator(seed, name)
        yield name, "baseline", [with_roles(each.problem, choose(each.problem, draw)) for each in scored]
    for name, decide in (("greedy", greedy_roles), ("release's loop", release_roles)):
        yield name, "baseline", [with_roles(each.problem, decide(each.problem, each.scores)) for each in scored]
    yield "majority", "oracle", [with_roles(each.problem, majority_roles(each.problem, table)) for each in scored]


def random_accuracy(gold: Sequence[Passage], scored: Sequence[Prepared], *, types: bool) -> float:
    """Return the accuracy that random roles have on average, exactly, as a share of the pairs with a gold role.

    Raises:
        FrostlineError: no pair has a gold role.
    """
    found = [random_expected_accuracy(each.problem, one, types=types) for one, each in zip(gold, scored, strict=True)]
    count = sum(total for _, total in found)
    if not count:
        raise FrostlineError("no candidate has a gold role: there is nothing to be right about.")
    return sum(right for right, _ in found) / count
