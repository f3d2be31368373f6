"""What zero-shot prediction is compared with: chance, one role for all, greedy choices, and fewer rules."""

from zeroshot.baselines.ablation import Ablated, ablate, families
from zeroshot.baselines.release import release_roles
from zeroshot.baselines.simple import (
    Roles,
    allowed,
    first_roles,
    gold_roles,
    greedy_roles,
    majority_roles,
    majority_table,
    random_expected_accuracy,
    random_roles,
    with_roles,
)

__all__ = [
    "Ablated", "Roles", "ablate", "allowed", "families", "first_roles", "gold_roles", "greedy_roles", "majority_roles",
    "majority_table", "random_expected_accuracy", "random_roles", "release_roles", "with_roles",
]  # fmt: skip
