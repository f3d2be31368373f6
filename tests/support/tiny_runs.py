"""A tiny image set and a tiny backbone on disk, for whole runs in a second."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_image_folders(root: Path, classes: int = 4, train: int = 6, test: int = 3, side: int = 16) -> Path:
    """Write class folders whose classes differ in colour, with so much noise that no head is always right."""
    generator = np.random.default_rng(7)
    colours = generator.integers(40, 216, (classes, 3))
    for split, count in (("train", train), ("test", test)):
        for label in range(classes):
            folder = root / split / f"class_{label:03d}"
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = colours[label] + generator.integers(-60, 60, 3) + generator.integers(-60, 60, (side, side, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return root


def write_tiny_backbone(folder: Path) -> Path:
    """Save a random transformers ViT of 24 dimensions with config.json and model.safetensors."""
    from backbones.testing import tiny_transformers_vit

    tiny_transformers_vit().module.save_pretrained(folder)
    return folder
