"""Ablation: the same scores decoded without each family of constraints, and with each alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from zeroshot.constraints.base import FAMILIES, Constraint

T = TypeVar("T")


@dataclass(frozen=True)
class Ablated(Generic[T]):
    """One row.

    Args:
        name: in words, such as ``"without cross-task"``.
        kind: every rule, no rule, all but a family, or that family alone; family: None for the first two.
        removed: names of the constraints that were switched off; result: what the run gave.
    """

    name: str
    kind: Literal["all", "without", "only", "none"]
    family: str | None
    removed: tuple[str, ...]
    result: T


def families(constraints: Mapping[str, Constraint]) -> dict[str, tuple[str, ...]]:
    """Return family -> names of its constraints, in the order of FAMILIES, then of other families' names."""
    found: dict[str, list[str]] = {}
    for name, rule in constraints.items():
        found.setdefault(rule.family, []).append(name)
    known = [family for family in FAMILIES if family in found]
    return {family: tuple(sorted(found[family])) for family in (*known, *sorted(set(found) - set(known)))}


def ablate(run: Callable[[tuple[str, ...]], T], groups: Mapping[str, Sequence[str]]) -> Iterator[Ablated[T]]:
    """Yield the row of all constraints, one without each family, one with each alone, and the one without any.

    With a single family the rows without it and with it alone are those of none and all, and are left out.

    Args:
        run: decodes without the constraints that it is given (names, sorted) and returns what rows hold, such as
            predicted passages.
        groups: family -> names of its constraints (see ``families``).
    """
    every = tuple(sorted(name for names in groups.values() for name in names))
    yield Ablated("all constraints", "all", None, (), run(()))
    if len(groups) > 1:
        for family, names in groups.items():
            gone = tuple(sorted(names))
            yield Ablated(f"without {family}", "without", family, gone, run(gone))
        for family, names in groups.items():
            gone = tuple(name for name in every if name not in names)
            yield Ablated(f"only {family}", "only", family, gone, run(gone))
    if every:
        yield Ablated("no constraints", "none", None, every, run(every))
