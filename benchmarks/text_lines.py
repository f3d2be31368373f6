"""Lines of UTF-8 files, plain or packed with xz or gzip; what cannot be read is named."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from backbones.core.errors import FrostlineError
from backbones.core.reading import PACKINGS, limits, open_regular, raising, unpacked
from backbones.core.samples import Progress, silent

__all__ = ["PACKINGS", "lines_of"]

_TOLD_EVERY = 10_000


@contextmanager
def lines_of(path: Path, packing: str = "", progress: Progress = silent) -> Iterator[Iterator[str]]:
    """Open a file as an iterator of lines, each with the end that it has; a byte order mark is dropped.

    Args:
        path: file.
        packing: a suffix of ``PACKINGS``, or nothing.
        progress: told of the bytes read, at the beginning, at every 10,000th line and at the end.

    Raises:
        FrostlineError: within the ``with`` block too: no permission, not UTF-8 (the line is named), damaged packing.
    """
    try:
        size, phase = path.stat().st_size, f"read {path.name}"
        with (
            open_regular(path) as raw,
            TextIOWrapper(unpacked(raw, packing, str(path)), "utf-8-sig", newline="") as text,
        ):

            def told() -> Iterator[str]:
                progress(phase, 0, size)
                for number, line in enumerate(_lines(text, path), start=1):
                    if number % _TOLD_EVERY == 0 and not raw.closed:
                        progress(phase, raw.tell(), size)
                    yield line
                progress(phase, size, size)

            yield told()
    except UnicodeDecodeError as error:
        raise FrostlineError(f"{path} is not UTF-8{_bad_line(path, packing)}; save it as UTF-8.") from error
    except (lzma.LZMAError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FrostlineError(f"{path} is cut short or damaged ({error}); copy it again.") from error
    except OSError as error:
        raise FrostlineError(f"cannot read {path}: {error.strerror or error}. Make it readable.") from error


def _lines(text: TextIOWrapper, path: Path) -> Iterator[str]:
    """Yield lines, none of which may fill the memory."""
    most = limits().file
    number = 0
    while line := text.readline(most):
        number += 1
        if len(line) == most:
            raise FrostlineError(
                f"{path}, line {number} has {most:,} characters or more, beyond the limit; {raising('file')}."
            )
        yield line


def _bad_line(path: Path, packing: str) -> str:
    """Say where a file stops to be UTF-8; what the decoder itself says counts from the start of a block."""
    with open_regular(path) as raw:
        content = unpacked(raw, packing, str(path)).read(limits().file)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return " but UTF-16, by its first bytes"
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return f" (line {line}, byte 0x{content[error.start]:02x})"
    return ""
