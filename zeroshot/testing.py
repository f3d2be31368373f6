"""Public contracts of the zero-shot side: what a guest's scorer or constraint must keep, in one call."""

from zeroshot.testing_scorer import check_scorer, sample_requests

__all__ = ["check_scorer", "sample_requests"]
