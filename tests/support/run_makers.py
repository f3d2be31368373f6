"""Runs of pre-training in miniature, and a way to stop one."""

from __future__ import annotations

from types import SimpleNamespace

from pretrain_makers import coloured_task, write_corpus

from backbones.lifecycle.pretrain import (
    Augmentation,
    ImagePlan,
    Stops,
    TextPlan,
    pretrain_images,
    pretrain_text,
)  # fmt: skip
from backbones.training.loop import Recipe

TEXT = TextPlan(depth=2, width=16, heads=2, vocabulary=130, length=32, dropout=0.1, held=0.2)


IMAGES = ImagePlan(depth=2, width=16, heads=2, image_size=16, patch=4, augmentation=Augmentation(mixup=0.2))


RECIPE = Recipe(steps=8, batch=8, micro=4, lr=2e-3)


class Stopped(Exception):  # noqa: N818 (no error: the way out of a run)
    """Stands for a kill in the middle of a run."""


def stop_at(step):
    def progress(phase, done, total):
        if phase == "pre-training" and done == step:
            raise Stopped

    return progress


def run_of_text(folder):
    """Pre-train a text encoder in miniature."""
    file = write_corpus(folder / "corpus.txt")
    said: list[str] = []
    found = pretrain_text([file], folder / "run", TEXT, RECIPE, stops=Stops(checkpoints=3), say=said.append)
    return SimpleNamespace(file=file, found=found, said=said)


def run_of_images(folder):
    """Pre-train a vision transformer in miniature."""
    return pretrain_images(coloured_task(), folder / "run", IMAGES, RECIPE, stops=Stops(checkpoint_at=(16, 54)))
