"""CIFAR-10 and CIFAR-100 in the layout of their archives, read without running anything that is in them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbones.core.errors import FrostlineError
from backbones.core.pickles import check_pickle
from backbones.core.reading import open_regular
from backbones.core.samples import Progress, silent
from benchmarks.images import ArrayImages
from benchmarks.types import Dataset

__all__ = ["CIFAR10", "CIFAR100", "CifarLayout", "read_cifar", "read_pickled_data"]

_SIDE = 32


@dataclass(frozen=True)
class CifarLayout:
    """Where an archive keeps what (Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009).

    Attributes:
        folder: folder inside the archive.
        train: files of training images.
        test: files of test images.
        meta: file of class names.
        names: key of the class names.
        labels: key of the labels.
        url: the authors' download.
        checksum: published MD5 of the archive.
    """

    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    names: str
    labels: str
    url: str
    checksum: str

    @property
    def archive(self) -> str:
        """File name of the archive."""
        return self.url.rpartition("/")[2]

    @property
    def files(self) -> tuple[str, ...]:
        """All files that are read."""
        return (*self.train, *self.test, self.meta)

    def find(self, root: Path) -> Path | None:
        """Return ``root/<folder>`` if there is one, ``root`` itself if it holds files of images, else None."""
        if (root / self.folder).is_dir():
            return root / self.folder
        return root if any((root / name).is_file() for name in (*self.train, *self.test)) else None


CIFAR100 = CifarLayout(
    folder="cifar-100-python",
    train=("train",),
    test=("test",),
    meta="meta",
    names="fine_label_names",
    labels="fine_labels",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    checksum="md5:eb9058c3a382ffc7106e4002c42a8d85",
)
CIFAR10 = CifarLayout(
    folder="cifar-10-batches-py",
    train=("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"),
    test=("test_batch",),
    meta="batches.meta",
    names="label_names",
    labels="labels",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    checksum="md5:c58f30108f718f92721af3b95e74349a",
)


def read_cifar(folder: Path | str, layout: CifarLayout, name: str, progress: Progress = silent) -> Dataset:
    """Read the files of an archive that lie in ``folder``.

    Args:
        folder: what ``layout.find`` returned.
        layout: CIFAR10 or CIFAR100.
        name: name of the data set.
        progress: told of every file read.

    Raises:
        FrostlineError: a file that is missing, cut short, of another content than CIFAR's, or that asks for code.
    """
    folder = Path(folder)
    missing = [file for file in layout.files if not (folder / file).is_file()]
    if missing:
        raise FrostlineError(
            f"{folder} has no file {missing[0]}; the layout has {', '.join(layout.files)}. The archive "
            f"{layout.archive} was unpacked in part: unpack it again."
        )
    read: dict[str, Mapping[str, Any]] = {}
    for done, file in enumerate(layout.files, start=1):
        read[file] = read_pickled_data(folder / file)
        progress(f"read {name}", done, len(layout.files))
    names = read[layout.meta].get(layout.names)
    if not isinstance(names, list) or not names:
        raise _not_cifar(folder / layout.meta, f"it has no list {layout.names!r}")
    try:
        class_names = tuple(_text(item) for item in names)
    except TypeError as error:
        raise _not_cifar(folder / layout.meta, str(error)) from error
    train, test = (
        _images([_part(folder / file, read[file], layout.labels, len(names)) for file in files])
        for files in (layout.train, layout.test)
    )
    return Dataset(name, class_names, train, test)


def _images(parts: list[tuple[NDArray[np.uint8], NDArray[np.int64]]]) -> ArrayImages:
    planes = np.concatenate([rows for rows, _ in parts]).reshape(-1, 3, _SIDE, _SIDE)
    images = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    images.flags.writeable = False
    return ArrayImages(images, np.concatenate([labels for _, labels in parts]))


def _part(
    path: Path, content: Mapping[str, Any], key: str, classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    rows, labels = content.get("data"), content.get(key)
    width = 3 * _SIDE * _SIDE
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != width or not len(rows):
        raise _not_cifar(path, f"it has no 'data' of {width} bytes for each image")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels) or len(labels) != len(rows):
        raise _not_cifar(path, f"it has no list {key!r} with one number for each of its {len(rows)} images")
    array = np.asarray(labels, dtype=np.int64)
    if array.min() < 0 or array.max() >= classes:
        raise _not_cifar(path, f"its labels run from {array.min()} to {array.max()} but it has {classes} class names")
    return rows, array


def read_pickled_data(path: Path | str) -> dict[str, Any]:
    """Read one file of a CIFAR archive: a dictionary of strings, numbers, lists and uint8 arrays, written as a pickle.

    Nothing of the file is trusted: the words by which a pickle calls code are looked up in a table of five, each of
    which stands for a harmless function of this module, and any other word ends the reading. Neither numpy nor any
    other module is reached through the file.

    Raises:
        FrostlineError: the file is cut short, holds something else, or asks for anything outside the table.
    """
    path = Path(path)
    try:
        with open_regular(path) as stream:
            check_pickle(stream, path.stat().st_size)
            stream.seek(0)
            # A subclass that admits no foreign name is the standard library's documented way to make a pickle inert
            # ("Restricting Globals"), which is why this one load is allowed where pickle is otherwise banned.
            content = _InertUnpickler(stream, encoding="bytes").load()
        if not isinstance(content, dict):
            raise TypeError(f"it holds a {type(content).__name__}, not a dictionary")
        return {_text(key): _plain(value) for key, value in content.items()}
    except _RefusedError as error:
        raise FrostlineError(
            f"{path} asks to call {error}, which no CIFAR file does: it may be an attack. Nothing of it was run; "
            "delete it and fetch the archive from its authors."
        ) from None
    except OSError as error:
        raise FrostlineError(f"cannot read {path}: {error.strerror or error}. Copy it again.") from error
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise _not_cifar(path, str(error) or "it is cut short") from error
    except (MemoryError, OverflowError, RecursionError) as error:
        raise _not_cifar(path, "it claims a size that no CIFAR file has") from error


class _RefusedError(Exception):
    """A pickle named something outside the table."""


class _Array:
    """Takes the place of a numpy array while a file is read; ``value`` is a real one made from its bytes."""

    value: NDArray[np.uint8] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _Bytes) or fortran or not isinstance(raw, bytes):
            raise ValueError("it holds an array that is not made of plain bytes")
        self.value = np.frombuffer(raw, dtype=np.uint8).reshape(shape)


class _Bytes:
    """Takes the place of the element type uint8."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Byte order and alignment, which single bytes do not have."""


def _make_array(*_: object) -> _Array:
    return _Array()


def _make_type(code: object, *_: object) -> _Bytes:
    if code not in (b"u1", "u1"):
        shown = f"{code!r:.40}" if isinstance(code, (str, bytes)) else f"a {type(code).__name__}"
        raise ValueError(f"it holds an array of {shown}, not of uint8")
    return _Bytes()


def _encode(text: str, encoding: object = "latin1") -> bytes:
    """Python 3 writes bytes through ``_codecs.encode`` in the old protocol that CIFAR uses."""
    return text.encode("latin1")


_TABLE = {
    ("numpy.core.multiarray", "_reconstruct"): _make_array,
    ("numpy._core.multiarray", "_reconstruct"): _make_array,
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _make_type,
    ("_codecs", "encode"): _encode,
}


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _TABLE:
            raise _RefusedError(f"{module}.{name}")
        return _TABLE[module, name]


def _plain(value: object) -> object:
    if isinstance(value, _Array):
        return value.value
    return [_text(item) if isinstance(item, bytes) else item for item in value] if isinstance(value, list) else value


def _text(value: object) -> str:
    if not isinstance(value, (str, bytes)):  # a list that holds another twice, and so on, has no end in words
        raise TypeError(f"it has a {type(value).__name__} where a name belongs")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _not_cifar(path: Path, reason: str) -> FrostlineError:
    return FrostlineError(
        f"{path} is not a whole file of the CIFAR archive: {reason}. It may be half-copied: unpack the archive again."
    )
