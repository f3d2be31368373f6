"""A small student of an infused teacher: TinyBERT's layers, with the side network's output in the last one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.core.seed import torch_generator
from backbones.lifecycle.distill.distil import Distilled, Plan, distil
from backbones.lifecycle.distill.losses import Terms
from backbones.lifecycle.distill.student import Shape
from backbones.lifecycle.infuse.examples import check_text
from backbones.training.loop import Recipe, Say, mute

SHORTEST, LONGEST = 20, 200  # characters of a sentence to distil on


def draw_sentences(documents: Sequence[Sequence[str]], count: int, seed: int) -> list[str]:
    """Return ``count`` different sentences of 20 to 200 characters (fewer where there are fewer), drawn by ``seed``.

    Raises:
        FrostlineError: there is none.
    """
    fitting = list(dict.fromkeys(s for document in documents for s in document if SHORTEST <= len(s) <= LONGEST))
    if not fitting:
        raise FrostlineError(
            f"no sentence of {SHORTEST} to {LONGEST} characters in {len(documents)} documents; pass running text."
        )
    order = torch.randperm(len(fitting), generator=torch_generator(seed, "sentences"))[:count].tolist()
    return [fitting[row] for row in sorted(order)]


def distil_infused(
    teacher: Backbone,
    sentences: Sequence[str],
    layers: int,
    recipe: Recipe,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
    say: Say = mute,
) -> Distilled:
    """Teach a student what a backbone with its deltas computes: embeddings, layers, scores of attention.

    States are compared as they are (no projection is thrown away after), so that the student's features are those of
    the teacher as far as it learns them.

    Args:
        teacher: with a side network on it, or without for a comparison.
        sentences: without labels.
        layers: of the student; a divisor of the teacher's.
        recipe: how long and how fast.
        folder: for checkpoints.
        progress: told of every step.
        say: told the estimate.

    Raises:
        FrostlineError: layers that do not divide, no sentences, or see ``distil``.
    """
    check_text(teacher)
    if not sentences:
        raise FrostlineError("the corpus is empty: there is nothing to distil on. Pass running text.")
    plan = Plan(terms=Terms(projection="identity"), general=recipe, tune=None, layers=None, answers=None)
    return distil(teacher, Shape(layers=layers), plan, corpus=sentences, folder=folder, progress=progress, say=say)
