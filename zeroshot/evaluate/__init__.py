"""Evaluation: predicted roles against gold ones, with intervals over documents."""

from zeroshot.evaluate.measure import blind, compare, evaluate
from zeroshot.evaluate.report import Accuracy, Confusion, Difference, Evaluation, Mean, NamedReport, Report, Row, Score
from zeroshot.evaluate.rows import evaluate_rows

__all__ = [
    "Accuracy", "Confusion", "Difference", "Evaluation", "Mean", "NamedReport", "Report", "Row", "Score",
    "blind", "compare", "evaluate", "evaluate_rows",
]  # fmt: skip
