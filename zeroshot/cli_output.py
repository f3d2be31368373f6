"""Where results go: a JSON file, JSON lines that are there as soon as they are computed, or standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel

from backbones.core.artifacts import write_text
from backbones.core.errors import FrostlineError


def plain(value: Any) -> Any:
    """Return what JSON can say of a pydantic object, a mapping or a list."""
    return value.model_dump(mode="json", exclude_none=False) if isinstance(value, BaseModel) else value


class Sink:
    """Takes documents one by one; what it took is safe, whatever happens next."""

    def __init__(self, path: Path | None, stream: IO[str] | None) -> None:
        self.path = path
        self.count = 0
        self._stream = stream
        self._held: list[Any] = []
        self._lines: IO[str] | None = None
        if path is not None and path.suffix not in (".json", ".jsonl"):
            raise FrostlineError(f"--out {path}: name a .json file, or a .jsonl file for one document a line.")
        if path is not None and path.suffix == ".jsonl":
            self._lines = _open(path)

    def put(self, document: Any) -> None:
        """Take one document."""
        self.count += 1
        if self._lines is not None:
            self._lines.write(_line(document))
            self._lines.flush()
        elif self.path is not None:
            self._held.append(plain(document))
        if self._stream is not None:
            self._stream.write(_line(document))
            self._stream.flush()

    def close(self) -> None:
        """Write what is held back."""
        if self._lines is not None:
            self._lines.close()
        elif self.path is not None and self._held:
            value = self._held[0] if len(self._held) == 1 else self._held
            write_text(self.path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


@contextmanager
def sink(path: Path | None, inputs: Sequence[Path] = (), *, to_stdout: bool) -> Iterator[Sink]:
    """Open a Sink and close it in any case, so that a later error loses nothing; refuses to write over an input."""
    if path is not None and path.exists() and any(each.exists() and path.samefile(each) for each in inputs):
        raise FrostlineError(f"--out {path} is one of the inputs, which would be lost; name another file.")
    opened = Sink(path, sys.stdout if to_stdout else None)
    try:
        yield opened
    finally:
        opened.close()


def _line(document: Any) -> str:
    return json.dumps(plain(document), ensure_ascii=False, allow_nan=False) + "\n"


def _open(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("w", encoding="utf-8", newline="\n")
    except OSError as error:
        raise FrostlineError(
            f"cannot write {path}: {error.strerror or error}. Free some space or pass another file."
        ) from error
