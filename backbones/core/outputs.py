"""The guard at the door of every command: nothing of the user's is written over, and trouble is said before any work.

A file may be written if nothing is there, if what is there is empty, or if it bears the mark of this program; anything
else needs ``--force``. What a command reads is never written, not even then.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from backbones.core.artifacts import is_stream, open_stream
from backbones.core.errors import FrostlineError, nearest

PARTS = ("train", "test", "val")  # of a folder of data that is divided already; nothing else in it is read
HEAD = 4096  # bytes in which a mark must stand


def made_by() -> str:
    """Return the mark in what this program writes, such as ``frostline 0.1.0``."""
    try:
        return f"frostline {version('frostline')}"
    except PackageNotFoundError:  # a checkout on the path
        return "frostline"


def is_ours(path: Path) -> bool:
    """Return whether a file bears the mark of this program (results and reports as JSON, pages), or holds nothing."""
    try:
        with path.open("rb") as handle:
            head = handle.read(HEAD)
    except OSError:
        return False
    nothing = head.strip() in (b"", b"[]")
    return nothing or b'"made_by": "frostline' in head or b'<meta name="generator" content="frostline' in head


def guard_file(
    out: Path,
    inputs: Iterable[Path] = (),
    *,
    option: str = "--out",
    read: tuple[str, ...] = (),
    force: bool | None = None,
    resume: bool = False,
) -> None:
    """Refuse a file that must not or cannot be written; to be asked before any work.

    Args:
        out: the file.
        inputs: files and folders that the command reads.
        option: what named ``out``, for messages.
        read: endings of the files that are read from a folder among ``inputs``; empty for none.
        force: whether a file that does not bear our mark is written over; None where the command has no ``--force``.
        resume: whether the file is gone on with, and not written over.

    Raises:
        FrostlineError: names the file and what to do.
    """
    if is_stream(out):
        _check_stream(out, option)
        return
    try:
        there = out.stat() if out.exists() else None
    except (OSError, ValueError) as error:
        raise _unwritable(option, out, error) from None
    if out.is_dir():
        raise FrostlineError(f"{option} {out} is a folder; name a file, such as {out / 'out.json'}.")
    for each in inputs:
        if _same(out, each):
            raise FrostlineError(f"{option} {out} is one of the inputs, which would be lost; name another file.")
        if each.is_dir() and (clash := _clash(out, each, read)):
            raise FrostlineError(f"{option} {out} {clash}; name a file elsewhere.")
    if there is not None:
        if not there.st_mode & 0o222 or not os.access(out, os.W_OK):
            raise FrostlineError(f"{option} {out} is read-only; name another file.")
        if there.st_size and not force and not resume and not is_ours(out):
            also = "" if force is None else ", or pass --force to write over it"
            raise FrostlineError(
                f"{option} {out} exists and does not look like something that this program wrote; name another file, "
                f"or remove it{also}."
            )
    check_writable(out, option)


def guard_folder(
    out: Path, inputs: Iterable[Path | str | None] = (), *, resume: bool = False, needed: bool = True
) -> None:
    """Refuse a folder to make that exists, cannot be made, or lies in data that the command reads.

    Args:
        out: the folder.
        inputs: data that are read with all that lies in them.
        resume: whether ``out`` is gone on with, so that it may exist.
        needed: whether the command ends where nothing can be written to ``out``.

    Raises:
        FrostlineError: names the folder and what to do.
    """
    if needed and os.path.lexists(out) and not (resume and out.is_dir()):
        raise FrostlineError(f"{out} exists already; pass a folder that does not, or remove it.")
    for each in inputs:
        place = None if each is None else Path(each)
        parts = [] if place is None else [part for name in PARTS if (part := place / name).is_dir()] or [place]
        for part in parts:
            if part.is_dir() and out.resolve().is_relative_to(part.resolve()):
                raise FrostlineError(f"{out} lies in {part}, whose files are read as data; pass a folder elsewhere.")
    if needed:
        check_writable(out, "--out")


def check_paths(paths: Iterable[Path], what: str = "") -> None:
    """Raise FrostlineError for the first path at which nothing is; to be asked before anything heavy is imported.

    Args:
        paths: of inputs; what: they should hold, for the message.
    """
    for path in paths:
        if not os.path.lexists(path):
            beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
            close = nearest(path.name, beside, 1)
            hint = f" Did you mean {path.parent / close[0]}?" if close else ""
            lack = f"{path} holds no {what}: it does not exist." if what else f"{path} does not exist."
            raise FrostlineError(lack + hint)


def check_writable(out: Path, option: str = "--out") -> None:
    """Refuse a place at which no file can be made; raises FrostlineError with the reason."""
    try:
        place = Path(os.path.realpath(out)).parent
        while not place.exists():
            place = place.parent
        with tempfile.TemporaryFile(dir=place) as trial:
            trial.write(b"x")
        if len(os.fsencode(out.name)) > os.pathconf(place, "PC_NAME_MAX"):
            raise OSError(f"the name {out.name[:40]}... is too long")
    except (OSError, ValueError) as error:
        raise _unwritable(option, out, error) from None


def _unwritable(option: str, out: Path, error: OSError | ValueError) -> FrostlineError:
    reason = getattr(error, "strerror", None) or error
    return FrostlineError(
        f"cannot write {option} {out}: {reason}. Free some space or pass another {'file' if out.suffix else 'folder'}."
    )


def _check_stream(out: Path, option: str) -> None:
    if not out.is_fifo():  # to open a pipe and to close it again would end it for its reader
        try:
            os.close(open_stream(out))
        except OSError as error:
            raise _unwritable(option, out, error) from None


def _same(out: Path, each: Path) -> bool:
    """Return whether two paths lead to one file, by links of either kind or by name alone where nothing is yet."""
    try:
        return out.samefile(each) if out.exists() else os.path.realpath(out) == os.path.realpath(each)
    except (OSError, ValueError):
        return False


def _clash(out: Path, folder: Path, read: tuple[str, ...]) -> str:
    """Return what is wrong with writing ``out`` where ``folder`` is read, empty for nothing."""
    real = Path(os.path.realpath(out))
    hidden = any(part.startswith(".") for part in real.parts[len(folder.resolve().parts) :])
    if real.is_relative_to(folder.resolve()) and real.name.lower().endswith(read) and read and not hidden:
        return f"lies in the input folder {folder}, where the next call would read it as a document"
    if out.exists() and any(_same(out, file) for file in _files(folder, read)):
        return f"is one of the files in the input folder {folder}, which would be lost"
    return ""


def _files(folder: Path, read: tuple[str, ...]) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.name.lower().endswith(read)) if read else iter(())
