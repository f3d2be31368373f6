"""Image files: which files are images, and what becomes of their pixels."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from os import PathLike, fspath
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from backbones.core.errors import FrostlineError
from backbones.core.reading import beyond, limits, open_regular, read_whole

DIGEST_BYTES = 16
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_COMMON = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000")
# What Pillow knows by name alone, or would start another program for.
_UNREAD = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, OverflowError, RuntimeError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
_BRIEF = 16  # of 255: what 12 bits leave where only the upper 8 of 16 are kept

Ceilings = Mapping[str, float]
"""Greatest value that deep grey files of a data set are taken to hold: ``"I"`` of integers, ``"F"`` of fractions."""


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return (*(name for name in _COMMON if name in Image.OPEN), *sorted(set(Image.OPEN) - {*_COMMON, *_UNREAD}))


@cache
def image_suffixes() -> frozenset[str]:
    """Return the suffixes of all files that Pillow decodes, in lower case: ``".png"`` and some sixty others."""
    known = {*_formats(), "MPO"}
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in known)


def find_images(folder: str | PathLike[str]) -> tuple[list[str], list[str]]:
    """Return the images in a folder and all folders below it, in torchvision's order, and the paths of other files.

    Links to folders are followed, each folder once. Hidden folders are passed over, and of hidden files (which some
    systems leave beside the real ones) only those with the suffix of an image are counted among the others.

    Raises:
        FrostlineError: a folder that cannot be listed.
    """
    images: list[str] = []
    others: list[str] = []
    waiting, met = [fspath(folder)], set()
    while waiting:
        place = waiting.pop()
        real = os.path.realpath(place)
        if real in met:
            continue
        met.add(real)
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    hidden = entry.name.startswith(".")
                    named = os.path.splitext(entry.name)[1].lower() in image_suffixes()  # noqa: PTH122 (60,000 names)
                    if entry.is_dir():
                        waiting += [] if hidden else [entry.path]
                    elif named and not hidden and entry.is_file():
                        images.append(entry.path)
                    elif named or not hidden:
                        others.append(entry.path)
        except OSError as error:
            raise FrostlineError(f"cannot list {place}: {error.strerror or error}. Make it readable.") from error
    return sorted(images, key=os.path.split), sorted(others, key=os.path.split)


@dataclass(frozen=True)
class _Seen:
    """What a look into a file tells: when it was written, its digest, whether its values are deep and how great."""

    stamp: tuple[int, int]
    digest: bytes
    kind: str
    peak: float
    frames: bool


class Pictures:
    """The image files of one data set, each looked into once.

    Grey values of more than 8 bits are scaled by what the whole data set holds, so that the files of a camera with 12
    bits are neither black nor, each by itself, of another brightness than its neighbours.

    Args:
        paths: all files of the data set.
        ceilings: greatest values that are taken as given; None: found in the files when the first deep one is met.
    """

    def __init__(self, paths: Sequence[str], ceilings: Ceilings | None = None) -> None:
        self.paths = tuple(paths)
        self._ceilings = None if ceilings is None else dict(ceilings)
        self._fixed = ceilings is not None
        self._seen: dict[str, _Seen] = {}

    def decode(self, path: str) -> NDArray[np.uint8]:
        """Read an image file as RGB, see ``decode_image``."""
        return decode_image(path, self.ceilings)

    def ceilings(self) -> dict[str, float]:
        """Return the greatest values that deep files are taken to hold; looks into all files."""
        if self._ceilings is None:
            peaks: dict[str, float] = {}
            for seen in map(self._look, self.paths):
                if seen.kind:
                    peaks[seen.kind] = max(peaks.get(seen.kind, 0.0), seen.peak)
            self._ceilings = {kind: _ceiling(kind, peak) for kind, peak in peaks.items()}
        return self._ceilings

    def digests(self, paths: Sequence[str]) -> list[bytes]:
        """Return the BLAKE2b of each file's bytes, for deep values also of how they are scaled.

        A file is read again only if its time of change or its size did change.

        Raises:
            FrostlineError: a file that cannot be read, by name.
        """
        looks = [self._look(path) for path in paths]  # all of them first: each may change how the others are scaled
        return [_blake(seen.digest, repr(self.ceilings()).encode()) if seen.kind else seen.digest for seen in looks]

    def notes(self) -> tuple[str, ...]:
        """Return what a user must know of the files that were looked into so far."""
        deep = Counter(seen.kind for seen in self._seen.values() if seen.kind)
        found = [
            f"{count} images have values of more than 8 bits; black to white is 0 to {self.ceilings()[kind]:,.10g}, by "
            "the greatest value in them"
            for kind, count in sorted(deep.items())
        ]
        frames = sum(seen.frames for seen in self._seen.values())
        return (*found, *([f"{frames} images have several frames or pages; the first is taken"] if frames else []))

    def _look(self, path: str) -> _Seen:
        try:
            status = os.stat(path)  # noqa: PTH116 (60,000 Path objects would cost more than the reading)
            stamp = (status.st_mtime_ns, status.st_size)
            held = self._seen.get(path)
            if held is None or held.stamp != stamp:
                content = read_whole(path)
                held = _Seen(stamp, _blake(content), *_inside(content, path))
                self._seen[path] = held
                if held.kind and not self._fixed:
                    self._ceilings = None
        except OSError as error:
            raise _unreadable(path, error) from error
        return held


def _inside(content: bytes, path: str) -> tuple[str, float, bool]:
    """Return (kind of deep values, the greatest, whether there are several frames) of a file's bytes."""
    if content.startswith((b"\xff\xd8", b"BM")):
        return "", 0.0, False
    if content.startswith(b"\x89PNG") and content[24:25] != b"\x10" and b"acTL" not in content[:1024]:
        return "", 0.0, False
    try:
        with _open(io.BytesIO(content)) as image:
            frames = bool(getattr(image, "is_animated", False))
            if not _is_deep(image):
                return "", 0.0, frames
            _check_size(image, path)
            values, kind = _deep(image, content)
            return kind, float(values.max()), frames
    except _DAMAGE:
        return "", 0.0, False  # said when it is decoded


def decode_image(
    path: str | PathLike[str], ceilings: Ceilings | Callable[[], Ceilings] | None = None
) -> NDArray[np.uint8]:
    """Read an image file as RGB.

    Grey, palette, one-bit and CMYK images are converted; values of more than 8 bits are scaled to 8; transparent pixels
    show white; an EXIF orientation is applied, so the array is upright; of an animation the first frame is taken.

    Args:
        path: the file.
        ceilings: greatest values of deep files, or what tells them when one is met; None: by the file's own greatest
            value (10, 12, 14 or 16 bits; fractions up to 1).

    Returns:
        uint8, shape (height, width, 3).

    Raises:
        FrostlineError: the file is missing, truncated, no image, too large (see ``backbones.core.reading.Limits``), or
            holds negative pixels; by name.
    """
    try:
        with open_regular(path) as stream, _open(stream) as image:
            _check_size(image, fspath(path))
            if not _is_deep(image):
                return np.array(_rgb(ImageOps.exif_transpose(image)))
            values, kind = _deep(image, None)
            given = ceilings() if callable(ceilings) else ceilings or {}
            most = given.get(kind) or _ceiling(kind, float(values.max()))
            scaled = Image.fromarray(np.rint(np.clip(values / most, 0, 1) * 255).astype(np.uint8))
            turned = image.getexif().get(_ORIENTATION)
            if turned:
                scaled.getexif()[_ORIENTATION] = turned
            return np.array(ImageOps.exif_transpose(scaled).convert("RGB"))
    except _DAMAGE as error:
        raise _unreadable(fspath(path), error) from error


_ORIENTATION = 0x0112


def _open(stream: BinaryIO) -> Image.Image:
    with warnings.catch_warnings():  # the limit is ours
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(stream, formats=_formats())


def _check_size(image: Image.Image, path: str) -> None:
    if image.width * image.height > limits().pixels:
        raise beyond(f"the image {path} is {image.width} x {image.height} pixels large", "pixels")


def _is_deep(image: Image.Image) -> bool:
    """Tell whether an image, of which nothing but the header was read, has values of more than 8 bits."""
    if image.format == "PPM" and image.mode == "I":
        return False  # the file states its greatest value, and Pillow scales by it
    return image.mode == "F" or image.mode.startswith("I") or _deep_colours(image)


def _deep_colours(image: Image.Image) -> bool:
    """Tell whether Pillow would keep the upper 8 of 16 bits of each colour."""
    tiles: Any = getattr(image, "tile", ())
    if image.format == "PNG" and tiles:
        return "16B" in str(tiles[0][3]) and image.mode in ("RGB", "RGBA", "LA")
    bits = image.tag_v2.get(258) if image.format == "TIFF" else None  # type: ignore[attr-defined]
    return isinstance(bits, tuple) and len(bits) > 2 and max(bits) > 8


def _deep(image: Image.Image, content: bytes | None) -> tuple[NDArray[np.float64], str]:
    """Return the values of a deep image, (height, width) or (height, width, 3), and whether they are fractions."""
    if _deep_colours(image):
        return _colours(image), "I"
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError("its pixels are negative or not numbers")
    return values, "F" if image.mode == "F" else "I"


def _colours(image: Image.Image) -> NDArray[np.float64]:
    if image.format == "PNG" and image.mode == "RGB":
        import torch
        from torchvision.io import decode_png

        stream: Any = cast(Any, image).fp
        stream.seek(0)
        whole = decode_png(torch.frombuffer(bytearray(stream.read()), dtype=torch.uint8))
        if whole.dtype == torch.uint16:
            found: NDArray[np.float64] = whole.permute(1, 2, 0).numpy().astype(np.float64)
            return found
    values = np.asarray(_rgb(image)).astype(np.float64)
    if values.max() < _BRIEF:
        raise ValueError("its colours of 16 bits use 12 or fewer, of which Pillow keeps next to nothing")
    return values * 257


def _ceiling(kind: str, peak: float) -> float:
    """Return the greatest value that files with such a peak are made for: of 8, 10, 12, 14, 16 ... bits, or 1."""
    if kind == "F" and peak <= 1.001:
        return 1.0
    bits = 8
    while peak > 2**bits - 1:
        bits += 2
    return float(2**bits - 1)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "I":  # a grey map that states its greatest value, scaled to 16 bits
        return Image.fromarray(((np.asarray(image).astype(np.int64) + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in _ALPHA or "transparency" in image.info:
        upper = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", upper.size, "white"), upper).convert("RGB")
    return image.convert("RGB")


def _unreadable(path: str, error: Exception) -> FrostlineError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        reason = "it is no image, or a damaged one"
    return FrostlineError(
        f"cannot read the image {path}: {reason}. Copy it again, save it as an 8-bit PNG or JPEG, or remove it."
    )


def _blake(*parts: bytes) -> bytes:
    state = blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        state.update(part)
    return state.digest()
