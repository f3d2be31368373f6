"""Why an argument has its role: what scores alone say, which rules said otherwise, and what that was worth."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from zeroshot.blame import Blame
from zeroshot.constraints.base import Constraint, Row
from zeroshot.decode import decode as decode_exactly
from zeroshot.decoding import Decoding
from zeroshot.parts import Parts
from zeroshot.problem import Problem
from zeroshot.result import Cause

Scored = tuple[tuple[str | None, float], ...]
EVIDENCE = "cross-task"
"""Family of the rules that tie roles to entity types."""
AGAIN = 0.8  # share of the time for explaining in which parts are decoded again


@dataclass(frozen=True)
class Explanation:
    """Why one pair has its role.

    Args:
        pair: number of the pair; event, entity: ids; trigger, words: their text.
        scores: roles with local scores (log-probability among the roles of the pair, in nats), best first; roles of
            equal score stand in the order of the ontology, NONE last.
        local_role: the first of them; role: what decoding gave; entity_type: type of the mention, None if it has none.
        causes: rules that made ``role`` differ from ``local_role``, in the order of the constraints.
        joint: whether only all ``causes`` together changed it, so that removing any one of them changes nothing.
        price: what the objective would lose if the pair had ``local_role``, in nats; None: no assignment that keeps the
            hard rules has it, or (without causes) it is not known.
        support: rules of entity types that the best other role would break, for a pair that keeps its local role.
        proven: whether every decoding behind this ended with a proof.
    """

    pair: int
    event: str
    entity: str
    trigger: str
    words: str
    scores: Scored
    local_role: str | None
    role: str | None
    entity_type: str | None
    causes: tuple[Cause, ...] = ()
    joint: bool = False
    price: float | None = 0.0
    support: tuple[Cause, ...] = ()
    proven: bool = True

    @property
    def runner_up(self) -> tuple[str | None, float] | None:
        """The best role but the local one, with its score; None if the pair can have no other role."""
        return self.scores[1] if len(self.scores) > 1 else None


def explain(
    problem: Problem,
    scores: NDArray[np.float64],
    constraints: Mapping[str, Constraint],
    decoding: Decoding,
    *,
    time_limit: float = 10.0,
    decode: Callable[..., Decoding] = decode_exactly,
) -> tuple[Explanation, ...]:
    """Explain every pair of a decoding, free of forwards.

    Only parts of the problem in which some role differs from the local one are decoded again. A rule is a cause if
    decoding without it gives the pair another role. If no single rule is, rules are put back one by one, the first of
    ``constraints`` first, each that can be without giving the pair its old role; those that cannot are the causes.

    Args:
        problem: what was decided.
        scores: float64, shape (len(problem.columns),), in nats.
        constraints: name -> rule, those in force.
        decoding: the assignment to explain; its margins, if it has them, save time.
        time_limit: seconds for all pairs. After most of them (AGAIN) the pairs that are left are explained without
            decoding again, by the rules that their local role would break as things stand; those explanations are not
            proven and their price is a bound. After all of them, pairs are left without a reason, which is told.
        decode: what decodes, with the signature of ``zeroshot.decode.decode``.

    Returns:
        One explanation for each pair, in the order of ``problem.pairs``.
    """
    began = time.monotonic()
    local = [local_scores(problem, scores, pair) for pair in range(len(problem.pairs))]
    changed = [pair for pair, found in enumerate(local) if found[0][0] != decoding.roles[pair]]
    rows = {name: tuple(rule.rows(problem)) for name, rule in constraints.items()}
    families = {name: rule.family for name, rule in constraints.items()}
    told = {pair: _kept(problem, decoding, pair, found) for pair, found in enumerate(local)}
    evidence = _by_column({name: rows[name] for name in rows if families[name] == EVIDENCE})
    for pair in told.keys() - set(changed):
        told[pair] = _supported(problem, decoding, told[pair], evidence)
    if changed:
        parts = Parts(problem, scores, rows)
        by_part = defaultdict(list)
        for pair in changed:
            by_part[parts.of(pair)].append(pair)
        for number, pairs in by_part.items():
            if time.monotonic() >= began + time_limit:
                told.update((pair, replace(told[pair], price=None, proven=False)) for pair in pairs)
                continue
            blame = Blame(parts.take(number), families, decoding, decode, began + AGAIN * time_limit)
            for pair in pairs:
                late = time.monotonic() >= began + time_limit
                told[pair] = replace(told[pair], price=None, proven=False) if late else _blamed(told[pair], blame, pair)
    return tuple(told[pair] for pair in range(len(problem.pairs)))


def local_scores(problem: Problem, scores: NDArray[np.float64], pair: int) -> Scored:
    """Return the roles of a pair with their log-probabilities among them, best first; ties in the order of roles."""
    raw = scores[problem.pair_groups[pair]]
    logs = raw - raw.max() - np.log(np.exp(raw - raw.max()).sum())
    order = np.argsort(-logs, kind="stable")
    roles = problem.roles(pair)
    return tuple((roles[at], min(0.0, float(logs[at]))) for at in order)


def _kept(problem: Problem, decoding: Decoding, pair: int, local: Scored) -> Explanation:
    cell = problem.pairs[pair]
    event, mention = problem.events[cell.event], problem.mentions[cell.mention]
    text = problem.passage.text
    return Explanation(
        pair=pair,
        event=event.id,
        entity=mention.id,
        trigger=text[slice(*event.trigger.span)],
        words=text[slice(*mention.span)],
        scores=local,
        local_role=local[0][0],
        role=decoding.roles[pair],
        entity_type=decoding.types[cell.mention],
    )


def _blamed(kept: Explanation, blame: Blame, pair: int) -> Explanation:
    found = blame.of(pair, kept.local_role)
    return replace(kept, causes=found.causes, joint=found.joint, price=found.price, proven=found.proven)


def _by_column(rows: Mapping[str, tuple[Row, ...]]) -> dict[int, list[tuple[str, Row]]]:
    """Index rows without auxiliary variables by their columns."""
    table: dict[int, list[tuple[str, Row]]] = defaultdict(list)
    for name, found in rows.items():
        for row in found:
            if not any(isinstance(key, tuple) for key, _ in row.terms):
                for key, _ in row.terms:
                    table[key].append((name, row))  # type: ignore[index]
    return table


def _supported(
    problem: Problem, decoding: Decoding, kept: Explanation, evidence: Mapping[int, list[tuple[str, Row]]]
) -> Explanation:
    """Note the rules of entity types that the runner-up would break."""
    if kept.runner_up is None:
        return kept
    column = problem.x(kept.pair, kept.runner_up[0])
    mentions = {mention: kind for mention, kind in enumerate(decoding.types) if kind is not None}
    found = []
    for name, row in evidence.get(column, ()):
        value = 0.0
        for key, factor in row.terms:
            at = problem.columns[int(key)]  # type: ignore[arg-type]
            if at.pair is not None:
                role = kept.runner_up[0] if at.pair == kept.pair else decoding.roles[at.pair]
                value += factor * (at.role == role)
            elif at.mention is not None:
                value += factor * (mentions.get(at.mention) == at.type)
        amount = max(row.lower - value, value - row.upper, 0.0)
        if amount > 0:
            cost = None if row.price is None else amount * row.price
            found.append(Cause(rule=name, family=EVIDENCE, reason=row.reason, cost=cost))
    return replace(kept, support=tuple(found))


def summary(explanation: Explanation) -> str:
    """Return an explanation in a few plain sentences."""
    found = explanation
    lines = [f"{found.words!r} {_has(found.role)} in {found.trigger!r} ({found.event})."]
    lines.append(f"By its score alone it would be {_said(found.scores[0])}{_next(found)}.")
    if found.role != found.local_role:
        lines.extend(_why(found))
    for each in found.support:
        lines.append(f"Its entity type speaks for it: {_plain(each.reason)} ({each.rule}).")
    if not found.proven:
        lines.append("Time ran out, so this is not proven.")
    return " ".join(lines)


def _why(found: Explanation) -> list[str]:
    if not found.causes and not found.proven:
        return ["What changed it was not found out."]
    if not found.causes:
        return ["No rule changed it: both roles are equally good."]
    rules = "; ".join(f"{each.rule}: {_plain(each.reason)}" for each in found.causes)
    how = "These rules changed it together" if found.joint else "What changed it"
    if found.price is None:
        price = f"No assignment that keeps the rules makes it {_name(found.local_role)}."
    else:
        price = f"Making it {_name(found.local_role)} would have cost {found.price:.2f} nats."
    return [f"{how}: {rules}.", price]


def _has(role: str | None) -> str:
    return "has no role" if role is None else f"is {role}"


def _name(role: str | None) -> str:
    return "no role" if role is None else role


def _said(scored: tuple[str | None, float]) -> str:
    return f"{_name(scored[0])} ({100 * math.exp(scored[1]):.0f} %)"


def _next(found: Explanation) -> str:
    return f", then {_said(found.runner_up)}" if found.runner_up else ", the only one it can have"


def _plain(reason: str) -> str:
    return reason.rstrip().rstrip(".")
