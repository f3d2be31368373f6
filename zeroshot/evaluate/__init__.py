"""Evaluation: predicted roles against gold ones, with intervals over documents."""

from zeroshot.evaluate.measure import blind, compare, evaluate
from zeroshot.evaluate.report import Accuracy, Confusion, Difference, Evaluation, Mean, NamedReport, Report, Row, Score

__all__ = [
    "Accuracy", "Confusion", "Difference", "Evaluation", "Mean", "NamedReport", "Report", "Row", "Score",
    "blind", "compare", "evaluate",
]  # fmt: skip
