"""Miniature CIFAR archives as Python 2 wrote the real ones: protocol 2, byte strings, arrays of numpy.core."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np


def dump_like_python2(value: Any) -> bytes:
    """Write dictionaries, lists, str, int and two-dimensional uint8 arrays with the opcodes of the real archives."""
    return pickle.PROTO + b"\x02" + _opcodes(value) + pickle.STOP


def _opcodes(value: Any) -> bytes:
    if isinstance(value, dict):
        pairs = b"".join(_opcodes(key) + _opcodes(item) for key, item in value.items())
        return pickle.EMPTY_DICT + pickle.MARK + pairs + pickle.SETITEMS
    if isinstance(value, list):
        return pickle.EMPTY_LIST + pickle.MARK + b"".join(map(_opcodes, value)) + pickle.APPENDS
    if isinstance(value, str | bytes):
        raw = value.encode() if isinstance(value, str) else value
        short = len(raw) < 256
        return (pickle.SHORT_BINSTRING + bytes([len(raw)]) if short else pickle.BINSTRING + _int(len(raw))) + raw
    if isinstance(value, bool) or value is None:
        return {True: pickle.NEWTRUE, False: pickle.NEWFALSE, None: pickle.NONE}[value]
    if isinstance(value, int):
        return pickle.BININT + _int(value)
    if isinstance(value, tuple):
        return pickle.MARK + b"".join(map(_opcodes, value)) + pickle.TUPLE
    if isinstance(value, np.ndarray):
        return _array(value)
    raise TypeError(type(value))


def _array(value: np.ndarray) -> bytes:
    make = _call("numpy.core.multiarray", "_reconstruct", _global("numpy", "ndarray") + _opcodes((0,)) + _opcodes("b"))
    kind = _call("numpy", "dtype", _opcodes(value.dtype.str[1:]) + _opcodes(0) + _opcodes(1))
    kind += _opcodes((3, "|", None, None, None, -1, -1, 0)) + pickle.BUILD
    state = pickle.MARK + _opcodes(1) + _opcodes(value.shape) + kind + _opcodes(False) + _opcodes(value.tobytes())
    return make + state + pickle.TUPLE + pickle.BUILD


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _call(module: str, name: str, arguments: bytes) -> bytes:
    return _global(module, name) + pickle.MARK + arguments + pickle.TUPLE + pickle.REDUCE


def _int(value: int) -> bytes:
    return struct.pack("<i", value)


def content(classes: int, per_class: int, key: str, seed: int) -> dict[str, Any]:
    """Random images, ``per_class`` of each class, in the order 0, 1, ..., 0, 1, ..."""
    count = classes * per_class
    pixels = np.random.default_rng(seed).integers(0, 256, size=(count, 3072), dtype=np.uint8)
    labels = [row % classes for row in range(count)]
    names = [f"image_{row}.png" for row in range(count)]
    return {"filenames": names, "batch_label": "miniature", key: labels, "data": pixels}


def write_cifar100(root: Path, classes: int = 100) -> dict[str, dict[str, Any]]:
    """Write ``root/cifar-100-python`` with 2 training and 1 test image per class; return what each file holds."""
    files = {
        "train": content(classes, 2, "fine_labels", 1),
        "test": content(classes, 1, "fine_labels", 2),
        "meta": {"fine_label_names": [f"thing_{label:03d}" for label in range(classes)], "coarse_label_names": ["all"]},
    }
    return _write(root / "cifar-100-python", files)


def write_cifar10(root: Path) -> dict[str, dict[str, Any]]:
    """Write ``root/cifar-10-batches-py`` with one image per class in each file; return what each file holds."""
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    files = {name: content(10, 1, "labels", seed) for seed, name in enumerate(names)}
    files["batches.meta"] = {"label_names": [f"thing_{label}" for label in range(10)], "num_vis": 3072}
    return _write(root / "cifar-10-batches-py", files)


def _write(folder: Path, files: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    folder.mkdir(parents=True)
    for name, value in files.items():
        (folder / name).write_bytes(dump_like_python2(value))
    return files


def pack(folder: Path) -> bytes:
    """Return ``folder`` as the bytes of a .tar.gz archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        archive.add(folder, arcname=folder.name)
    return stream.getvalue()
