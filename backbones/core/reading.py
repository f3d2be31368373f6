"""Files that users bring: only regular ones are opened, and no more is read of them than the limits allow."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import stat
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from pydantic import Field

from backbones.core.errors import FrostlineError
from backbones.core.settings import Settings, parse_pairs

VARIABLE = "FROSTLINE_LIMITS"
PACKINGS: dict[str, Callable[[Any], Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}


class Limits(Settings):
    """How much is read, so that a small file cannot take all memory.

    Set for a whole program by ``FROSTLINE_LIMITS=pixels=100000000,text=10000000``, for a block of code by ``limited``.

    Args:
        pixels: of one image, width times height; seen in its header, before anything is decoded.
        text: characters of one text that is to be classified or learned from.
        file: bytes of a file that is read as a whole, such as JSON or TOML.
        nesting: levels of lists and tables in JSON or TOML.
        unpacked: bytes that any packed file may unpack to.
        growth: times its own size that a packed file may unpack to beyond that.
    """

    pixels: int = Field(default=2**26, ge=1, le=178_956_970)  # where Pillow itself gives up
    text: int = Field(default=2**22, ge=1)
    file: int = Field(default=2**29, ge=1)
    nesting: int = Field(default=64, ge=1, le=500)
    unpacked: int = Field(default=2**25, ge=1)
    growth: int = Field(default=200, ge=1)


_CHOSEN: ContextVar[Limits | None] = ContextVar("limits", default=None)


def limits() -> Limits:
    """Return the limits in force.

    Raises:
        FrostlineError: the environment variable names none of them, or a value that cannot be.
    """
    chosen = _CHOSEN.get()
    return _stated(os.environ.get(VARIABLE, "")) if chosen is None else chosen


@cache
def _stated(words: str) -> Limits:
    return Limits.parse(parse_pairs(words.split(","), VARIABLE) if words.strip() else {}, VARIABLE)


@contextmanager
def limited(**values: int) -> Iterator[Limits]:
    """Put other limits in force for a block of code; those that are not named stay."""
    token = _CHOSEN.set(Limits.parse({**limits().model_dump(), **values}, "limits"))
    try:
        yield limits()
    finally:
        _CHOSEN.reset(token)


def beyond(what: str, limit: str) -> FrostlineError:
    """Make the error for ``what``, a clause that says how much there is, more than the limit of that name."""
    most: int = getattr(limits(), limit)
    return FrostlineError(f"{what}, more than the limit of {most:,}; {raising(limit)}.")


def raising(limit: str) -> str:
    """Say how a limit is raised."""
    return f"set {VARIABLE}={limit}=NUMBER to allow more"


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuse what would hang or never end when it is read.

    Raises:
        FrostlineError: a named pipe, a socket or a device. OSError: as ``os.stat``. ValueError: a null byte in a name.
    """
    mode = os.stat(path).st_mode  # noqa: PTH116 (called for each of 60,000 images)
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return
    kind = "a named pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
    raise FrostlineError(
        f"{os.fspath(path)} is {kind}, not a regular file; write what it gives to a file and pass that."
    )


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a regular file for reading bytes.

    Raises:
        FrostlineError: see ``check_regular``. OSError: as ``open``. ValueError: a null byte in the name.
    """
    check_regular(path)
    # Without blocking: what turns into a pipe in between reads as empty.
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | _NONBLOCK))


_NONBLOCK = getattr(os, "O_NONBLOCK", 0)


def read_whole(path: str | os.PathLike[str], packing: str = "") -> bytes:
    """Return the bytes of a regular file, of a packed one what it holds.

    Raises:
        FrostlineError: no regular file, or more than the limits ``file``, ``unpacked`` and ``growth`` allow.
        OSError, ValueError: as ``open``. EOFError, lzma.LZMAError, zlib.error: damaged packing.
    """
    most = limits().file
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        content = unpacked(stream, packing, os.fspath(path)).read(most + 1) if size <= most else b""
    if size > most or len(content) > most:
        raise beyond(f"{os.fspath(path)} has {max(size, len(content)):,} bytes", "file")
    return content


def read_text(path: Path | str, packing: str = "") -> str:
    """Return the UTF-8 text of a regular file, without a byte order mark.

    Raises:
        FrostlineError: see ``read_whole``. OSError, UnicodeDecodeError: as ``path.read_text``.
    """
    path = Path(path)
    return read_whole(path, packing).decode("utf-8-sig")


def parse_json(text: str | bytes, **how: Any) -> Any:
    """Return what JSON says; ``how``: as ``json.loads`` takes it.

    Raises:
        ValueError: as ``json.loads``, and for nesting beyond the limit.
    """
    try:
        return _flat(json.loads(text, **how))
    except RecursionError:
        raise ValueError(_TOO_DEEP.format(limits().nesting)) from None


def read_json(path: Path | str) -> Any:
    """Return what a file of JSON in UTF-8 says.

    Raises:
        FrostlineError: see ``read_whole``. OSError, ValueError: as ``json.loads(path.read_text())``, and for nesting.
    """
    path = Path(path)
    return parse_json(read_text(path))


def parse_toml(text: str) -> dict[str, Any]:
    """Return what TOML says.

    Raises:
        ValueError: as ``tomllib.loads``, and for nesting beyond the limit.
    """
    try:
        return cast("dict[str, Any]", _flat(tomllib.loads(text)))
    except RecursionError:
        raise ValueError(_TOO_DEEP.format(limits().nesting)) from None


def read_toml(path: Path | str) -> dict[str, Any]:
    """Return what a file of TOML says.

    Raises:
        FrostlineError: see ``read_whole``. OSError, ValueError: as ``tomllib.load``, and for nesting.
    """
    path = Path(path)
    return parse_toml(read_text(path))


_TOO_DEEP = f"it is nested too deeply, beyond the limit of {{}} levels; flatten it, or {raising('nesting')}"


def _flat(value: Any) -> Any:
    """Return ``value`` unless it is nested too deeply, level by level: what walks it later may then call itself."""
    most = limits().nesting
    level = [value]
    for _ in range(most):
        level = [
            child
            for holder in level
            if isinstance(holder, (dict, list))
            for child in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return value
    raise ValueError(_TOO_DEEP.format(most))


def check_text(text: str, where: str) -> str:
    """Return ``text``; raises FrostlineError, with ``where`` it stands, for one beyond the limit ``text``."""
    if len(text) > limits().text:
        raise beyond(f"{where} has a text of {len(text):,} characters", "text")
    return text


def passed_over(paths: Sequence[str], reason: str) -> tuple[str, ...]:
    """Return a remark that counts files which are not used, by suffix, and names the first of each; none of none.

    Args:
        paths: of the files.
        reason: why, such as ``"are no images by their suffix"``.
    """
    if not paths:
        return ()
    kinds: dict[str, list[str]] = {}
    for path in paths:
        kinds.setdefault(Path(path).suffix.lower() or "without a suffix", []).append(Path(path).name)
    several = sorted(kinds.items(), key=lambda kind: (-len(kind[1]), kind[0]))
    parts = [f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' * (len(names) > 3)})" for kind, names in several]
    more = f" and {len(parts) - 6} more kinds" if len(parts) > 6 else ""
    return (f"{len(paths)} files were passed over, as they {reason}: {', '.join(parts[:6])}{more}",)


def unpacked(raw: BinaryIO, packing: str, where: str) -> BinaryIO:
    """Return a reader of what a packed file holds, which ends in an error once it unpacks to too much.

    Args:
        raw: the packed file, open; closing it is all the closing that is needed.
        packing: a suffix of ``PACKINGS``, or nothing: then ``raw`` itself is returned.
        where: what to call it in messages.

    Raises:
        FrostlineError: while it is read, see the limits ``unpacked`` and ``growth``.
    """
    if not packing:
        return raw
    return measured(cast("IO[bytes]", PACKINGS[packing](raw)), os.fstat(raw.fileno()).st_size, where)


def measured(inner: IO[bytes], packed: int, where: str) -> BinaryIO:
    """Return a reader of ``inner``, unpacked from ``packed`` bytes; FrostlineError once it grows too much."""
    return cast(BinaryIO, io.BufferedReader(_Measured(inner, packed, where), 2**16))


class _Measured(io.RawIOBase):
    """Counts what is unpacked."""

    def __init__(self, inner: IO[bytes], packed: int, where: str) -> None:
        self._inner, self._packed, self._where = inner, packed, where
        self._most = max(limits().unpacked, limits().growth * packed)
        self._done = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._inner.read(len(buffer))
        self._done += len(content)
        if self._done > self._most:
            raise FrostlineError(
                f"{self._where} has {self._packed:,} bytes and unpacks to more than {self._most:,}: it may be made to "
                f"fill the memory. If it is not, {raising('growth')} times its size."
            )
        buffer[: len(content)] = content
        return len(content)
