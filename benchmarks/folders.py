"""Class folders: ``train/<class>/*`` and ``test/<class>/*`` (or ``val/<class>/*``) as a data set."""

from __future__ import annotations

import os
from os import PathLike, fspath
from pathlib import Path

from backbones.core.errors import FrostlineError, nearest
from backbones.core.samples import Progress, silent
from benchmarks.images import FolderImages
from benchmarks.types import Dataset

__all__ = ["LAYOUT", "SUFFIXES", "existing_folder", "list_classes", "read_folders"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
LAYOUT = "DIR/train/<class>/*.png and DIR/test/<class>/*.png (test may be called val; also .jpg, .webp and others)"
_TEST_NAMES = ("test", "val")


def read_folders(root: str | PathLike[str], name: str = "folder", progress: Progress = silent) -> Dataset:
    """List an image set that is kept in one folder per class; no image is opened.

    Classes come in the alphabetical order of their folder names (that of torchvision's ImageFolder, on which the class
    orders of peers rest, so ``10`` comes before ``2``), images in that of their file names. Files without an image
    suffix, loose files and hidden folders are passed over. Where both ``test`` and ``val`` exist, ``test`` is taken.

    Args:
        root: folder with ``train`` and ``test`` or ``val``.
        name: name of the data set.
        progress: told of every folder listed.

    Raises:
        FrostlineError: a missing split, a class folder without images, classes that only one split has.
    """
    base = existing_folder(root)
    train_folder, test_folder = _splits(base)
    train, test = _classes(train_folder), _classes(test_folder)
    _same_classes(train, test, train_folder, test_folder)
    total = len(train) + len(test)
    listed = [
        _images(path, f"list {name}", done, total, progress)
        for done, path in enumerate([*train.values(), *test.values()], start=1)
    ]
    half = len(train)
    return Dataset(name, tuple(train), _collect(listed[:half]), _collect(listed[half:]))


def list_classes(
    folder: Path, name: str = "folder", progress: Progress = silent
) -> tuple[tuple[str, ...], FolderImages]:
    """List images that are kept in one folder per class, without a division into training and test.

    Args:
        folder: with ``<class>/*``; orders as in ``read_folders``.
        name: what to call them.
        progress: told of every folder listed.

    Raises:
        FrostlineError: no class folder, or one without images.
    """
    found = _classes(folder)
    paths = enumerate(found.values(), start=1)
    listed = [_images(path, f"list {name}", done, len(found), progress) for done, path in paths]
    return tuple(found), _collect(listed)


def existing_folder(root: str | PathLike[str]) -> Path:
    """Return ``root`` as a path.

    Raises:
        FrostlineError: it is missing (with the nearest names beside it) or no folder.
    """
    path = Path(root).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise FrostlineError(f"the data root {path} is a file; pass the folder that holds {LAYOUT}.")
    beside = _subfolders(path.parent) if path.parent.is_dir() else []
    raise FrostlineError(f"the data root {path} does not exist.{_hint(path.name, beside)} Pass a folder with {LAYOUT}.")


def _splits(base: Path) -> tuple[Path, Path]:
    names = _subfolders(base)
    tests = [base / name for name in _TEST_NAMES if name in names]
    if "train" in names and tests:
        return base / "train", tests[0]
    if "train" in names:
        near = _split_hint(names, "test", "validation")
        raise FrostlineError(
            f"{base} has train but neither test nor val.{near} Make {base}/test/<class>/ "
            "with images of every class that are not in train: scores come from them alone."
        )
    if tests:
        raise FrostlineError(
            f"{base} has {tests[0].name} but no train.{_split_hint(names, 'train')} Make {base}/train/<class>/ "
            "with the images to learn from."
        )
    found = f" Its folders: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}." if names else " It has none."
    raise FrostlineError(
        f"{base} has no folder train.{_split_hint(names, 'train')}{found} If they are classes, divide their images "
        f"between {base}/train/<class>/ and {base}/test/<class>/."
    )


def _classes(split: Path) -> dict[str, Path]:
    names = _subfolders(split)
    if not names:
        raise FrostlineError(f"{split} has no class folders; make one folder per class, {split}/<class>/.")
    return {name: split / name for name in names}


def _same_classes(train: dict[str, Path], test: dict[str, Path], train_folder: Path, test_folder: Path) -> None:
    both_ways = ((test, train, test_folder, train_folder), (train, test, train_folder, test_folder))
    for some, others, folder, other in both_ways:
        alone = [name for name in some if name not in others]
        if alone:
            more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
            raise FrostlineError(
                f"class {alone[0]!r}{more} of {folder} is missing in {other}.{_hint(alone[0], others)} "
                "Every class needs images in both."
            )


def _images(folder: Path, phase: str, done: int, total: int, progress: Progress) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            found = [entry.path for entry in entries if _is_image(entry)]
    except OSError as error:
        raise FrostlineError(f"cannot list {folder}: {error.strerror or error}. Make it readable.") from error
    if not found:
        inner = _subfolders(folder)
        where = f" It has the folder {inner[0]!r}: move its images up." if inner else ""
        raise FrostlineError(
            f"the class folder {folder} has no images ({', '.join(SUFFIXES)}).{where} Add some or remove the class "
            "from train and test."
        )
    progress(phase, done, total)
    return sorted(found)


def _is_image(entry: os.DirEntry[str]) -> bool:
    # Names like ._0001.jpg are what some systems leave beside the real file.
    return not entry.name.startswith(".") and entry.name.lower().endswith(SUFFIXES) and not entry.is_dir()


def _collect(groups: list[list[str]]) -> FolderImages:
    paths = [path for group in groups for path in group]
    return FolderImages(paths, [label for label, group in enumerate(groups) for _ in group])


def _subfolders(folder: Path) -> list[str]:
    try:
        with os.scandir(fspath(folder)) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise FrostlineError(f"cannot list {folder}: {error.strerror or error}. Make it readable.") from error


def _split_hint(names: list[str], *wanted: str) -> str:
    """Offer a folder that may be meant as a split; class names may resemble one, but few begin with its letter."""
    hints = (_hint(word, [name for name in names if name[:1].casefold() == word[0]]) for word in wanted)
    return next(filter(None, hints), "")


def _hint(wanted: str, names: list[str] | dict[str, Path]) -> str:
    close = nearest(wanted, names)
    return f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
