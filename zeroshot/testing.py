"""Public contracts of the zero-shot side: what a guest's scorer or constraint must keep, in one call."""

from zeroshot.testing_constraint import check_constraint, sample_problems
from zeroshot.testing_scorer import check_scorer, sample_requests

__all__ = ["check_constraint", "check_scorer", "sample_problems", "sample_requests"]
