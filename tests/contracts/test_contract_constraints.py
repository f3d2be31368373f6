"""Every registered constraint keeps the public contract, as it comes and with every weight; breakers are caught."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, nan
from typing import ClassVar

import pytest

from zeroshot.constraints import CONSTRAINTS, Row
from zeroshot.constraints.base import Weighted
from zeroshot.testing import check_constraint, sample_problems

SETTINGS = {
    "maps": [{"none": True}, {"by": "mention"}, {"reach": 5}, {"reach": None}],
    "overlap": [{"nested": "any"}, {"nested": "allowed"}],
    "multiplicity": [{"max": 1, "min": 1}],
    "time": [{"only": False}],
}


@pytest.mark.parametrize("name", CONSTRAINTS.names())
def test_constraint_keeps_the_contract(name: str) -> None:
    kind = CONSTRAINTS.load(name)
    choices = [{}, *SETTINGS.get(name, [])]
    if "weight" in kind.model_fields:
        choices += [{"weight": 0}, {"weight": 0.5}]
    if issubclass(kind, Weighted):
        choices.append({"weight": "hard"})
    for settings in choices:
        check_constraint(kind.parse(settings, f"constraint {name!r}"))


@pytest.mark.parametrize("name", [name for name in CONSTRAINTS.names() if name != "user"])
def test_constraint_says_something_about_the_samples_unless_its_weight_is_0(name: str) -> None:
    kind = CONSTRAINTS.load(name)
    assert any(list(kind().rows(problem)) for problem in sample_problems())
    assert not any(list(kind(weight=0).rows(problem)) for problem in sample_problems())


GOOD = Row(((0, 1.0),), -inf, 0.0, 1.0, "the first column is bad")


@dataclass(frozen=True)
class Guest:
    """A constraint that yields one row."""

    row: Row
    family: ClassVar[str] = "cross-argument"

    def rows(self, problem):
        return [self.row]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reason": " "}, "gives no reason"),
        ({"price": -1.0}, "price is -1.0"),
        ({"lower": 1.0}, "bounds are 1.0 and 0.0"),
        ({"lower": -inf, "upper": -inf}, "nothing lies in"),
        ({"terms": ((0, nan),)}, "factor is nan"),
        ({"terms": ((10**6, 1.0),)}, "column 1000000 of"),
        ({"terms": (((1, 2), 1.0),)}, "not a tuple of strings"),
        ({"terms": ((0, 1.0),)}, "in another order"),
    ],
)
def test_check_constraint_catches_a_faulty_row(change, words) -> None:
    with pytest.raises(AssertionError, match=words):
        check_constraint(Guest(replace(GOOD, **change)), sample_problems()[:1])


def test_check_constraint_catches_rows_that_change_and_unknown_families() -> None:
    class Moody(Guest):
        def rows(self, problem):
            object.__setattr__(self, "row", replace(self.row, upper=self.row.upper + 1))
            return [self.row]

    with pytest.raises(AssertionError, match="a second call gives other rows"):
        check_constraint(Moody(GOOD), sample_problems()[:1])

    class Stranger(Guest):
        family: ClassVar[str] = "other"

    with pytest.raises(AssertionError, match="family is 'other'"):
        check_constraint(Stranger(GOOD))


def test_check_constraint_lets_a_rule_ask_too_much() -> None:
    check_constraint(Guest(replace(GOOD, terms=(), lower=1.0, upper=2.0, price=None)), sample_problems()[:1])
