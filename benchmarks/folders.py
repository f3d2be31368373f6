"""Class folders: ``train/<class>/*`` and ``test/<class>/*`` (or ``val/<class>/*``) as a data set."""

from __future__ import annotations

import os
from os import PathLike, fspath
from pathlib import Path

from backbones.core.errors import FrostlineError, nearest
from backbones.core.images import Pictures, find_images
from backbones.core.reading import passed_over
from backbones.core.samples import Progress, silent
from benchmarks.images import FolderImages
from benchmarks.types import Dataset

__all__ = ["LAYOUT", "existing_folder", "list_classes", "read_folders"]

LAYOUT = "DIR/train/<class>/*.png and DIR/test/<class>/*.png (test may be called val; also .jpg, .webp and others)"
_NO_IMAGE = "are no images by their names"
_TEST_NAMES = ("test", "val")


def read_folders(root: str | PathLike[str], name: str = "folder", progress: Progress = silent) -> Dataset:
    """List an image set that is kept in one folder per class; no image is opened.

    Classes come in the alphabetical order of their folder names (that of torchvision's ImageFolder, on which the class
    orders of peers rest, so ``10`` comes before ``2``), images in that of their file names, those in folders below a
    class folder after its own. What Pillow decodes is an image, by its suffix in any case. Other files and loose ones
    are passed over, which ``Dataset.notes`` says; hidden folders and files unsaid. Where both ``test`` and ``val``
    exist, ``test`` is taken.

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
    found, others = _listed({"train": train, "test": test}, f"list {name}", progress)
    said = passed_over(others, _NO_IMAGE) + _loose(train_folder, test_folder)
    if test_folder.name == "test" and (base / "val").is_dir():
        said = (*said, f"{base / 'val'} is not used, as there is {test_folder}")
    pictures = Pictures([path for paths, _ in found.values() for path in paths])
    return Dataset(
        name, tuple(train), *(FolderImages(paths, labels, pictures, said) for paths, labels in found.values())
    )


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
    classes = _classes(folder)
    found, others = _listed({"": classes}, f"list {name}", progress)
    said = passed_over(others, _NO_IMAGE) + _loose(folder)
    return tuple(classes), FolderImages(*found[""], said=said)


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


def _listed(
    splits: dict[str, dict[str, Path]], phase: str, progress: Progress
) -> tuple[dict[str, tuple[list[str], list[int]]], list[str]]:
    """Return the images of each split with their classes, and all files that are none."""
    found: dict[str, tuple[list[str], list[int]]] = {split: ([], []) for split in splits}
    passed: list[str] = []
    done, total = 0, sum(map(len, splits.values()))
    for split, classes in splits.items():
        for label, folder in enumerate(classes.values()):
            images, others = find_images(folder)
            if not images:
                held = "; ".join(passed_over(others, _NO_IMAGE)) or "it is empty"
                raise FrostlineError(
                    f"the class folder {folder} has no images (.png, .jpg and others that Pillow reads): {held}. "
                    "Add some or remove the class from train and test."
                )
            found[split][0].extend(images)
            found[split][1].extend([label] * len(images))
            passed += others
            done += 1
            progress(phase, done, total)
    return found, passed


def _loose(*splits: Path) -> tuple[str, ...]:
    """Say which files lie beside the class folders."""
    with_files = [entry for split in splits for entry in split.iterdir() if not entry.name.startswith(".")]
    return passed_over(sorted(str(entry) for entry in with_files if not entry.is_dir()), "lie in no class folder")


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
