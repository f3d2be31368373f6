"""Images as samples: arrays in memory, or files that are decoded one by one when they are asked for."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from hashlib import blake2b
from os import PathLike, fspath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from backbones.core.errors import FrostlineError
from backbones.core.reading import beyond, limits, open_regular

__all__ = ["DIGEST_BYTES", "ArrayImages", "FolderImages", "decode_image"]

DIGEST_BYTES = 16
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


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

    Raises:
        FrostlineError: another number of labels; on indexing, an image that cannot be read, by name.
    """

    modality = "image"

    def __init__(self, paths: Sequence[str | PathLike[str]], labels: NDArray[np.int64] | Sequence[int]) -> None:
        self.paths = tuple(fspath(path) for path in paths)
        self._labels = _labels(labels, len(self.paths))
        self._known: dict[int, tuple[int, int, bytes]] = {}

    @property
    def labels(self) -> NDArray[np.int64]:
        """Classes: int64, shape (n,)."""
        return self._labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Image ``index``: uint8, shape (height, width, 3); sizes may differ from image to image."""
        return decode_image(self.paths[index])

    def digests(self) -> NDArray[np.uint8]:
        """BLAKE2b of each file's bytes: uint8, shape (n, 16).

        A file is read again only if its time of change or its size did change, so a second call costs one ``stat``
        per file and a changed file never keeps its old digest.
        """
        return self.digests_of(np.arange(len(self)))

    def digests_of(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Digests of some rows: uint8, shape (len(rows), 16)."""
        return _table([self._digest(int(row)) for row in rows])

    def _digest(self, row: int) -> bytes:
        path = self.paths[row]
        try:
            status = os.stat(path)  # noqa: PTH116 (see below)
            held = self._known.get(row)
            if held is not None and held[:2] == (status.st_mtime_ns, status.st_size):
                return held[2]
            with open_regular(path) as stream:
                digest = _blake(stream.read())
        except OSError as error:
            raise _unreadable(path, error) from error
        self._known[row] = (status.st_mtime_ns, status.st_size, digest)
        return digest


def decode_image(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Read an image file as RGB.

    Grey, palette, one-bit and CMYK images are converted; 16-bit grey is scaled to 8 bits; transparent pixels show
    white; an EXIF orientation is applied, so the array is upright; of an animation the first frame is taken.

    Returns:
        uint8, shape (height, width, 3).

    Raises:
        FrostlineError: the file is missing, truncated, no image, or holds pixels without a fixed range; by name.
    """
    try:
        with open_regular(path) as stream, Image.open(stream) as image:
            if image.width * image.height > limits().pixels:
                raise beyond(f"the image {fspath(path)} is {image.width} x {image.height} pixels large", "pixels")
            return np.array(_rgb(ImageOps.exif_transpose(image)))
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise _unreadable(fspath(path), error) from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_sixteen_bits(image).convert("RGB")
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers without a range")
    if image.mode in _ALPHA or "transparency" in image.info:
        upper = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", upper.size, "white"), upper).convert("RGB")
    return image.convert("RGB")


def _from_sixteen_bits(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255; Pillow's own conversion would clip everything above 255 to white."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError("its grey values do not fit into 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _unreadable(path: str, error: Exception) -> FrostlineError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return FrostlineError(
        f"cannot read the image {path}: {reason}. Copy it again, save it as an 8-bit PNG or JPEG, or remove it."
    )


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
