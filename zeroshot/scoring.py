"""From a problem to its score vector: ask a scorer about every cell and make its answers comparable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from benchmarks.languages import main
from benchmarks.ontologies.types import describe, say
from zeroshot.problem import Problem
from zeroshot.scorers.base import Request, Scorer

Floats = NDArray[np.float64]
Say = Callable[[str], object]
TOGETHER = 256  # requests that are asked for at once where time is limited


class _TimeUpError(Exception):
    """Time ran out while a scorer was at work."""


def role_requests(problem: Problem, pair: int) -> list[Request]:
    """Return one request for each role of the pair, in the order of ``problem.roles``; NONE has the empty label."""
    cell, passage = problem.pairs[pair], problem.passage
    event, language = problem.events[cell.event], main(problem.passage.language)
    kind = problem.ontology.event(event.type)
    asked = []
    for role in problem.roles(pair):
        spec = kind.roles[role] if role is not None else None
        asked.append(
            Request(
                text=passage.text,
                span=problem.mentions[cell.mention].span,
                trigger=event.trigger.span,
                event=say(kind, event.type, language),
                label=say(spec, str(role), language) if spec is not None else "",
                description=describe(spec, language) if spec is not None else None,
                hypothesis=kind.hypothesis,
                language=language,
            )
        )
    return asked


def type_requests(problem: Problem, mention: int) -> list[Request]:
    """Return one request for each entity type that the mention may have, none where there is nothing to decide.

    They carry the event that the mention is first asked about, so that a scorer may share its prompt.
    """
    kinds, pairs, passage = problem.types[mention], problem.pairs_of_mention[mention], problem.passage
    if len(kinds) < 2 or not pairs:
        return []
    event = problem.events[problem.pairs[pairs[0]].event]
    table, language = problem.ontology.entity_types, main(passage.language)
    return [
        Request(
            text=passage.text,
            span=problem.mentions[mention].span,
            trigger=event.trigger.span,
            event=say(problem.ontology.event(event.type), event.type, language),
            label=say(table[kind], kind, language),
            description=describe(table[kind], language),
            kind="type",
            language=language,
        )
        for kind in kinds
    ]


def requests_of(problem: Problem, *, asks_none: bool = True) -> list[list[Request]]:
    """Return the requests of every pair and then of every mention (empty lists where there is nothing to ask)."""
    roles = [role_requests(problem, pair) for pair in range(len(problem.pairs))]
    if not asks_none:
        roles = [[request for request in cell if request.label] for cell in roles]
    return [*roles, *(type_requests(problem, mention) for mention in range(len(problem.mentions)))]


def score(
    problem: Problem,
    scorer: Scorer,
    *,
    type_weight: float = 1.0,
    none_bias: float = 0.0,
    progress: Progress = silent,
    until: float = math.inf,
    say: Say = str,
) -> Floats:
    """Ask ``scorer`` about every cell of ``problem``.

    Scores of a cell become log-probabilities. A scorer that has the attribute ``scores_none`` = True is asked about
    NONE like about any role; for the others NONE is as likely as a role is on average. Members of an ensemble that are
    not asked about NONE abstain from it where others are. Then ``none_bias`` is added.

    Args:
        problem: cells to score.
        scorer: what answers.
        type_weight: factor on the log-probabilities of entity types (alpha of the programme), 0 or more.
        none_bias: log-odds added to NONE, in nats; more of it rejects more candidates.
        progress: told of requests answered.
        until: time of ``time.monotonic`` after which no more is asked: labels of the cells that are left are equally
            likely. A scorer is stopped where it tells of its progress.
        say: told of notes of the scorer, and of cells that are left.

    Returns:
        float64, shape (len(problem.columns),): log-probabilities in nats.

    Raises:
        FrostlineError: the scorer gave a number that is not finite; the message names the cell.
    """
    answers, tells_none = _answers(problem, scorer, progress, until, say)
    vector = np.zeros(len(problem.columns))
    pairs = len(problem.pairs)
    for pair, cell in enumerate(problem.pairs):
        vector[problem.pair_groups[pair]] = _cell(answers[pair], none=cell.none, told=tells_none, bias=none_bias)
    for mention, columns in enumerate(problem.type_groups):
        if len(answers[pairs + mention]):
            vector[columns] = type_weight * log_softmax(answers[pairs + mention])
    return vector


def _answers(problem: Problem, scorer: Scorer, progress: Progress, until: float, say: Say) -> tuple[list[Floats], bool]:
    """Return the log-scores of every group of ``requests_of``, and whether NONE is among them where it is allowed."""
    tells_none = bool(getattr(scorer, "scores_none", False))
    members = tuple(getattr(scorer, "members", ()))
    if not tells_none and any(bool(getattr(member, "scores_none", False)) for member, _ in members):
        told = [(*_answers(problem, member, progress, until, say), weight) for member, weight in members]
        return _pooled(problem, told), True
    groups = requests_of(problem, asks_none=tells_none)
    found: list[Floats] = []
    for part in _parts(groups) if until < math.inf else [groups]:
        try:
            found += _asked(part, scorer, progress, until, say)
        except _TimeUpError:
            break
    left = groups[len(found) :]
    if any(left):
        count, cells = sum(map(bool, left)), sum(map(bool, groups))
        say(f"time ran out while scoring: in {count} of {cells} cells all labels are equally likely (--time-limit).")
    return [*found, *(np.zeros(len(group)) for group in left)], tells_none


def _parts(groups: Sequence[list[Request]]) -> Iterator[list[list[Request]]]:
    """Yield groups in their order, so many together that they hold TOGETHER requests or a few more."""
    part: list[list[Request]] = []
    for group in groups:
        part.append(group)
        if sum(map(len, part)) >= TOGETHER:
            yield part
            part = []
    yield part


def _asked(groups: Sequence[list[Request]], scorer: Scorer, progress: Progress, until: float, say: Say) -> list[Floats]:
    flat = [request for group in groups for request in group]
    if not flat:
        return [np.zeros(0) for _ in groups]

    def timed(phase: str, done: int, total: int) -> None:
        progress(phase, done, total)
        if done < total and time.monotonic() > until:
            raise _TimeUpError

    if time.monotonic() > until:
        raise _TimeUpError
    answers = np.asarray(scorer.score(flat, timed), dtype=np.float64)
    for note in scorer.notes():
        say(note)
    _check(answers, flat)
    return np.split(answers, np.cumsum([len(group) for group in groups])[:-1])


def _pooled(problem: Problem, told: Sequence[tuple[list[Floats], bool, float]]) -> list[Floats]:
    """Pool members of which some say nothing of NONE: they abstain from it, and speak for roles like the others.

    Args:
        problem: whose cells.
        told: answers of each member, whether NONE is among them, and its weight.
    """
    found: list[Floats] = []
    for group in range(len(problem.pairs) + len(problem.mentions)):
        none = group < len(problem.pairs) and problem.pairs[group].none
        if not len(told[0][0][group]):
            found.append(np.zeros(0))
            continue
        roles = np.sum(
            [weight * log_softmax(rows[group][:-1] if none and tells else rows[group]) for rows, tells, weight in told],
            axis=0,
        )
        if not none:
            found.append(roles)
            continue
        heard = log_softmax(np.sum([weight * log_softmax(rows[group]) for rows, tells, weight in told if tells], axis=0)
                            / sum(weight for _, tells, weight in told if tells))  # fmt: skip
        found.append(np.append(log_softmax(roles) + logsumexp(heard[:-1]), heard[-1]))
    return found


def _cell(answers: Floats, *, none: bool, told: bool, bias: float) -> Floats:
    """Return log-probabilities of one pair's roles, NONE last where it is allowed."""
    if not none:
        return np.asarray(log_softmax(answers))
    if not told:
        local = log_softmax(answers)
        answers = np.append(local, -np.log(len(local)))
    answers = answers.copy()
    answers[-1] += bias
    return np.asarray(log_softmax(answers))


def _check(answers: Floats, asked: Sequence[Request]) -> None:
    if answers.shape != (len(asked),):
        raise FrostlineError(
            f"the scorer gave an array of shape {answers.shape} for {len(asked)} requests; "
            "it must give one number for each."
        )
    wrong = np.flatnonzero(~np.isfinite(answers))
    if len(wrong):
        first = asked[int(wrong[0])]
        span = first.text[slice(*first.span)]
        raise FrostlineError(
            f"the scorer gave {answers[wrong[0]]} for the {first.kind} {first.label!r} of {span!r} "
            f"({len(wrong)} of {len(asked)} scores are not finite). Try --precision fp32 or another model."
        )
