"""What a constraint is: linear rows over the columns of a problem, each hard or with a price, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol

from pydantic import Field

from backbones.core.settings import Settings
from zeroshot.problem import Problem

Aux = tuple[str, ...]
"""Name of an auxiliary binary variable, such as ``("filled", "E1", "Victim", "cluster C2")``; equal names are one
variable within one constraint. Made of ids, not of numbers, so that it does not hang on the order of the input."""

FAMILIES = ("cross-task", "cross-argument", "cross-event", "time", "user")


@dataclass(frozen=True, slots=True)
class Row:
    """``lower <= sum of value * column <= upper``.

    Args:
        terms: (column number of the problem or Aux, value) pairs.
        lower, upper: bounds, infinite where there is none.
        price: cost in nats for each unit by which the sum leaves the bounds; None: it must not leave them.
        reason: the rule in plain words, about this passage: it is what a user reads.
        evidence: whether it weighs a choice and is no rule that could be broken; its cost counts in the objective, but
            it is not among the violations that a user reads.
    """

    terms: tuple[tuple[int | Aux, float], ...]
    lower: float
    upper: float
    price: float | None
    reason: str
    evidence: bool = False


class Constraint(Protocol):
    """A rule over whole passages; a frozen, validated settings object.

    Attributes:
        family: one of FAMILIES, by which rules are ablated and reported.
    """

    family: ClassVar[str]

    def rows(self, problem: Problem) -> Iterable[Row]:
        """Yield the rows of this rule for ``problem``; the same problem gives the same rows."""
        ...


Price = Annotated[float, Field(ge=0)] | Literal["hard"]


class Weighted(Settings):
    """Settings of a rule that has a weight.

    Args:
        weight: price of breaking the rule once, in nats; ``"hard"``: never broken; 0: off; None: the ontology's.
    """

    weight: Price | None = None

    def price(self, *defaults: Price | None) -> float | None:
        """Return the price of a row, None if it is hard: the own weight, else the first of ``defaults`` that is one."""
        chosen = next(weight for weight in (self.weight, *defaults, 0.0) if weight is not None)
        return None if isinstance(chosen, str) else chosen
