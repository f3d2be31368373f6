"""Which rules gave a pair another role than its scores: found by decoding a part again without them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np

from backbones.core.errors import FrostlineError
from zeroshot.constraints.base import Aux, Constraint, Row
from zeroshot.decode import InfeasibleError
from zeroshot.decoding import Decoding
from zeroshot.parts import Part, fixed
from zeroshot.result import Cause

HOLD, HELD_AS = "held", "user"  # the rule by which a role or a whole assignment is held; no user sees it
TINY = 1e-6  # solvers keep rows to about this
SHOWN = 3  # rows of one rule whose words are told

Roles = tuple[str | None, ...]


class TimeUpError(Exception):
    """There is no time left to decode again."""


@dataclass(frozen=True)
class Verdict:
    """See the fields of the same names in zeroshot.explain.Explanation."""

    causes: tuple[Cause, ...]
    joint: bool
    price: float | None
    proven: bool


class Blame:
    """Decodes one part without some of its rules, each set of rules once.

    Args:
        part: a part of the problem; families: name of a rule -> its family.
        decoding: of the whole problem; decode: what decodes.
        until: time of ``time.monotonic`` after which nothing is decoded again and verdicts are a first glance.
    """

    def __init__(
        self,
        part: Part,
        families: Mapping[str, str],
        decoding: Decoding,
        decode: Callable[..., Decoding],
        until: float,
    ) -> None:
        self.part, self._families, self._decode = part, families, decode
        self._until = until
        self.place = {pair: index for index, pair in enumerate(part.pairs)}
        self.roles = tuple(decoding.roles[pair] for pair in part.pairs)
        kinds = zip(decoding.types, part.problem.types, strict=True)
        self.types = tuple(kind if allowed else None for kind, allowed in kinds)
        self.margins = None if decoding.margins is None else [decoding.margins[pair] for pair in part.pairs]
        self._without: dict[frozenset[str], Decoding] = {}
        self._before: dict[str, dict[str, float]] = {}

    def of(self, pair: int, local: str | None) -> Verdict:
        """Return what gave the pair (numbered as in the whole problem) its role instead of ``local``."""
        at = self.place[pair]
        try:
            return self._found(at, local)
        except TimeUpError:
            return self.glance(at, local)

    def _found(self, at: int, local: str | None) -> Verdict:
        base = self.without(())
        sole = [name for name in self.part.rows if self._changes(at, (name,))]
        names = sole or self._together(at)
        price, sure = self._price(at, local, base)
        joint = not sole and len(names) > 1
        causes = tuple(
            Cause(
                rule=name,
                family=self._families[name],
                reason=self._words(name, at, local, (name,) if sole else tuple(names)),
                cost=price,
            )
            for name in names
        )
        solved = all(found.status == "optimal" for found in self._without.values())
        proven = solved and sure and base.roles == self.roles
        return Verdict(causes, joint, price, proven)

    def glance(self, at: int, local: str | None) -> Verdict:
        """Blame the rules that ``local`` would break as things stand: a bound on the price, without decoding again."""
        worse = self._all_worse(at, local, self.types)
        loss = self._loss(at, local, worse, self.types)
        told = None if np.isinf(loss) else max(0.0, loss)
        causes = tuple(
            Cause(rule=name, family=self._families[name], reason=self._told(name, at, costs), cost=told)
            for name, costs in worse.items()
            if costs
        )
        return Verdict(causes, len(causes) > 1, told, False)

    def _price(self, at: int, local: str | None, base: Decoding) -> tuple[float | None, bool]:
        """Return what ``local`` would cost, None if no assignment has it, and whether that is proven.

        No assignment with another role costs less than the margin: if changing this one role costs no more than that,
        nothing need be decoded.
        """
        if self.margins is not None and base.roles == self.roles:
            if np.isinf(self.margins[at]):
                return None, True
            loss = min(self._loss(at, local, self._all_worse(at, local, types), types) for types in self._retyped(at))
            if loss <= self.margins[at] + TINY:
                return max(0.0, loss), True
        kept = self._keeping(at, local)
        if kept is None:
            return None, True
        return max(0.0, base.objective - kept.objective), kept.status == "optimal"

    def _retyped(self, at: int) -> list[Roles]:
        """Return the entity types as they are and with each other type of the pair's mention."""
        mention = self.part.problem.pairs[at].mention
        others = [kind for kind in self.part.problem.types[mention] if kind != self.types[mention]]
        return [self.types, *((*self.types[:mention], kind, *self.types[mention + 1 :]) for kind in others)]

    def _all_worse(self, at: int, role: str | None, types: Roles) -> dict[str, dict[str, float]]:
        roles = self._flipped(at, role)
        return {name: self._worse(name, roles, types) for name in self.part.rows}

    def _loss(self, at: int, role: str | None, worse: Mapping[str, Mapping[str, float]], types: Roles) -> float:
        """Return what the objective loses in scores and in rows that are broken further; a bound: none is mended."""
        problem, scores = self.part.problem, self.part.scores
        loss = float(scores[problem.x(at, self.roles[at])] - scores[problem.x(at, role)])
        mention = problem.pairs[at].mention
        was, kind = self.types[mention], types[mention]
        if was is not None and kind is not None:
            loss += float(scores[problem.y(mention, was)] - scores[problem.y(mention, kind)])
        before = (self._before[name].get(reason, 0.0) for name, costs in worse.items() for reason in costs)
        return loss + sum(sum(costs.values()) for costs in worse.values()) - sum(before)

    def without(self, names: Iterable[str]) -> Decoding:
        """Decode the part without the rules ``names``."""
        left = frozenset(names)
        if left not in self._without:
            rules = {name: rows for name, rows in self.part.rows.items() if name not in left}
            self._without[left] = self._solve(rules)
        return self._without[left]

    def _changes(self, at: int, names: Iterable[str]) -> bool:
        return self.without(names).roles[at] != self.roles[at]

    def _together(self, at: int) -> list[str]:
        """Return a minimal set of rules whose removal changes the role: rules are put back, the first one first."""
        gone = list(self.part.rows)
        if not self._changes(at, gone):
            return []  # the role is as good as the local one by its scores alone
        for name in self.part.rows:
            rest = [other for other in gone if other != name]
            if self._changes(at, rest):
                gone = rest
        return gone

    def _keeping(self, at: int, role: str | None) -> Decoding | None:
        """Decode with a role held; None if no assignment has it."""
        row = Row(((self.part.problem.x(at, role), 1.0),), 1.0, np.inf, None, HOLD)
        try:
            return self._solve(self.part.rows, {HOLD: fixed(HELD_AS, [row])})
        except InfeasibleError:
            return None

    def _solve(self, rows: Mapping[str, Iterable[Row]], more: Mapping[str, Constraint] | None = None) -> Decoding:
        rules = {name: fixed(self._families[name], found) for name, found in rows.items()}
        return self._timed({**rules, **(more or {})})

    def _timed(self, rules: Mapping[str, Constraint]) -> Decoding:
        """Decode within the time that is left; raises TimeUpError if there is none."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeUpError
        try:
            return self._decode(self.part.problem, self.part.scores, rules, time_limit=left)
        except InfeasibleError:
            raise
        except FrostlineError:  # no assignment was found in time
            raise TimeUpError from None

    def _words(self, name: str, at: int, local: str | None, gone: tuple[str, ...]) -> str:
        """Return the words of the rows of a rule that the local role would break.

        The local role is put into the assignment; if that alone breaks no row of the rule, because it works through
        other pairs, the assignment without the rule is taken, which breaks one unless it is as good.
        """
        free = self.without(gone)
        for roles, types in ((self._flipped(at, local), self.types), (free.roles, free.types)):
            worse = self._worse(name, roles, types)
            if worse:
                return self._told(name, at, worse)
        others = ", ".join(other for other in gone if other != name)
        return f"it acts together with {others}" if others else "it decides between assignments that are equally good"

    def _flipped(self, at: int, role: str | None) -> tuple[str | None, ...]:
        return (*self.roles[:at], role, *self.roles[at + 1 :])

    def _worse(self, name: str, roles: Roles, types: Roles) -> dict[str, float]:
        """Return the words of the rows of a rule that an assignment breaks further than the decoding, and the cost."""
        if name not in self._before:
            self._before[name] = self._broken(name, self.roles, self.types)
        before = self._before[name]
        after = self._broken(name, roles, types)
        return {reason: cost for reason, cost in after.items() if cost > before.get(reason, 0.0) + 1e-6}

    def _told(self, name: str, at: int, worse: Iterable[str]) -> str:
        """Join the words of rows, those that speak of the pair itself first."""
        near = self._near(name, at)
        reasons = sorted(worse, key=lambda reason: reason not in near)  # stable: else in the order of the rows
        more = f"; and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
        return "; ".join(reason.rstrip().rstrip(".") for reason in reasons[:SHOWN]) + more

    def _near(self, name: str, at: int) -> set[str]:
        """Return the words of rows that speak of the pair itself."""
        own = {int(column) for column in self.part.problem.pair_groups[at]}
        return {row.reason for row in self.part.rows[name] if any(key in own for key, _ in row.terms)}

    def _broken(self, name: str, roles: Roles, types: Roles) -> dict[str, float]:
        """Return the words of the rows that an assignment breaks and what that costs, infinite for hard rows."""
        problem = self.part.problem
        on = {problem.x(at, role) for at, role in enumerate(roles)}
        on |= {problem.y(mention, kind) for mention, kind in enumerate(types) if kind is not None}
        rows = self.part.rows[name]
        aux = derived(rows, on)
        if aux is None:
            free = [row for row in rows if any(isinstance(key, tuple) for key, _ in row.terms)]
            rows, aux = tuple(row for row in rows if row not in free), frozenset()
            found = dict(self._with_aux(name, free, on))
        else:
            found = {}
        for row in rows:
            value = sum(factor for key, factor in row.terms if key in (aux if isinstance(key, tuple) else on))
            amount = max(row.lower - value, value - row.upper)
            if amount > TINY:
                cost = np.inf if row.price is None else amount * row.price
                found[row.reason] = found.get(row.reason, 0.0) + cost
        return found

    def _with_aux(self, name: str, rows: list[Row], on: set[int]) -> list[tuple[str, float]]:
        """Let the decoder choose auxiliary variables while everything else is held, hard rows being dear."""
        dear = 1.0 + sum(_span(row) * (row.price or 0.0) for row in rows)
        prices = [
            dear * weight if row.price is None else row.price for row, weight in zip(rows, _weights(rows), strict=True)
        ]
        priced = [replace(row, price=price) for row, price in zip(rows, prices, strict=True)]
        held = [Row(((column, 1.0),), 1.0, np.inf, None, HOLD) for column in sorted(on)]
        rules = {name: fixed(self._families[name], priced), HOLD: fixed(HELD_AS, held)}
        try:
            found = self._timed(rules)
        except TimeUpError:
            return []  # a first glance may miss what these rows cost
        hard = {row.reason for row in rows if row.price is None}
        return [
            (each.reason, np.inf if each.reason in hard else each.cost)
            for each in found.violations
            if each.rule == name and each.amount > TINY
        ]


def derived(rows: Sequence[Row], on: AbstractSet[int]) -> frozenset[Aux] | None:
    """Return the auxiliaries that an assignment makes 1, None if the rows that define them leave one open.

    What defines an auxiliary is hard, speaks of no other one and has the words of its definition's other rows.
    """
    count = Counter(row.reason for row in rows)
    low: set[Aux] = set()
    high: set[Aux] = set()
    every: set[Aux] = set()
    for row in rows:
        own = [(key, factor) for key, factor in row.terms if isinstance(key, tuple)]
        every.update(key for key, _ in own)
        if len(own) != 1 or row.price is not None or count[row.reason] < 2:
            continue
        ((key, factor),) = own
        rest = sum(value for other, value in row.terms if other != key and other in on)
        fits = [row.lower - TINY <= rest + factor * bit <= row.upper + TINY for bit in (0, 1)]
        if not fits[0]:
            low.add(key)
        if not fits[1]:
            high.add(key)
    return None if (low & high) or (every - low - high) else frozenset(low)


def _weights(rows: list[Row]) -> list[float]:
    """Weigh rows that define auxiliaries above those that speak of them: the latter are what is broken.

    What defines an "or" takes several rows with the same words, a limit on it takes one.
    """
    count = Counter(row.reason for row in rows)
    return [float(len(rows)) + 1.0 if count[row.reason] > 1 else 1.0 for row in rows]


def _span(row: Row) -> float:
    """Return the most by which a row can leave its bounds."""
    low = sum(min(factor, 0.0) for _, factor in row.terms)
    high = sum(max(factor, 0.0) for _, factor in row.terms)
    return max(row.lower - low, high - row.upper, 0.0)
