"""Data without labels, from files: what an owner distils an emulator on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backbones.core.errors import FrostlineError
from backbones.core.seed import numpy_generator
from backbones.training.corpus import read_documents


def read_unlabelled(place: Path, modality: str, most: int, seed: int) -> Sequence[Any]:
    """Return at most ``most`` sentences of texts, or images as uint8 arrays (height, width, 3), drawn by ``seed``.

    Args:
        place: a file or folder of text (see ``read_documents``), or a folder of images at any depth.
        modality: ``"text"`` or ``"image"``.
        most: how many to draw.
        seed: of the draw.

    Raises:
        FrostlineError: nothing there, or nothing readable.
    """
    if modality == "text":
        found: list[Any] = [sentence for document in read_documents([place]) for sentence in document]
        return [found[row] for row in _drawn(len(found), most, seed)]
    from timm.data.readers.img_extensions import get_img_extensions

    endings = set(get_img_extensions())
    files = sorted(path for path in place.rglob("*") if path.suffix.lower() in endings) if place.is_dir() else []
    if not files:
        raise FrostlineError(f"{place} is no folder with images ({', '.join(sorted(endings)[:4])} ...).")
    return [_image(files[row]) for row in _drawn(len(files), most, seed)]


def _drawn(count: int, most: int, seed: int) -> list[int]:
    order = numpy_generator(seed, "unlabelled").permutation(count)[:most]
    return [int(row) for row in np.sort(order)]


def _image(path: Path) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise FrostlineError(f"{path} cannot be read as an image ({error}); remove it or save it again.") from error
