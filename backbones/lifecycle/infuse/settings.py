"""``kaid_style``: what is chosen where the abstract of K-AID leaves it open."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from backbones.core.settings import Settings
from backbones.pat.side import Side
from backbones.training.loop import Recipe


class KaidStyle(Settings):
    """How relation pairs are infused, after Sun et al., "K-AID", CIKM 2021, arXiv 2109.10547.

    The abstract says: relational knowledge acquired at low cost, an infusion module, distillation to a small student.
    All that follows is our choice: pairs come from patterns over a user's corpus (``acquire``); the module is a side
    network that reads hidden layers of the frozen model, its output zero at the start (after K-Adapter); it learns to
    tell from the states of two mentions in a sentence, with the cue hidden, in which relation they stand, or that they
    stand in none; the direction of a sentence's mean state is held; the student is taught as in TinyBERT.

    Args:
        side: the side network.
        cue: ``"hide"``: the words by which a pair was found are masked; ``"show"``.
        negatives: probability that an example gets the tail of another pair of its relation, and stands in none.
        preserve: weight of 1 - cosine between the mean states of a sentence with and without the side network.
        window: most tokens of an example.
        held_out: share of the heads that are kept for the question whether anything was learned.
        recipe: how long and how fast.
    """

    side: Side = Side()
    cue: Literal["hide", "show"] = "hide"
    negatives: float = Field(default=0.3, ge=0, lt=1)
    preserve: float = Field(default=1.0, ge=0)
    window: int = Field(default=48, ge=8)
    held_out: float = Field(default=0.1, ge=0, lt=0.9)
    recipe: Recipe = Recipe(epochs=4, batch=32, lr=1e-3)
