"""Zero-shot event arguments: roles scored by a frozen language model and decoded jointly under global constraints."""

from typing import TYPE_CHECKING

from backbones.core.lazy import lazy

_HOMES = {
    "CONSTRAINTS": "zeroshot.constraints",
    "Constraint": "zeroshot.constraints.base",
    "Decoding": "zeroshot.decoding",
    "Explanation": "zeroshot.explain",
    "PredictSettings": "zeroshot.predict",
    "Predictor": "zeroshot.predict",
    "Problem": "zeroshot.problem",
    "Request": "zeroshot.scorers.base",
    "Result": "zeroshot.result",
    "Row": "zeroshot.constraints.base",
    "SCORERS": "zeroshot.scorers",
    "Scorer": "zeroshot.scorers.base",
    "check_constraint": "zeroshot.testing",
    "check_scorer": "zeroshot.testing",
    "make_scorer": "zeroshot.scorers.make",
}

if TYPE_CHECKING:
    from zeroshot.constraints import CONSTRAINTS
    from zeroshot.constraints.base import Constraint, Row
    from zeroshot.decoding import Decoding
    from zeroshot.explain import Explanation
    from zeroshot.predict import Predictor, PredictSettings
    from zeroshot.problem import Problem
    from zeroshot.result import Result
    from zeroshot.scorers import SCORERS
    from zeroshot.scorers.base import Request, Scorer
    from zeroshot.scorers.make import make_scorer
    from zeroshot.testing import check_constraint, check_scorer
else:  # hidden from type checkers: a module with __getattr__ would have every attribute
    __getattr__, __dir__ = lazy(__name__, _HOMES)

__all__ = [
    "CONSTRAINTS", "SCORERS", "Constraint", "Decoding", "Explanation", "PredictSettings", "Predictor", "Problem",
    "Request", "Result", "Row", "Scorer", "check_constraint", "check_scorer", "make_scorer",
]  # fmt: skip
