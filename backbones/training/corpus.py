"""Plain text as documents of sentences."""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from backbones.core.errors import FrostlineError
from backbones.core.letters import SPACELESS
from backbones.core.reading import PACKINGS, check_regular, limits, open_regular, passed_over, raising, unpacked
from backbones.core.samples import Progress, silent

SUFFIXES = (".txt", ".text", ".md")
MARK = "\x1e"  # opens a document where a corpus says so
BLOCK = 1 << 20  # bytes between two reports of progress
# A sentence ends at . ! or ? (and closing quotes) before a space and what may begin another: a capital, a digit or a
# letter of a script without capitals; not after an initial or one of the usual abbreviations. In scripts without
# spaces it ends at their own marks.
_END = re.compile(
    r"(?<=[.!?؟।۔။።])[\"'”’»)\]]*\s+(?=[\"'“‘«(\[]?([^\W_]))|(?<=[。！？｡])[\"'”’」』）)]*(?![。！？｡])\s*"
)
_WRAPPED = re.compile(rf"(?<=[{SPACELESS}，、。])[ \t]*\n[ \t]*(?=[{SPACELESS}])")  # a line end there is no space
_SHORT = re.compile(
    r"(?:\b(?:[A-Z]|Mr|Mrs|Ms|Dr|St|Prof|Gen|Col|Capt|Lt|Rev|Hon|Jr|Sr|vs|etc|No|Vol|Fig|e\.g|i\.e))\.$"
)


def read_documents(
    paths: Sequence[Path | str], most_bytes: int | None = None, progress: Progress = silent
) -> list[list[str]]:
    """Read texts as documents of sentences.

    A line that begins with the character U+001E opens a document and says nothing else; files without such lines are
    divided at blank lines.

    Args:
        paths: UTF-8 files (``.txt``, ``.text``, ``.md``, also with ``.gz`` or ``.xz`` behind), or folders of them.
        most_bytes: stop after about so many bytes of text.
        progress: told of the bytes read.

    Raises:
        FrostlineError: a path that does not exist, a file that is not UTF-8 or damaged, or no sentence in all of them.
    """
    files = [file for path in paths for file in _files(Path(path))]
    total = sum(file.stat().st_size for file in files)
    found: list[list[str]] = []
    read, before = 0, 0
    for file in files:
        for document, position in _documents(file):
            sentences = split_sentences(document)
            if sentences:
                found.append(sentences)
            read += len(document.encode())
            progress("reading", min(before + position, total), total)
            if most_bytes is not None and read >= most_bytes:
                progress("reading", total, total)
                return found
        before += file.stat().st_size
    progress("reading", total, total)
    if not found:
        names = ", ".join(str(path) for path in paths) or "no file at all"
        raise FrostlineError(f"there is no sentence in {names}; pass UTF-8 files with running text.")
    return found


def split_sentences(text: str) -> list[str]:
    """Return the sentences of running text, single-spaced."""
    plain = " ".join(_WRAPPED.sub("", text).split())
    if not plain:
        return []
    found: list[str] = []
    for piece in _END.sub(_broken, plain).removesuffix("\n").split("\n"):
        if found and _SHORT.search(found[-1]):
            found[-1] += f" {piece}"
        else:
            found.append(piece)
    return found


def _broken(hit: re.Match[str]) -> str:
    """Return a line end in the place of the space, where what follows may begin a sentence."""
    first = hit[1]
    begins = first is None or first.isdigit() or not first.islower()
    return hit[0].rstrip() + "\n" if begins else hit[0]


def check_corpus(paths: Sequence[Path]) -> None:
    """Raise FrostlineError, before anything is read, if a path does not exist or a folder holds no text."""
    for path in paths:
        _files(path)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file() and _is_text(file))
        if not found:
            raise FrostlineError(f"{path} holds no file of text ({', '.join(SUFFIXES)}, also packed as .gz or .xz).")
        return found
    if not path.exists():
        raise FrostlineError(f"{path} does not exist; pass files of text or folders of them.")
    check_regular(path)
    return [path]


def unread(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return a remark on the files in folders that ``read_documents`` passes over, hidden ones aside."""
    inside = [file for path in paths if path.is_dir() for file in sorted(path.rglob("*")) if not _is_text(file)]
    seen = [str(file) for file in inside if file.is_file() and not file.name.startswith(".")]
    return passed_over(seen, f"do not end in {', '.join(SUFFIXES)}")


def _is_text(file: Path) -> bool:
    name = file.with_suffix("") if file.suffix in PACKINGS else file
    return name.suffix.lower() in SUFFIXES


def _documents(file: Path) -> Iterator[tuple[str, int]]:
    """Yield the documents of a file and how many of its bytes have been read."""
    lines: list[str] = []
    marked, position = False, 0
    try:
        with open_regular(file) as raw:
            stream = unpacked(raw, file.suffix if file.suffix in PACKINGS else "", str(file))
            for number, line in enumerate(_lines(stream, file)):
                if number % 1000 == 0:
                    position = raw.tell()
                opens = line.startswith(MARK)
                marked = marked or opens
                if opens or (not marked and not line.strip()):
                    yield "\n".join(lines), position
                    lines = []
                else:
                    lines.append(line)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise FrostlineError(f"cannot read {file}: {error}. Copy or unpack it again.") from error
    yield "\n".join(lines), file.stat().st_size


def _lines(stream: BinaryIO, file: Path) -> Iterator[str]:
    most, number = limits().text, 0
    while line := stream.readline(4 * most + 1):
        number += 1
        if len(line) > 4 * most:
            raise FrostlineError(f"{file}, line {number} is longer than {most:,} characters; {raising('text')}.")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise FrostlineError(
                f"{file}, line {number} is not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8."
            ) from None
