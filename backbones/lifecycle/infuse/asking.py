"""Was anything learned: relations of held-out heads, told by one classifier from frozen and infused states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.intervals import percentile_interval
from backbones.core.samples import Progress, silent
from backbones.core.seed import torch_generator
from backbones.encoder import answered
from backbones.lifecycle.infuse.examples import Examples
from backbones.lifecycle.infuse.settings import KaidStyle
from backbones.lifecycle.infuse.states import tapped
from backbones.lifecycle.infuse.training import Infused, mention_features
from backbones.training.tasks import fit_linear

CHUNK = 32  # examples a forward pass
L2 = 30.0  # penalty of the classifiers for the sum over their examples, the same for both


QUESTIONS = {
    "which": "in which relation two mentions stand, of those that stand in one",
    "whether": "whether two mentions stand in a relation, or one of them was exchanged for another pair's",
}


@dataclass(frozen=True)
class Answers:
    """What was said of examples of held-out heads; every array has shape (n,).

    Attributes:
        question: see ``QUESTIONS``.
        wanted: int64.
        frozen: of a linear classifier on the states that leave the frozen backbone.
        blocks: of the same classifier, fitted anew on the mean of the states of all frozen blocks.
        infused: of the same classifier, fitted anew on the states with the side network.
        own: of the classifier that was trained together with the side network.
        learned_from: examples that the first three were fitted on.
    """

    question: str
    wanted: NDArray[np.int64]
    frozen: NDArray[np.int64]
    blocks: NDArray[np.int64]
    infused: NDArray[np.int64]
    own: NDArray[np.int64]
    learned_from: int

    def accuracy(self, name: str) -> float:
        """Return the share of right answers, in [0, 1], of one of the classifiers or of the commonest answer."""
        if name == "commonest":
            return float(np.bincount(self.wanted).max() / len(self.wanted))
        found: NDArray[np.int64] = getattr(self, name)
        return float((found == self.wanted).mean())

    def gain(self, over: str = "frozen", draws: int = 2000, seed: int = 0) -> tuple[float, float, float]:
        """Return accuracy infused less that of another one, and the 95 % interval of a paired bootstrap of examples."""
        each = (self.infused == self.wanted).astype(float) - (getattr(self, over) == self.wanted)
        generator = torch_generator(seed, "bootstrap")
        rows = torch.randint(len(each), (draws, len(each)), generator=generator)
        means = torch.from_numpy(each)[rows].mean(dim=1)
        return float(each.mean()), *percentile_interval(means.numpy())


@dataclass(frozen=True)
class _Seen:
    """Features of mentions (frozen, of all blocks, infused), float32, and relations by number, int64, of n examples."""

    features: tuple[Tensor, Tensor, Tensor]
    labels: Tensor

    def only(self, rows: Tensor) -> _Seen:
        frozen, blocks, left = self.features
        return _Seen((frozen[rows], blocks[rows], left[rows]), self.labels[rows])


def ask(
    backbone: Backbone, infused: Infused, settings: KaidStyle, *, most: int | None = None, progress: Progress = silent
) -> list[Answers]:
    """Ask for the relations of held-out heads.

    Args:
        backbone: with the side network on it.
        infused: what ``infuse`` gave.
        settings: of the infusion.
        most: training pairs to fit the classifiers on, drawn by the seed; None for all, as a fair comparison needs: the
            side network has learned from all.
        progress: told of the examples.

    Returns:
        The answers to ``which`` and, where there are examples of both kinds, to ``whether``.

    Raises:
        FrostlineError: no head was held out.
    """
    if not infused.split.held_out:
        raise FrostlineError(
            f"held_out = {settings.held_out}: no head was held out, so there is nothing to ask; hold out a tenth, say."
        )
    pairs = infused.split.train
    chosen = torch.randperm(len(pairs), generator=torch_generator(settings.recipe.seed, "asked"))[:most].tolist()
    known = [*pairs, *infused.split.held_out]
    parts: list[_Seen] = []
    for phase, part in (("learning", [pairs[row] for row in sorted(chosen)]), ("asking", infused.split.held_out)):
        hide = settings.cue == "hide"
        examples = Examples(backbone, part, infused.labels, known=known, hide=hide, window=settings.window)
        parts.append(_seen(backbone, examples, settings, partial(progress, phase)))
    asked = parts[1]
    own = answered(infused.head, asked.features[-1])
    which = [_Seen(part.features, part.labels - 1).only(part.labels > 0) for part in parts]  # none is left out
    found = [_answers("which", which[0], which[1], own[asked.labels > 0, 1:].argmax(dim=1))]
    related = [_Seen(part.features, (part.labels > 0).long()) for part in parts]
    if all(0 < part.labels.sum() < len(part.labels) for part in related):
        found.append(_answers("whether", related[0], related[1], (own.argmax(dim=1) > 0).long()))
    return found


def _answers(question: str, learned: _Seen, asked: _Seen, own: Tensor) -> Answers:
    labels, classes = learned.labels.numpy(), int(max(learned.labels.max(), asked.labels.max())) + 1
    frozen, blocks, infused = (
        fit_linear(features, labels, classes, l2=L2)(questions).argmax(dim=1).numpy()
        for features, questions in zip(learned.features, asked.features, strict=True)
    )
    return Answers(question, asked.labels.numpy(), frozen, blocks, infused, own.numpy(), len(labels))


def _seen(backbone: Backbone, examples: Examples, settings: KaidStyle, progress: Callable[[int, int], None]) -> _Seen:
    """Return what is seen of every example and, where the training had negatives, of one with a shuffled tail."""
    generator = torch_generator(settings.recipe.seed, "asking")
    features: tuple[list[Tensor], ...] = ([], [], [])
    labels: list[Tensor] = []
    with tapped(backbone) as states, torch.no_grad():
        for start in range(0, len(examples), CHUNK):
            rows = list(range(start, min(start + CHUNK, len(examples))))
            for negatives in (0.0, 1.0) if settings.negatives else (0.0,):
                for batch in examples.batches(rows, generator, negatives):
                    keep = batch.labels == 0 if negatives else batch.labels > 0
                    for place, each in zip(features, states(batch.tokens.to(backbone.device)), strict=True):
                        place.append(mention_features(each, batch).cpu()[keep])
                    labels.append(batch.labels[keep])
            progress(rows[-1] + 1, len(examples))
    frozen, blocks, left = map(torch.cat, features)
    return _Seen((frozen, blocks, left), torch.cat(labels))
