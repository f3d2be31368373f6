"""Made-up inputs to run an export on where no data are at hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from backbones.base import Backbone
from backbones.core.seed import numpy_generator

TEXTS = ("where is my card", "book a flight to rome for tomorrow", "no", "what is the weather like in the north today")


def made_up(backbone: Backbone, count: int) -> list[Any]:
    """Return ``count`` inputs that the backbone takes: noise as images, short questions as texts."""
    if backbone.modality == "text":
        return [TEXTS[number % len(TEXTS)] for number in range(count)]
    generator = numpy_generator(0, "export")
    return list(generator.integers(0, 256, (count, 64, 64, 3), dtype=np.uint8))
