"""Zero-shot event arguments: roles scored by a frozen language model and decoded jointly under global constraints."""

from zeroshot.constraints import CONSTRAINTS
from zeroshot.scorers import SCORERS

__all__ = ["CONSTRAINTS", "SCORERS"]
