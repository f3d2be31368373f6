"""Named benchmarks: where the data comes from and the protocol that the field uses for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from benchmarks import download as transfer
from benchmarks.cifar import CIFAR10, CIFAR100, CifarLayout, read_cifar
from benchmarks.folders import LAYOUT, existing_folder, read_folders
from benchmarks.images import ArrayImages
from benchmarks.types import Dataset

__all__ = ["CifarBenchmark", "DigitsBenchmark", "FolderBenchmark"]

# What a run takes if it names no backbone: natural images deserve a pre-trained one, small enough for a CPU.
_NATURAL = "timm:vit_tiny_patch16_224"
_BUNDLED = "bundled:vit-micro"
_DIGITS_SEED = 1993
_DIGITS_TEST_SHARE = 0.25


@dataclass(frozen=True)
class FolderBenchmark:
    """An image set in class folders that the user brings.

    Attributes:
        name: registered name.
        init_classes: classes of the first experience (0 = as ``increment``).
        increment: classes of later experiences; None = a tenth of all.
        classes: how many the set has; None = any number.
        source: where the set comes from, in words.
        backbone: what a run takes if it names none.
    """

    name: str
    init_classes: int
    increment: int | None
    classes: int | None
    source: str
    backbone: str = _NATURAL

    def load(self, *, data_root: str | None = None, download: bool = True, progress: Progress = silent) -> Dataset:
        """List the images under ``data_root`` (see ``folders.read_folders``); there is nothing to download.

        Raises:
            FrostlineError: no ``data_root``, a wrong layout, another number of classes.
        """
        if data_root is None:
            count = f" ({self.classes} classes)" if self.classes else ""
            raise FrostlineError(f"{self.name} needs --data-root DIR with {LAYOUT}{count}. {self.source}")
        return _counted(read_folders(data_root, self.name, progress), self.classes, data_root)


@dataclass(frozen=True)
class CifarBenchmark:
    """CIFAR-10 or CIFAR-100, from the authors' archive or from class folders.

    Attributes:
        name: registered name.
        init_classes: classes of the first experience (0 = as ``increment``).
        increment: classes of later experiences.
        classes: how many the set has.
        layout: where the archive keeps what.
        backbone: what a run takes if it names none.
    """

    name: str
    init_classes: int
    increment: int
    classes: int
    layout: CifarLayout
    backbone: str = _NATURAL

    def load(self, *, data_root: str | None = None, download: bool = True, progress: Progress = silent) -> Dataset:
        """Read the data from ``data_root`` or the cache, downloading the archive where that is allowed.

        Args:
            data_root: folder with the unpacked archive (torchvision's layout), the archive itself, or class folders.
            download: whether a missing archive may be fetched (162 or 163 MiB) into ``download.cache_folder()``.
            progress: told of the download, the unpacking and the reading.

        Raises:
            FrostlineError: missing, half-copied or half-downloaded data; another number of classes; no network.
        """
        if data_root is None:
            folder = self._cached(download, progress)
            return _counted(read_cifar(folder, self.layout, self.name, progress), self.classes, folder)
        root = existing_folder(data_root)
        found = self.layout.find(root)
        if found is None and (root / self.layout.archive).is_file():
            found = self._unpacked(root / self.layout.archive, progress)
        if found is not None:
            return _counted(read_cifar(found, self.layout, self.name, progress), self.classes, root)
        if not (root / "train").is_dir():
            raise FrostlineError(
                f"{root} holds neither {self.layout.folder}/{{{','.join(self.layout.files)}}} nor {LAYOUT}. Pass the "
                f"folder in which {self.layout.archive} was unpacked, or leave --data-root out to download it."
            )
        return _counted(read_folders(root, self.name, progress), self.classes, root)

    def _cached(self, download: bool, progress: Progress) -> Path:
        cache = transfer.cache_folder() / "data"
        if (cache / self.layout.folder).is_dir():
            return cache / self.layout.folder
        instead = (
            f"Without a network pass --data-root DIR with DIR/{self.layout.folder} (unpacked from "
            f"{self.layout.archive}) or with {LAYOUT}; FROSTLINE_MIRROR names another host to download from."
        )
        if not download:
            raise FrostlineError(f"{self.name} is not in the cache {cache} and downloads are off. {instead}")
        archive = transfer.fetch(
            self.layout.url,
            cache / self.layout.archive,
            checksum=self.layout.checksum,
            instead=instead,
            progress=progress,
        )
        folder = transfer.unpack(archive, self.layout.folder, cache, progress)
        archive.unlink(missing_ok=True)
        return folder

    def _unpacked(self, archive: Path, progress: Progress) -> Path:
        """Unpack an archive that the user has into the cache: a data root is never written to."""
        cache = transfer.cache_folder() / "data"
        if not transfer.checksum_matches(archive, self.layout.checksum, f"check {archive.name}", progress):
            raise FrostlineError(
                f"{archive} has {archive.stat().st_size} bytes whose checksum is not {self.layout.checksum}: it is "
                "half-downloaded or another version. Delete it and download it again."
            )
        if (cache / self.layout.folder).is_dir():
            return cache / self.layout.folder
        return transfer.unpack(archive, self.layout.folder, cache, progress)


@dataclass(frozen=True)
class DigitsBenchmark:
    """The 1,797 handwritten digits that come with scikit-learn.

    Attributes:
        name: registered name.
        init_classes: classes of the first experience (0 = as ``increment``).
        increment: classes of later experiences.
    """

    name: str
    init_classes: int
    increment: int

    def load(self, *, data_root: str | None = None, download: bool = True, progress: Progress = silent) -> Dataset:
        """Return 8x8 images, grey 0..16 scaled to 0..255 and repeated for RGB.

        The split is fixed: of every class a quarter of the images, drawn by a generator of seed 1993, is the test set.

        Raises:
            FrostlineError: a ``data_root``, which would be of no use.
        """
        if data_root is not None:
            raise FrostlineError(
                f"{self.name} comes with scikit-learn and reads no --data-root (got {data_root!r}); leave it out, or "
                "use --benchmark folder for your own images."
            )
        from sklearn.datasets import load_digits

        digits = load_digits()
        grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        images = np.repeat(grey[..., None], 3, axis=-1)
        labels = digits.target.astype(np.int64)
        test = _stratified(labels)
        train = np.setdiff1d(np.arange(len(labels)), test)
        names = tuple(str(name) for name in digits.target_names)
        return Dataset(
            self.name, names, ArrayImages(images[train], labels[train]), ArrayImages(images[test], labels[test])
        )


def _stratified(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    from backbones.core.seed import numpy_generator

    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = round(len(rows) * _DIGITS_TEST_SHARE)
        chosen.append(numpy_generator(_DIGITS_SEED, "digits", int(label)).permutation(rows)[:count])
    return np.sort(np.concatenate(chosen))


def _counted(dataset: Dataset, classes: int | None, where: str | Path) -> Dataset:
    found = len(dataset.class_names)
    if classes is not None and found != classes:
        raise FrostlineError(
            f"{where} has {found} classes but {dataset.name} has {classes}; its figures would not be comparable with "
            "anyone's. Complete the data, or use --benchmark folder, which takes any number."
        )
    return dataset


FOLDER = FolderBenchmark("folder", 0, None, None, "Any images will do: one folder per class.", _BUNDLED)
SPLIT_CIFAR10 = CifarBenchmark("split-cifar10", 0, 2, 10, CIFAR10)
SPLIT_CIFAR100 = CifarBenchmark("split-cifar100", 0, 10, 100, CIFAR100)
SPLIT_DIGITS = DigitsBenchmark("split-digits", 0, 2)
SPLIT_CUB200 = FolderBenchmark(
    "split-cub200",
    0,
    10,
    200,
    "The birds are Caltech-UCSD Birds-200-2011 (Wah et al.); class-incremental papers share a copy divided into train "
    "and test folders.",
)
SPLIT_IMAGENET_A = FolderBenchmark(
    "split-imagenet-a",
    0,
    20,
    200,
    "The images are Natural Adversarial Examples (Hendrycks et al., CVPR 2021), published as one folder per class "
    "without a division: class-incremental papers share a copy divided into train and test folders.",
)
SPLIT_IMAGENET_R = FolderBenchmark(
    "split-imagenet-r",
    0,
    20,
    200,
    "The images are The Many Faces of Robustness (Hendrycks et al., ICCV 2021), published as one folder per class "
    "without a division: class-incremental papers take 24,000 images for training and 6,000 for the test.",
)
SPLIT_OMNIBENCHMARK = FolderBenchmark(
    "split-omnibenchmark",
    0,
    30,
    300,
    "The images are 300 classes of OmniBenchmark (Zhang et al., ECCV 2022); class-incremental papers share a copy "
    "divided into train and test folders.",
)
SPLIT_VTAB = FolderBenchmark(
    "split-vtab",
    0,
    10,
    50,
    "The images are ten classes from each of five tasks of the Visual Task Adaptation Benchmark (Zhai et al., 2019), "
    "as divided by Zhou et al., arXiv 2303.07338.",
)
