"""A lesson and a student in miniature, for the tests of distillation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer

from backbones.core.seed import numpy_generator, torch_generator
from backbones.recipes.images import to_unit
from backbones.recipes.readers import Lesson
from backbones.recipes.student import build_student

CPU = torch.device("cpu")


def class_folders(root: Path, classes: int, per_class: int, seed: int = 0) -> Path:
    """Write images whose colour tells their class."""
    draws = numpy_generator(seed, "folders")
    for label in range(classes):
        folder = root / f"n{label:02d}"
        folder.mkdir(parents=True)
        base = draws.integers(40, 216, 3)
        for index in range(per_class):
            noise = draws.integers(-30, 31, (32, 32, 3))
            Image.fromarray((base + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{index}.png")
    return root.parent


def tiny_lesson(rows: int = 16) -> Lesson:
    draws = numpy_generator(5, "lesson")
    scores = np.full((rows, 3), 1 / 3, dtype=np.float32)
    targets = draws.normal(size=(rows, 17, 24)).astype(np.float16)
    images = draws.integers(0, 256, (rows, 16, 16, 3), dtype=np.uint8)
    return Lesson(images, np.arange(rows) % 3, targets, scores)


TINY = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 1, "num_heads": 2, "num_classes": 0}


def tiny_student(lesson: Lesson) -> VisionTransformer:
    return build_student(TINY, to_unit(lesson.images, CPU), torch_generator(0, "student"))
