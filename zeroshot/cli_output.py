"""Where results go: a JSON file, JSON lines that are there as soon as they are computed, or standard output."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel

from backbones.core.artifacts import is_stream, open_stream, write_bytes, write_text
from backbones.core.errors import FrostlineError
from backbones.core.outputs import guard_file
from backbones.core.visible import dumps

READ = (".json", ".jsonl", ".ndjson", ".txt", ".ann", ".xml", ".gz", ".xz", ".zip")  # of a folder of passages
SQLITE = b"SQLite format 3\0"
Made = TypeVar("Made")


def check_outputs(
    inputs: Sequence[Path],
    out: Path | None,
    cache: Path | None,
    *others: Path | None,
    force: bool = False,
    resume: bool = False,
) -> None:
    """Refuse what a command may not or cannot write, before it computes anything.

    Args:
        inputs: passages; others: what else it reads, such as an ontology.
        out: results or a page; cache: of scores.
        force: whether a file that is not ours may be written over; resume: whether ``out`` is gone on with.

    Raises:
        FrostlineError: see ``guard_file``; a cache that is no cache.
    """
    known = [Path(each) for each in (*inputs, *others) if each is not None]
    if out is not None:
        guard_file(out, [*known, *([cache] if cache else [])], read=READ, force=force, resume=resume)
    if cache is not None and not cache.is_dir():  # the cache itself says what is wrong with a folder
        guard_file(cache, known, option="--cache", read=READ, resume=True)
        if cache.is_file() and cache.stat().st_size and not cache.read_bytes()[: len(SQLITE)] == SQLITE:
            raise FrostlineError(
                f"--cache {cache} exists and is no cache of scores (an SQLite file); name another file, or remove it."
            )


def plain(value: Any) -> Any:
    """Return what JSON can say of a pydantic object, a mapping or a list."""
    return value.model_dump(mode="json", exclude_none=False) if isinstance(value, BaseModel) else value


class Sink:
    """Takes documents one by one; what it took is on the disk, whatever happens next.

    Documents of a ``.json`` file wait in a journal beside it, a line each, until all are there.
    """

    def __init__(self, path: Path | None, stream: IO[str] | None, *, resume: bool = False) -> None:
        self.path = path
        self.count = 0
        self.kept: list[Any] = []  # documents that were there before
        self._stream = stream
        self._lines: Path | None = path
        self._handle: int | None = None
        self._whole = 0  # bytes of the lines that stay
        self.torn = False  # whether a line was dropped
        if path is None:
            return
        if is_stream(path):
            self._handle = _opened(path)
        elif path.suffix not in (".json", ".jsonl"):
            raise FrostlineError(f"--out {path}: name a .json file, or a .jsonl file for one document a line.")
        elif path.suffix == ".json":
            self._lines = path.with_name(f".{path.name}.part")
        if resume and self._handle is None:
            self.kept = self._read()

    def put(self, document: Any) -> None:
        """Take one document."""
        line = dumps(plain(document)) + "\n"
        if self._lines is not None:
            self._append(line.encode())
        self.count += 1
        if self._stream is not None:
            self._stream.write(line)
            self._stream.flush()

    def close(self, *, failed: bool) -> None:
        """Write what is held back; after a failure, without documents, what was there before stays."""
        if self.path is None or self._lines is None:
            return
        if self._handle is None and not failed:
            self._begin()
        if self._handle is None:
            return
        os.close(self._handle)
        if self._lines == self.path:
            return
        lines = [json.loads(line) for line in self._lines.read_bytes().splitlines()]
        try:
            write_text(self.path, dumps(lines[0] if len(lines) == 1 else lines, indent=2) + "\n")
        except FrostlineError as error:
            raise FrostlineError(f"{error} The documents are in {self._lines}; go on with --resume.") from None
        self._lines.unlink()

    def _append(self, line: bytes) -> None:
        """Write a whole line, or none of it."""
        handle = self._begin()
        start = None if self.path is None or is_stream(self.path) else os.lseek(handle, 0, os.SEEK_END)
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(handle, rest) :]
        except BaseException as error:
            if start is not None:
                os.ftruncate(handle, start)
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                more = "" if start is None else f" It holds {self.count + len(self.kept)} whole documents; free some "
                more += "space and go on with --resume." if more else ""
                raise FrostlineError(f"cannot write {self.path}: {error.strerror}.{more}") from None
            raise

    def _begin(self) -> int:
        """Open the lines at the first document, so that a run that fails before it leaves an older file as it was."""
        if self._handle is None:
            assert self._lines is not None
            try:
                if self.kept and not self._lines.exists():
                    write_bytes(self._lines, b"".join(dumps(each).encode() + b"\n" for each in self.kept))
                    self._whole = self._lines.stat().st_size
                self._lines.parent.mkdir(parents=True, exist_ok=True)
                self._handle = os.open(self._lines, os.O_RDWR | os.O_CREAT, 0o644)
                os.ftruncate(self._handle, self._whole)
            except OSError as error:
                raise FrostlineError(
                    f"cannot write {self.path}: {error.strerror}. Free some space or pass another file."
                ) from error
        return self._handle

    def _read(self) -> list[Any]:
        """Return the documents of the run that goes on, but for a last line that was torn."""
        assert self.path is not None and self._lines is not None
        if not self._lines.exists():
            held = _parsed(self.path.read_bytes()) if self.path.exists() else []
            if held is None:
                raise FrostlineError(f"--out {self.path} holds no JSON to go on with; leave --resume out.")
            return held if isinstance(held, list) else [held]
        lines = self._lines.read_bytes().split(b"\n")
        found = [_parsed(line) for line in lines[:-1] if line.strip()]
        if None in found:
            number = found.index(None) + 1
            raise FrostlineError(f"--out {self._lines}, line {number}, is no JSON; mend it, or leave --resume out.")
        self._whole = self._lines.stat().st_size - len(lines[-1])  # what follows the last line end is torn
        self.torn = bool(lines[-1].strip())
        return found


def remaining(items: Iterable[Made], kept: Sequence[Any]) -> Iterator[Made]:
    """Yield the passages that are not yet among the results ``kept``; each result stands for one of them."""
    left = Counter((str(each.get("doc_id")), str(each.get("text"))) for each in kept if isinstance(each, dict))
    for item in items:
        name = (str(getattr(item, "doc_id", None)), str(getattr(item, "text", None)))
        if left[name]:
            left[name] -= 1
        else:
            yield item


@contextmanager
def sink(
    path: Path | None, *, to_stdout: bool, resume: bool = False, say: Callable[[str], None] | None = None
) -> Iterator[Sink]:
    """Open a Sink and close it in any case, so that a later error loses nothing.

    Args:
        path: see Sink; None for standard output alone.
        to_stdout: whether documents are printed, too.
        resume: whether to go on with what ``path`` holds.
        say: told how many documents are written, once they are.
    """
    opened = Sink(path, sys.stdout if to_stdout else None, resume=resume)
    if say is not None and resume:
        torn = "; its last line was torn and is computed again" if opened.torn else ""
        say(f"{_documents(len(opened.kept))} in {path} already{torn}")
    try:
        yield opened
    except BaseException:
        opened.close(failed=True)
        if say is not None and path is not None and opened.count:
            say(f"{_documents(opened.count)} written to {path} before it ended; --resume goes on with them")
        raise
    opened.close(failed=False)
    if say is not None and path is not None:
        say(f"{_documents(opened.count)} written to {path}")


def _documents(count: int) -> str:
    return f"{count} {'document' if count == 1 else 'documents'}"


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _opened(path: Path) -> int:
    try:
        return open_stream(path)
    except OSError as error:
        raise FrostlineError(f"cannot write {path}: {error.strerror}. Name another file.") from None
