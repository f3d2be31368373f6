"""Images as samples: arrays in memory, or files that are decoded one by one when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from os import PathLike, fspath

import numpy as np
from numpy.typing import NDArray

from backbones.core.errors import FrostlineError
from backbones.core.images import DIGEST_BYTES, Pictures, decode_image

__all__ = ["DIGEST_BYTES", "ArrayImages", "FolderImages", "decode_image"]


class ArrayImages:
    """Images of one size in memory.

    Args:
        images: uint8, shape (n, height, width, 3), RGB. A writeable array is copied, so that what was digested cannot
            change behind the digest.
        labels: integers, shape (n,), indices into the class names.

    Raises:
        FrostlineError: another dtype or shape, or another number of labels.
    """

    modality = "image"

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64] | Sequence[int]) -> None:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise FrostlineError(
                f"images have dtype {images.dtype} and shape {images.shape}; they must be uint8 of shape "
                "(n, height, width, 3), RGB: scale to 0..255 and repeat a single channel three times."
            )
        frozen = images.copy() if images.flags.writeable else images
        frozen.flags.writeable = False
        self._images = frozen
        self._labels = _labels(labels, len(images))
        self._digests: NDArray[np.uint8] | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        """Classes: int64, shape (n,)."""
        return self._labels

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Image ``index``: read-only uint8, shape (height, width, 3)."""
        image: NDArray[np.uint8] = self._images[index]
        return image

    def digests(self) -> NDArray[np.uint8]:
        """BLAKE2b of shape and pixels: uint8, shape (n, 16); computed once."""
        if self._digests is None:
            shape = repr(self._images.shape[1:]).encode()
            self._digests = _table([_blake(shape, np.ascontiguousarray(image).data) for image in self._images])
        return self._digests


class FolderImages:
    """Image files, decoded when indexed; see ``decode_image`` for what becomes of grey, alpha and orientation.

    Args:
        paths: n image files.
        labels: integers, shape (n,), indices into the class names.
        pictures: what has been found out of the files of the whole data set; None: these files are all.
        said: remarks on how the files were found.

    Raises:
        FrostlineError: another number of labels; on indexing, an image that cannot be read, by name.
    """

    modality = "image"

    def __init__(
        self,
        paths: Sequence[str | PathLike[str]],
        labels: NDArray[np.int64] | Sequence[int],
        pictures: Pictures | None = None,
        said: tuple[str, ...] = (),
    ) -> None:
        self.paths = tuple(fspath(path) for path in paths)
        self.pictures = pictures or Pictures(self.paths)
        self._labels = _labels(labels, len(self.paths))
        self._said = said

    @property
    def labels(self) -> NDArray[np.int64]:
        """Classes: int64, shape (n,)."""
        return self._labels

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user must know: files that are not used, values that were scaled (of files looked into so far)."""
        return (*self._said, *self.pictures.notes())

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Image ``index``: uint8, shape (height, width, 3); sizes may differ from image to image."""
        return self.pictures.decode(self.paths[index])

    def digests(self) -> NDArray[np.uint8]:
        """BLAKE2b of each file's bytes (of deep values also of how they are scaled): uint8, shape (n, 16).

        A file is read again only if its time of change or its size did change, so a second call costs one ``stat``
        per file and a changed file never keeps its old digest.
        """
        return self.digests_of(np.arange(len(self)))

    def digests_of(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Digests of some rows: uint8, shape (len(rows), 16)."""
        return _table(self.pictures.digests([self.paths[int(row)] for row in rows]))


def _labels(labels: NDArray[np.int64] | Sequence[int], count: int) -> NDArray[np.int64]:
    array = np.asarray(labels, dtype=np.int64).copy()
    if array.shape != (count,):
        raise FrostlineError(f"{count} images came with labels of shape {array.shape}; give one label for each image.")
    array.flags.writeable = False
    return array


def _blake(*parts: bytes | memoryview) -> bytes:
    state = blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        state.update(part)
    return state.digest()


def _table(digests: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
