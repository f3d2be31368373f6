"""Retraining between rounds of pruning, towards the dense features (no labels needed) or on labelled data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled
from backbones.core.samples import Progress, silent
from backbones.encoder import Encoder
from backbones.lifecycle.compress.prune import Masks, held, prune_more, schedule
from backbones.training.loop import Recipe, Say, mute, train
from backbones.training.tasks import finetune, grouped_features

BLOCK = 64  # samples between two reports
Way = Literal["features", "labels", "none"]


@dataclass
class Retrainer:
    """Recovers what a round of pruning cost.

    Attributes:
        way: ``features``: mean squared error to the features of the dense backbone; ``labels``: cross-entropy of a
            linear head, which is kept from round to round; ``none``.
        recipe: of one round.
        samples: raw inputs, for features.
        targets: features of the dense backbone, float32, shape (n, width), for features.
        labelled: for labels.
        head: what ``labels`` has trained so far.
    """

    way: Way
    recipe: Recipe
    samples: Sequence[Any] = ()
    targets: Tensor | None = None
    labelled: Labelled | None = None
    head: nn.Linear | None = None

    @classmethod
    def towards(cls, dense: Backbone, samples: Sequence[Any], recipe: Recipe, progress: Progress = silent) -> Retrainer:
        """Return one that learns the features of a dense backbone on samples without labels."""
        if not len(samples):
            raise no_data("features")
        encoder = Encoder(dense, precision="fp32")
        parts = []
        for start in range(0, len(samples), BLOCK):
            stop = min(start + BLOCK, len(samples))
            parts.append(encoder.features([samples[row] for row in range(start, stop)]))
            progress("features to learn", stop, len(samples))
        return cls("features", recipe, samples, torch.cat(parts))

    def __post_init__(self) -> None:
        if self.way == "features" and (not len(self.samples) or self.targets is None):
            raise no_data("features")
        if self.way == "labels" and self.labelled is None:
            raise no_data("labels")

    def round(self, backbone: Backbone, masks: Masks, phase: str, progress: Progress, say: Say) -> None:
        """Retrain all weights of a backbone in place; what is pruned stays zero."""
        if self.way == "none":
            return
        with held(backbone, masks):
            if self.way == "labels":
                assert self.labelled is not None
                tuned = finetune(
                    backbone, self.labelled, self.recipe, full=True, head=self.head, progress=progress, say=say,
                    phase=phase,
                )  # fmt: skip
                self.head = tuned.head
            else:
                params = dict(backbone.module.named_parameters())
                self.learn_features(backbone, params, self.recipe, phase, progress, say)

    def learn_features(
        self,
        backbone: Backbone,
        params: Mapping[str, nn.Parameter],
        recipe: Recipe,
        phase: str,
        progress: Progress = silent,
        say: Say = mute,
    ) -> None:
        """Train some weights of a backbone in place towards the features of the dense one."""
        targets = self.targets
        assert targets is not None
        scale = targets.var(dim=0).mean().clamp_min(torch.finfo(targets.dtype).tiny)

        def loss(rows: list[int], _generator: torch.Generator) -> Tensor:
            found = grouped_features(backbone, [self.samples[row] for row in rows]).float()
            return (found - targets[rows].to(found.device)).square().mean() / scale

        train(params, loss, len(self.samples), recipe, progress=progress, say=say, phase=phase)


def prune_iteratively(
    backbone: Backbone,
    layers: Sequence[str],
    sparsity: float,
    rounds: int,
    retrainer: Retrainer,
    *,
    masks: Masks | None = None,
    progress: Progress = silent,
    say: Say = mute,
) -> Masks:
    """Prune and retrain in turns until ``sparsity`` of the weights of ``layers`` are zero; returns what is left.

    Args:
        backbone: changed in place.
        layers: paths of linear layers.
        sparsity: share in [0, 1).
        rounds: of pruning, each followed by retraining.
        retrainer: how.
        masks: to go on from; they must come from a lower sparsity.
        progress: told of the steps.
        say: told the estimates.

    Raises:
        FrostlineError: see ``schedule``, ``prune_more`` and ``train``.
    """
    found: Masks = dict(masks or {})
    for share in schedule(sparsity, rounds, min(sparsity, _sparsity(found))):
        found = prune_more(backbone, layers, share, found)
        retrainer.round(backbone, found, f"sparsity {share:.3g}: retraining", progress, say)
    return found


def _sparsity(masks: Masks) -> float:
    total = sum(mask.numel() for mask in masks.values())
    return sum(int((~mask).sum()) for mask in masks.values()) / total if total else 0.0


def no_data(way: str) -> FrostlineError:
    """Make the error of retraining without data."""
    needed = {"features": "raw inputs without labels", "labels": "labelled data"}[way]
    return FrostlineError(
        f"retraining by {way} needs {needed}, and there are none; pass data (--data-root or --benchmark), or prune "
        "without retraining (--retrain none)."
    )
