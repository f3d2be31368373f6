"""Data without labels, from files: images that are read when they are asked for, sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbones.core.errors import FrostlineError
from backbones.core.seed import numpy_generator
from backbones.training.corpus import read_documents

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


class Images(Sequence[Any]):
    """Image files as uint8 arrays of shape (height, width, 3), RGB."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Images(self.files[index])
        return _decode(self.files[index])


def read_images(paths: Sequence[Path]) -> Images:
    """Return the images in files and folders, folders with all that is below them, in the order of their names.

    Raises:
        FrostlineError: a path that does not exist, or no image in all of them.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise FrostlineError(f"{path} does not exist; pass images or folders of them.")
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [file for file in files if file.suffix.lower() in SUFFIXES]
    if not found:
        raise FrostlineError(
            f"the corpus is empty: no image ({', '.join(sorted(SUFFIXES))}) in {', '.join(map(str, paths))}."
        )
    return Images(found)


def read_unlabelled(place: Path, modality: str, most: int, seed: int) -> Sequence[Any]:
    """Return at most ``most`` sentences of texts, or images, drawn by ``seed``, in their order.

    Args:
        place: a file or folder of text (see ``read_documents``), or images (see ``read_images``).
        modality: ``"text"`` or ``"image"``.
        most: how many to draw.
        seed: of the draw.

    Raises:
        FrostlineError: nothing there, or nothing readable.
    """
    found: Sequence[Any]
    if modality == "text":
        found = [sentence for document in read_documents([place]) for sentence in document]
    else:
        found = read_images([place])
    order = numpy_generator(seed, "unlabelled").permutation(len(found))[:most]
    return [found[int(row)] for row in np.sort(order)]


def _decode(path: Path) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            return np.asarray(opened.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise FrostlineError(f"{path} is not a readable image ({error}); remove it or copy it again.") from None
