"""Class folders of small images as arrays, and the augmentation that the recipes share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from backbones.core.artifacts import digest_json, write_json
from backbones.core.errors import FrostlineError
from backbones.core.images import decode_image, find_images
from backbones.core.samples import Progress, silent


@dataclass(frozen=True)
class ImageSet:
    """Images and their classes.

    Attributes:
        images: uint8, shape (n, size, size, 3), RGB.
        labels: int64, shape (n,), index into ``classes``.
        classes: folder names in alphabetical order.
        digest: hex digest of the file names, sizes and times that it was read from.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    digest: str


def read_class_folders(
    root: Path, size: int, cache: Path | None = None, progress: Progress = silent, flag: str = "--data"
) -> ImageSet:
    """Read ``root/<class>/<image>``, resized to a square of ``size`` pixels where an image has another size.

    Args:
        root: the folder of one split.
        size: side in pixels.
        cache: folder for a decoded copy (``images.npy`` and a note of what it was decoded from), or None.
        progress: told of every thousand images.
        flag: the option that named the folder, for messages.

    Raises:
        FrostlineError: the folder is missing or empty, a class has no image, or an image cannot be read.
    """
    files, labels, classes = _list(root, flag)
    stats = [path.stat() for path in files]
    digest = digest_json(
        [size, [[str(p.relative_to(root)), s.st_size, s.st_mtime_ns] for p, s in zip(files, stats, strict=True)]]
    )
    note = None if cache is None else cache / f"images-{digest[:16]}.json"
    if note is not None and note.exists():
        images = np.load(note.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
        return ImageSet(images, labels, classes, digest)
    images = np.empty((len(files), size, size, 3), dtype=np.uint8)
    for index, path in enumerate(files):
        images[index] = _decode(path, size)
        if index % 1000 == 999 or index + 1 == len(files):
            progress("decode", index + 1, len(files))
    if note is not None:
        note.parent.mkdir(parents=True, exist_ok=True)
        np.save(note.with_suffix(".npy"), images, allow_pickle=False)
        write_json(note, {"digest": digest, "images": len(files)})
    return ImageSet(images, labels, classes, digest)


def _list(root: Path, flag: str) -> tuple[list[Path], NDArray[np.int64], tuple[str, ...]]:
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if not folders:
        raise FrostlineError(
            f"{root} holds no class folders; pass {flag} DIR where DIR has {root.name}/<class>/<image>.png."
        )
    files: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        found = [Path(path) for path in find_images(folder)[0]]
        if not found:
            raise FrostlineError(f"the class folder {folder} holds no image; remove it or unpack the data again.")
        files += found
        labels += [label] * len(found)
    return files, np.asarray(labels, dtype=np.int64), tuple(folder.name for folder in folders)


def _decode(path: Path, size: int) -> NDArray[np.uint8]:
    image = Image.fromarray(decode_image(path))
    return np.asarray(image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BICUBIC))


def to_unit(images: NDArray[np.uint8] | torch.Tensor, device: torch.device) -> torch.Tensor:
    """Turn uint8 (n, h, w, 3) into float32 (n, 3, h, w) in [-1, 1], the range of mean = std = 0.5."""
    batch = images if isinstance(images, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(images))
    return batch.to(device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def augment(images: torch.Tensor, shift: int, jitter: float, generator: torch.Generator) -> torch.Tensor:
    """Shift each image by up to ``shift`` pixels (edges repeated) and jitter its contrast, brightness and tint.

    Args:
        images: float, shape (n, 3, h, w), in [-1, 1].
        shift: largest shift in pixels along each axis.
        jitter: contrast factor in 1 +- jitter, brightness and each channel moved by up to jitter / 2.
        generator: CPU generator of the draws.

    Returns:
        A new tensor of the same shape.
    """
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (shift,) * 4, mode="replicate")
    offsets = torch.randint(0, 2 * shift + 1, (2, count), generator=generator).to(images.device)
    rows = (offsets[0, :, None] + torch.arange(height, device=images.device))[:, :, None]
    columns = (offsets[1, :, None] + torch.arange(width, device=images.device))[:, None, :]
    picked = torch.arange(count, device=images.device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[picked, rows, columns].permute(0, 3, 1, 2)
    draws = torch.rand(5, count, generator=generator).mul_(2).sub_(1).mul_(jitter).to(images.device)
    tint = (draws[1:2] + draws[2:5]).T[:, :, None, None] / 2
    return moved * (1 + draws[0][:, None, None, None]) + tint
