"""Text sets that a user brings: a file or a folder of files, or one folder per class, as a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backbones.core.errors import FrostlineError, nearest
from backbones.core.reading import passed_over
from backbones.core.samples import Progress, silent
from benchmarks.text_files import kind_of, read_divided, read_whole
from benchmarks.text_lines import lines_of
from benchmarks.text_rows import TEST, TRAIN, Naming, Rows, choose_parts, dataset_of, parse_root
from benchmarks.types import Dataset

__all__ = ["LAYOUT", "read_texts"]

LAYOUT = (
    "DIR/train.csv and DIR/test.csv (or .tsv, .jsonl, .json), DIR/train/<class>/*.txt and DIR/test/<class>/*.txt, or "
    "one file with a column split"
)


def read_texts(root: str, name: str = "text", usual: Sequence[str] = (), progress: Progress = silent) -> Dataset:
    """Read a set of labelled texts.

    ``root`` is a folder with a file of training and a file of test rows (``train.csv`` and ``test.csv``; without a
    ``test``, ``val``, ``valid``, ``validation`` or ``dev``), a folder with class folders of text files
    (``train/<class>/*.txt``, also in folders below), or one file that is divided (see ``text_files.read_divided``).
    Columns and parts with other names than the usual ones are named behind the path:
    ``reviews.csv::text=body,label=stars``. Texts are kept as they are, but for blanks around those in class folders.
    Classes come in alphabetical order, integers in numeric. What is not used is said in ``Dataset.notes``.

    Args:
        root: path, with names behind it where that is needed (see ``text_rows.Naming``).
        name: name of the data set.
        usual: names of divided files that are looked for in a folder, first of all.
        progress: told of every file or class folder read.

    Raises:
        FrostlineError: a path that does not exist or holds no such layout; whatever is wrong in the files: a row
            without text or label, a test label without training rows, and more, by file and row.
    """
    path, naming = parse_root(root)
    if path.is_dir():
        train, test = _folder(path, naming, usual, progress)
    elif path.exists():
        train, test = read_divided(path, naming, progress)
    else:
        beside = [entry.name for entry in _entries(path.parent)] if path.parent.is_dir() else []
        close = nearest(path.name, beside)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise FrostlineError(f"the data root {path} does not exist.{hint} Pass {LAYOUT}.")
    return dataset_of(name, train, test, naming.untested)


def _folder(folder: Path, naming: Naming, usual: Sequence[str], progress: Progress) -> tuple[Rows, Rows]:
    for name in usual:
        if (folder / name).is_file():
            return read_divided(folder / name, naming, progress)
    entries = _entries(folder)
    files: dict[str, list[Path]] = {}
    for entry in entries:
        kind = kind_of(entry.name)
        if kind is not None and entry.is_file():
            files.setdefault(kind[0], []).append(entry)
    folders = [entry.name for entry in entries if entry.is_dir()]
    if _may_train(list(files), naming):
        parts = choose_parts(files, naming, str(folder))
        train, test = (read_whole(_only(files[part]), naming, progress) for part in parts)
        used = {files[part][0].name for part in parts}
        others = [str(entry) for entry in entries if not entry.is_dir() and entry.name not in used]
        return train.noting(passed_over(others, "are neither the training nor the test part")), test
    if _may_train(folders, naming):
        parts = choose_parts(folders, naming, str(folder))
        train, test = (_class_folders(folder / part, progress) for part in parts)
        return train, test
    shown = ", ".join(entry.name for entry in entries[:8]) + (" ..." if len(entries) > 8 else "")
    raise FrostlineError(f"{folder} holds no texts to learn from; it has {shown or 'nothing'}. Pass {LAYOUT}.")


def _may_train(names: Sequence[str], naming: Naming) -> bool:
    if naming.train is not None:
        return naming.train in names
    return any(name.casefold() in (*TRAIN, *TEST) for name in names)


def _only(files: list[Path]) -> Path:
    if len(files) > 1:
        raise FrostlineError(
            f"{files[0].parent} holds both {files[0].name} and {files[1].name}; keep the one that is meant."
        )
    return files[0]


def _class_folders(split: Path, progress: Progress) -> Rows:
    rows = Rows(str(split), "file")
    classes = [entry for entry in _entries(split) if entry.is_dir()]
    if not classes:
        raise FrostlineError(f"{split} has no class folders; make one folder per class, {split}/<class>/*.txt.")
    others = [str(entry) for entry in _entries(split) if not entry.is_dir()]
    for done, folder in enumerate(classes, start=1):
        files = [path for path in _below(folder) if path.suffix.lower() == ".txt"]
        others += [str(path) for path in _below(folder) if path.suffix.lower() != ".txt"]
        if not files:
            raise FrostlineError(f"the class folder {folder} has no .txt files; add some or remove the class.")
        for file in files:
            with lines_of(file) as lines:
                rows.add(str(file.relative_to(split)), "".join(lines).strip(), folder.name)
        progress(f"read {split.name}", done, len(classes))
    return rows.noting(passed_over(others, "are no .txt files of a class"))


def _below(folder: Path) -> list[Path]:
    """Return the files in a folder, then those in folders below it, by name."""
    entries = _entries(folder)
    inner = [path for entry in entries if entry.is_dir() for path in _below(entry)]
    return [*(entry for entry in entries if not entry.is_dir()), *inner]


def _entries(folder: Path) -> list[Path]:
    """Return what lies in a folder, by name; hidden files and folders are passed over."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise FrostlineError(f"cannot list {folder}: {error.strerror or error}. Make it readable.") from error
