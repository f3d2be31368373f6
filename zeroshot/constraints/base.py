"""What a constraint is: linear rows over the columns of a problem, each hard or with a price, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from zeroshot.problem import Problem

Aux = tuple[str, ...]
"""Name of an auxiliary binary variable, such as ``("filled", "E1", "Victim", "cluster C2")``; equal names are one
variable within one constraint."""

FAMILIES = ("cross-task", "cross-argument", "cross-event", "time", "user")


@dataclass(frozen=True)
class Row:
    """``lower <= sum of value * column <= upper``.

    Args:
        terms: (column number of the problem or Aux, value) pairs.
        lower, upper: bounds, infinite where there is none.
        price: cost in nats for each unit by which the sum leaves the bounds; None: it must not leave them.
        reason: the rule in plain words, about this passage: it is what a user reads.
    """

    terms: tuple[tuple[int | Aux, float], ...]
    lower: float
    upper: float
    price: float | None
    reason: str


class Constraint(Protocol):
    """A rule over whole passages; a frozen, validated settings object.

    Attributes:
        family: one of FAMILIES, by which rules are ablated and reported.
    """

    family: ClassVar[str]

    def rows(self, problem: Problem) -> Iterable[Row]:
        """Yield the rows of this rule for ``problem``; the same problem gives the same rows."""
        ...
