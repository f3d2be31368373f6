"""Reading passages: files, folders, streams and raw text, in any format, one at a time."""

from __future__ import annotations

import io
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from backbones.core.errors import FrostlineError
from benchmarks.languages import AKIN, guess, main, named
from benchmarks.passages.check import check_passage, doubt
from benchmarks.passages.files import File, found_in
from benchmarks.passages.formats import FORMATS, detect, form_named, reader_of
from benchmarks.passages.formats.foreign import refuse_list
from benchmarks.passages.nodes import Note, misread, tidy, unheard
from benchmarks.passages.nodes import brief as shown
from benchmarks.passages.raw import raw_passage
from benchmarks.passages.source import ReadLimits, decode_text, records
from benchmarks.passages.types import Passage, Span

LINES = (".jsonl", ".ndjson")
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
    refuse_list(record, where)
    if not isinstance(record, Mapping):
        raise misread(
            where, "$", shown(record), "an object", "A passage is a JSON object, one for each line or record."
        )
    tidy(record if isinstance(record, dict) else dict(record), where)
    form = form_named(format or detect(record, where))
    return _whole(lambda: form.read(record, where, note), where, note)


def _whole(read: Callable[[], Passage], where: str, note: Note, odd: bool = True) -> Passage:
    """Return a checked passage; whatever its content can cause ends that record alone.

    Args:
        read: reads it; odd: whether to say what is odd about its spans.
    """
    try:
        passage = check_passage(read(), where)
        if odd:
            doubt(passage, where, note)
        _spoken(passage, where, note)
        return passage
    except FrostlineError:
        raise
    except Exception as error:
        raise FrostlineError(f"{where}: cannot be read: {type(error).__name__}: {str(error)[:200]}.") from error


def _spoken(passage: Passage, where: str, note: Note) -> None:
    """Say if the text looks like one in another language."""
    seen = guess(passage.text)
    if seen is not None and seen not in (main(passage.language), *AKIN.get(main(passage.language), ())):
        note(
            f"{where}: the text looks {named(seen)} (a guess by its letters and most frequent words), and its language "
            f"is {named(passage.language)}. If the guess is right, pass --language {seen} with a raw text, or "
            f'"language": "{seen}" in the passage; otherwise nothing changes.'
        )


def read_passages(
    paths: Path | str | Iterable[Path | str],
    *,
    trigger: str | Span | None = None,
    event_type: str | None = None,
    language: str | None = None,
    format: str | None = None,
    on_error: OnError = "stop",
    skipped: Skipped | None = None,
    note: Note = unheard,
    limits: ReadLimits | None = None,
    stdin: BinaryIO | None = None,
) -> Iterator[Passage]:
    """Read passages lazily: each is yielded before the next one is looked at.

    Args:
        paths: one or several files, folders and zip archives (all their JSON, brat, APF and XMI files in the order of
            their paths, and ``.txt`` files if a trigger is given) or ``-`` for standard input. A file holds one JSON
            object, an array, or JSON Lines, whatever its name, and may be packed (gz, xz, bz2); ``.txt`` is raw text,
            or what a ``.ann`` file beside it speaks of.
        trigger, event_type, language: of raw text, see ``raw_passage``; with a trigger, standard input is raw text.
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
    reader = _Reader(trigger, event_type, language, format, _Notes(note), limits or ReadLimits(), stdin)
    return reader.read(given, on_error, skipped)


class _Notes:
    """Passes notes on: of those that differ in numbers alone the first few, and at the end how many there were."""

    MOST = 5

    def __init__(self, note: Note) -> None:
        self._note = note
        self._counts: Counter[str] = Counter()

    def __call__(self, words: str) -> None:
        kind = re.sub(r"\d+", "N", words.partition(": ")[2])
        self._counts[kind] += 1
        if self._counts[kind] <= self.MOST:
            self._note(words)

    def end(self) -> None:
        """Say how many were not passed on."""
        for kind, count in self._counts.items():
            if count > self.MOST:
                self._note(f"{count - self.MOST} more of these: {kind}")


@dataclass(frozen=True)
class _Reader:
    trigger: str | Span | None
    event_type: str | None
    language: str | None
    format: str | None
    note: _Notes
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
        self.note.end()

    def _passages(self, path: Path | str) -> Iterator[Passage | FrostlineError]:
        """Yield passages and what is wrong with those that are none."""
        raw = self.trigger is not None
        files = iter((self._standard_input(),)) if str(path) == STDIN else found_in(Path(path), raw)
        while True:
            try:
                file = next(files, None)
                if file is None:
                    return
                if isinstance(file, FrostlineError):
                    yield file
                else:
                    yield from self._held(file)
            except FrostlineError as error:
                yield error

    def _standard_input(self) -> File:
        stream = self.stdin if self.stdin is not None else sys.stdin.buffer
        return File("standard input", lambda: nullcontext(stream), lambda name: None)

    def _held(self, file: File) -> Iterator[Passage | FrostlineError]:
        if file.ends(".txt") and self.trigger is None:
            file = file.beside(".ann") or file
        raw = self.trigger is not None if file.name == "standard input" else file.ends(".txt")
        if raw:
            yield self._raw(file)
            return
        with file.opener() as handle:
            reader = reader_of(file, handle.peek(2**12)) if isinstance(handle, io.BufferedReader) else None
            if reader is None:
                yield from self._records(handle, file)
                return
        yield _whole(lambda: reader(file, self.limits, self.note), file.name, self.note)

    def _raw(self, file: File) -> Passage:
        text = decode_text(file.content(self.limits), file.name)
        name = "stdin" if file.name == "standard input" else file.stem

        def read() -> Passage:
            return raw_passage(
                text, name, file.name, trigger=self.trigger, event_type=self.event_type, language=self.language,
                note=self.note,
            )  # fmt: skip

        return _whole(read, file.name, self.note, odd=False)

    def _records(self, handle: BinaryIO, file: File) -> Iterator[Passage | FrostlineError]:
        for found in records(handle, file.name, self.limits, file.ends(*LINES)):
            if isinstance(found, FrostlineError):
                yield found
                continue
            where, value = found
            try:
                yield read_record(value, where, format=self.format, note=self.note)
            except FrostlineError as error:
                yield error
