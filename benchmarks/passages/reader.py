"""Reading passages: files, folders, streams and raw text, in any format, one at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from backbones.core.errors import FrostlineError
from backbones.core.reading import open_regular
from benchmarks.passages.check import check_passage
from benchmarks.passages.formats import FORMATS, detect
from benchmarks.passages.nodes import Note, misread, similar, some, tidy, unheard
from benchmarks.passages.nodes import brief as shown
from benchmarks.passages.raw import raw_passage
from benchmarks.passages.source import ReadLimits, decode_text, records, too_long
from benchmarks.passages.types import Passage, Span

LINES = (".jsonl", ".ndjson")
SUFFIXES = (".json", *LINES)
STDIN = "-"

OnError = Literal["stop", "skip"]
Skipped = Callable[[FrostlineError], None]


def read_record(record: Mapping[str, Any], where: str, *, format: str | None = None, note: Note = unheard) -> Passage:
    """Read one decoded JSON object.

    Args:
        record: a passage in any format of ``FORMATS``; where: file and record, for messages.
        format: name of the format; None: known by its keys. note: told what was mended.

    Returns:
        The passage with characters as offsets, checked, every ``text`` filled in.

    Raises:
        FrostlineError: names the place, the JSON path, what was expected and found, and the fix.
    """
    if not isinstance(record, Mapping):
        raise misread(
            where, "$", shown(record), "an object", "A passage is a JSON object, one for each line or record."
        )
    tidy(record if isinstance(record, dict) else dict(record), where)
    form = FORMATS.load(format or detect(record, where))
    try:
        return check_passage(form.read(record, where, note), where)
    except FrostlineError:
        raise
    except Exception as error:  # whatever the content of a record can cause ends that record alone
        raise FrostlineError(f"{where}: cannot be read: {type(error).__name__}: {str(error)[:200]}.") from error


def read_passages(
    paths: Path | str | Iterable[Path | str],
    *,
    trigger: str | Span | None = None,
    event_type: str | None = None,
    format: str | None = None,
    on_error: OnError = "stop",
    skipped: Skipped | None = None,
    note: Note = unheard,
    limits: ReadLimits | None = None,
    stdin: BinaryIO | None = None,
) -> Iterator[Passage]:
    """Read passages lazily: each is yielded before the next one is looked at.

    Args:
        paths: one or several files, folders (all their JSON files in the order of their paths, and ``.txt`` files if
            a trigger is given) or ``-`` for standard input. A file holds one JSON object, an array, or JSON Lines,
            whatever its name; ``.txt`` is raw text.
        trigger, event_type: of raw text, see ``raw_passage``; with them, standard input is raw text.
        format: name of the format; None: known by the keys of each record.
        on_error: what a bad record does: ``stop`` raises when it is reached, ``skip`` goes on with the next one.
        skipped: told the error of each record that is skipped; note: told what was mended.
        limits: how much is read at once; stdin: read in the place of standard input.

    Raises:
        FrostlineError: at once for unknown settings; while reading, for what cannot be read.
    """
    if on_error not in ("stop", "skip"):
        raise FrostlineError(f"on_error: expected 'stop' or 'skip', found {on_error!r}.")
    if format is not None:
        FORMATS.load(format)
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    reader = _Reader(trigger, event_type, format, note, limits or ReadLimits(), stdin)
    return reader.read(given, on_error, skipped)


@dataclass(frozen=True)
class _Reader:
    trigger: str | Span | None
    event_type: str | None
    format: str | None
    note: Note
    limits: ReadLimits
    stdin: BinaryIO | None

    def read(self, paths: list[Path | str], on_error: OnError, skipped: Skipped | None) -> Iterator[Passage]:
        for path in paths:
            for found in self._passages(path):
                if not isinstance(found, FrostlineError):
                    yield found
                elif on_error == "stop":
                    raise found
                elif skipped is not None:
                    skipped(found)

    def _passages(self, path: Path | str) -> Iterator[Passage | FrostlineError]:
        """Yield passages and what is wrong with those that are none."""
        try:
            files: list[Path | str] = [STDIN] if str(path) == STDIN else list(self._files(Path(path)))
        except FrostlineError as error:
            yield error
            return
        for file in files:
            try:
                with self._open(file) as handle:
                    if self._is_raw(file):
                        yield self._raw(handle, file)
                    else:
                        yield from self._records(handle, file)
            except FrostlineError as error:
                yield error

    def _files(self, path: Path) -> Iterator[Path]:
        if not path.is_dir():
            yield path
            return
        suffixes = (*SUFFIXES, ".txt") if self.trigger is not None else SUFFIXES
        inside = [file.relative_to(path) for file in path.rglob("*") if file.suffix.lower() in suffixes]
        kept = sorted(file for file in inside if not any(part.startswith(".") for part in file.parts))
        files = [path / file for file in kept if (path / file).is_file()]
        if not files:
            raise FrostlineError(
                f"{path}: empty: expected files that end in {', '.join(suffixes)}, found none in the folder."
                + ("" if self.trigger is not None else " Raw text (.txt) needs a trigger and an event type.")
            )
        yield from files

    def _is_raw(self, file: Path | str) -> bool:
        if file == STDIN:
            return self.trigger is not None
        return Path(file).suffix.lower() == ".txt"

    @contextmanager
    def _open(self, file: Path | str) -> Iterator[BinaryIO]:
        if file == STDIN:
            yield self.stdin if self.stdin is not None else sys.stdin.buffer
            return
        path = Path(file)
        try:
            handle = open_regular(path)
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            raise _unopened(path, error) from None
        with handle:
            try:
                yield handle
            except OSError as error:
                raise _unopened(path, error) from None

    def _raw(self, handle: BinaryIO, file: Path | str) -> Passage:
        where = _name(file)
        content = handle.read(self.limits.file + 1)
        if len(content) > self.limits.file:
            raise too_long(where, self.limits.file)
        text = decode_text(content, where)
        name = "stdin" if file == STDIN else Path(file).stem
        return check_passage(raw_passage(text, name, where, trigger=self.trigger, event_type=self.event_type), where)

    def _records(self, handle: BinaryIO, file: Path | str) -> Iterator[Passage | FrostlineError]:
        known = file != STDIN and Path(file).suffix.lower() in LINES
        for found in records(handle, _name(file), self.limits, known):
            if isinstance(found, FrostlineError):
                yield found
                continue
            where, value = found
            try:
                yield read_record(value, where, format=self.format, note=self.note)
            except FrostlineError as error:
                yield error


def _name(file: Path | str) -> str:
    return "standard input" if file == STDIN else str(file)


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
