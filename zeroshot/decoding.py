"""What decoding gives: an assignment, the proof that it is the best one, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Violation:
    """A priced row that the assignment breaks.

    Args:
        rule: registered name of the constraint; family: its family.
        reason: the row's words; amount: how far the row is left; cost: amount times price, in nats.
        evidence: whether the row weighs a choice and is no rule (see zeroshot.constraints.base.Row).
    """

    rule: str
    family: str
    reason: str
    amount: float
    cost: float
    evidence: bool = False


@dataclass(frozen=True)
class Decoding:
    """An assignment of roles to pairs and of entity types to mentions.

    Args:
        roles: for each pair its role, None for NONE.
        types: for each mention its entity type, None where the ontology has none.
        objective: sum of the chosen scores minus the costs of violations, in nats.
        bound: proven upper bound on the objective of any assignment.
        status: ``"optimal"`` (proven), or ``"time limit"`` (the best found so far, see ``gap``).
        seconds: wall time.
        components: number of independent parts that were solved.
        violations: priced rows that are broken, dearest first.
        margins: for each pair what the objective loses if the pair must take any other role (infinite if it can take
            none), None if not asked for.
        alternatives: the next best assignments, best first, which differ from this one and each other in some role.
    """

    roles: tuple[str | None, ...]
    types: tuple[str | None, ...]
    objective: float
    bound: float
    status: Literal["optimal", "time limit"]
    seconds: float
    components: int
    violations: tuple[Violation, ...] = ()
    margins: tuple[float, ...] | None = None
    alternatives: tuple[Decoding, ...] = ()

    @property
    def gap(self) -> float:
        """Bound minus objective, in nats; 0 where the assignment is proven to be the best."""
        return max(0.0, self.bound - self.objective)
