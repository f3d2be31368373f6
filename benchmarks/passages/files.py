"""Files that hold passages: as they lie on a disk, packed, in folders and in archives, and what lies beside them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, BinaryIO, cast

from backbones.core.errors import FrostlineError
from backbones.core.reading import measured, open_regular
from benchmarks.passages.nodes import similar, some
from benchmarks.passages.source import ReadLimits, too_long

JSON = (".json", ".jsonl", ".ndjson")
READ = (*JSON, ".ann", ".apf.xml", ".xmi")
ZIP = ".zip"
_PACKED: Mapping[str, tuple[bytes, Callable[[BinaryIO], IO[bytes]]]] = {
    ".gz": (b"\x1f\x8b", lambda raw: cast("IO[bytes]", gzip.GzipFile(fileobj=raw))),
    ".xz": (b"\xfd7zXZ\x00", lambda raw: cast("IO[bytes]", lzma.LZMAFile(raw))),  # noqa: SIM115
    ".bz2": (b"BZh", lambda raw: cast("IO[bytes]", bz2.BZ2File(raw))),
}
_DAMAGED = (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, RuntimeError)


@dataclass(frozen=True)
class File:
    """A file that may hold passages.

    Args:
        name: how messages call it; opener: gives its bytes, unpacked.
        neighbour: finds the file of another name in the same place, None if there is none.
    """

    name: str
    opener: Callable[[], AbstractContextManager[BinaryIO]]
    neighbour: Callable[[str], File | None]

    @property
    def plain(self) -> str:
        """The last part of the name without the suffix of a packing."""
        last = PurePath(self.name).name
        return next((last.removesuffix(end) for end in _PACKED if last.lower().endswith(end)), last)

    @property
    def stem(self) -> str:
        """The plain name without its suffixes."""
        end = next((end for end in READ if self.plain.lower().endswith(end)), PurePath(self.plain).suffix)
        return self.plain[: len(self.plain) - len(end)]

    def ends(self, *suffixes: str) -> bool:
        """Whether the plain name has one of the suffixes."""
        return self.plain.lower().endswith(suffixes)

    def beside(self, suffix: str) -> File | None:
        """Return the file of the same stem with another suffix, packed or not."""
        found = (self.neighbour(self.stem + suffix + packing) for packing in ("", *_PACKED))
        return next((file for file in found if file is not None), None)

    def content(self, limits: ReadLimits) -> bytes:
        """Return all its bytes; raises FrostlineError if they are too many or cannot be read."""
        with self.opener() as handle:
            content = handle.read(limits.file + 1)
        if len(content) > limits.file:
            raise too_long(self.name, limits.file)
        return content


def found_in(path: Path, raw: bool) -> Iterator[File | FrostlineError]:
    """Yield the files that a path stands for: itself, those of a folder or of an archive in the order of their paths.

    An archive that cannot be read is yielded as its error, since others may follow.

    Args:
        path: a file, a folder or a zip archive; raw: whether texts without annotation (``.txt``) are wanted.

    Raises:
        FrostlineError: there is nothing to read.
    """
    if not path.is_dir():
        yield from _members(path, raw) if _is_zip(path) else (_on_disk(path),)
        return
    inside = sorted(file.relative_to(path) for file in path.rglob("*"))
    kept = [path / file for file in inside if _wanted(file, raw, path.joinpath) and (path / file).is_file()]
    if not kept:
        raise _nothing(path, raw, "the folder")
    for file in kept:
        yield from _members(file, raw) if _is_zip(file) else (_on_disk(file),)


def _wanted(inside: PurePath, raw: bool, place: Callable[[PurePath], Path] | None = None) -> bool:
    if any(part.startswith((".", "__MACOSX")) for part in inside.parts):
        return False
    name = inside.name.lower()
    name = next((name.removesuffix(end) for end in _PACKED if name.endswith(end)), name)
    text = raw and name.endswith(".txt") and not (place is not None and place(inside.with_suffix(".ann")).is_file())
    return text or name.endswith((*READ, ZIP))


def _nothing(path: Path, raw: bool, kind: str) -> FrostlineError:
    suffixes = (*READ, ".txt") if raw else READ
    return FrostlineError(
        f"{path}: empty: expected files that end in {', '.join(suffixes)}, found none in {kind}."
        + ("" if raw else " Raw text (.txt) needs a trigger and an event type.")
    )


def _on_disk(path: Path) -> File:
    def neighbour(name: str) -> File | None:
        return _on_disk(path.with_name(name)) if path.with_name(name).is_file() else None

    return File(str(path), lambda: _opened(path), neighbour)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        handle = open_regular(path)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise _unopened(path, error) from None
    with handle:
        try:
            yield _unpacked(handle, str(path))
        except _DAMAGED as error:
            raise _damaged(str(path), error) from None
        except OSError as error:
            raise _unopened(path, error) from None


def _unpacked(handle: BinaryIO, name: str) -> BinaryIO:
    """Return what a packed file holds; its first bytes tell whether it is packed, whatever its name."""
    head = cast(io.BufferedReader, handle).peek(8)
    for magic, unpack in _PACKED.values():
        if head.startswith(magic):
            return measured(unpack(handle), os.fstat(handle.fileno()).st_size, name)
    return handle


def _is_zip(path: Path) -> bool:
    try:
        with open_regular(path) as handle:
            return handle.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except (OSError, ValueError):
        return False  # said where it is opened


def _members(path: Path, raw: bool) -> Iterator[File | FrostlineError]:
    try:
        yield from _archived(path, raw)
    except FrostlineError as error:
        yield error


def _archived(path: Path, raw: bool) -> Iterator[File]:
    """Yield the files of an archive; nothing is written to the disk, and each is measured while it is unpacked."""
    with _opened(path) as handle:
        try:
            archive = zipfile.ZipFile(handle)
        except zipfile.BadZipFile as error:
            raise _damaged(str(path), error) from None
        members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        if "[Content_Types].xml" in members:
            raise FrostlineError(f"{path}: an Office document, not passages. Save it as text or JSON in UTF-8.")

        def member(name: str) -> File:
            within = PurePath(name).parent

            def neighbour(other: str) -> File | None:
                key = (within / other).as_posix()
                return member(key) if key in members else None

            return File(f"{path}/{name}", lambda: _inside(archive, members[name], f"{path}/{name}"), neighbour)

        kept = [name for name in sorted(members) if _wanted(PurePath(name), raw)]
        kept = [name for name in kept if not (name.endswith(".txt") and member(name).beside(".ann"))]
        if not kept:
            raise _nothing(path, raw, "the archive")
        yield from map(member, kept)


@contextmanager
def _inside(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Iterator[BinaryIO]:
    try:
        with archive.open(info) as held:
            yield measured(held, info.compress_size, name)
    except (*_DAMAGED, NotImplementedError) as error:  # RuntimeError: it is encrypted
        raise _damaged(name, error) from None


def _damaged(name: str, error: Exception) -> FrostlineError:
    return FrostlineError(f"{name}: cannot be unpacked: {error}. Pack it anew, or unpack it yourself.")


def _unopened(path: Path, error: OSError | ValueError) -> FrostlineError:
    """Make the error for a file that cannot be read, with the names that are nearest to it."""
    try:
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError:
        beside = []
    close = similar(path.name, beside)
    hint = f" Did you mean {some(close)}?" if close and not path.exists() else ""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return FrostlineError(f"{path}: expected a file or folder that can be read: {reason}.{hint}")
