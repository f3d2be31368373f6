"""A stream from outside: noisy images of one colour for each class."""

from __future__ import annotations

import numpy as np

from backbones.core.samples import Progress, silent
from backbones.core.seed import numpy_generator
from benchmarks.images import ArrayImages
from benchmarks.types import Dataset

NAMES = ("red", "green", "blue", "grey", "black", "white")
COLOURS_RGB = ((200, 40, 40), (40, 200, 40), (40, 40, 200), (128, 128, 128), (20, 20, 20), (235, 235, 235))


class Colours:
    """Six classes of 12 x 12 pixels, two at a time."""

    init_classes = 0
    increment = 2

    def load(self, *, data_root: str | None = None, download: bool = True, progress: Progress = silent) -> Dataset:
        """Return images that are the same at every call; nothing is read or downloaded."""
        return Dataset("guest-stream", NAMES, _images(8, "train"), _images(4, "test"))


def _images(per_class: int, split: str) -> ArrayImages:
    labels = np.repeat(np.arange(len(NAMES)), per_class)
    noise = numpy_generator(0, "guest", split).integers(-40, 40, (len(labels), 12, 12, 3))
    pixels = np.asarray(COLOURS_RGB)[labels][:, None, None] + noise
    return ArrayImages(pixels.clip(0, 255).astype(np.uint8), labels)


COLOURS = Colours()
