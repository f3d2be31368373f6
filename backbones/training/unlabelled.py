"""Data without labels, from files: images that are read when they are asked for, sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backbones.core.errors import FrostlineError
from backbones.core.images import Pictures, find_images
from backbones.core.reading import passed_over
from backbones.core.seed import numpy_generator
from backbones.training.corpus import read_documents


class Images(Sequence[Any]):
    """Image files as uint8 arrays of shape (height, width, 3), RGB.

    Args:
        files: paths.
        said: remarks on how they were found.
        pictures: what has been found out of the files of the whole set; None: these files are all.
    """

    def __init__(self, files: Sequence[str], said: tuple[str, ...] = (), pictures: Pictures | None = None) -> None:
        self.files = list(files)
        self.notes = said
        self._pictures = pictures or Pictures(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Images(self.files[index], self.notes, self._pictures)
        return self._pictures.decode(self.files[index])


def read_images(paths: Sequence[Path]) -> Images:
    """Return the images in files and folders, folders with all that is below them, in the order of their names.

    Raises:
        FrostlineError: a path that does not exist, or no image in all of them.
    """
    found: list[str] = []
    others: list[str] = []
    for path in paths:
        if not path.exists():
            raise FrostlineError(f"{path} does not exist; pass images or folders of them.")
        images, passed = find_images(path) if path.is_dir() else ([str(path)], [])
        found += images
        others += passed
    said = passed_over(others, "are no images by their names")
    if not found:
        held = "".join(f" {note}." for note in said)
        raise FrostlineError(
            f"the corpus is empty: no image (.png, .jpg and other suffixes that Pillow reads) in "
            f"{', '.join(map(str, paths))}.{held}"
        )
    return Images(found, said)


def read_unlabelled(place: Path | str, modality: str, most: int, seed: int) -> Sequence[Any]:
    """Return at most ``most`` sentences of texts, or images, drawn by ``seed``, in their order.

    Args:
        place: a file or folder of text (see ``read_documents``), or images (see ``read_images``).
        modality: ``"text"`` or ``"image"``.
        most: how many to draw.
        seed: of the draw.

    Raises:
        FrostlineError: nothing there, or nothing readable.
    """
    place = Path(place)
    found: Sequence[Any]
    if modality == "text":
        found = [sentence for document in read_documents([place]) for sentence in document]
    else:
        found = read_images([place])
    order = numpy_generator(seed, "unlabelled").permutation(len(found))[:most]
    return [found[int(row)] for row in np.sort(order)]
