"""From bytes to JSON values: lines, arrays and single objects, with every way in which they can be broken."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from pydantic import Field

from backbones.core.errors import FrostlineError
from backbones.core.settings import Settings

_SPACE = re.compile(r"[ \t\n\r]*")
_BOM = b"\xef\xbb\xbf"


class ReadLimits(Settings):
    """How much is held in memory at once.

    A record of n bytes costs at most about 60 n bytes while it is read (see ``tests/fuzz``), so that with the default
    a reader stays below 2 GiB whatever it is given. JSON Lines are read one at a time; other JSON is read whole and
    its array decoded one element at a time.

    Args:
        bytes: greatest length of a line of JSON Lines, and of a file of any other kind.
    """

    bytes: int = Field(default=32 * 2**20, ge=1)


Record = tuple[str, Any] | FrostlineError
"""Where a value stands and the value, or what is wrong with it."""


def decode_text(content: bytes, where: str) -> str:
    """Decode UTF-8, with or without a byte order mark; raises FrostlineError with the offset of the first bad byte."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FrostlineError(f"{where}: expected UTF-8, found UTF-16 (its byte order mark). Save the file as UTF-8.")
    try:
        return content.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FrostlineError(
            f"{where}: expected UTF-8, found the byte 0x{content[error.start]:02x} at offset {error.start} "
            f"(line {line}): {error.reason}. Save the file as UTF-8."
        ) from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        again = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise FrostlineError(f"the key {again[:60]!a} stands twice in one object; keep one")
    return found


def _constant(name: str) -> Any:
    raise FrostlineError(f"{name} is no JSON; write a finite number or null")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant)


def _decode(text: str, at: int, where: str) -> tuple[Any, int]:
    """Decode the value that starts at ``at``; returns it and where it ends."""
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise _malformed(where, error.msg, error.lineno, error.colno) from None
    except RecursionError:
        raise FrostlineError(f"{where}: malformed JSON: nested too deeply. Flatten it.") from None
    except FrostlineError as error:
        raise FrostlineError(f"{where}: malformed JSON: {error}.") from None
    except ValueError as error:  # an integer of thousands of digits
        raise FrostlineError(f"{where}: malformed JSON: {error}.") from None


def _malformed(where: str, what: str, line: int, column: int) -> FrostlineError:
    return FrostlineError(f"{where}: malformed JSON at line {line}, column {column}: {what}.")


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found is not None else at


def _line_value(line: bytes, number: int, name: str) -> Any:
    where = f"{name}, line {number}"
    text = decode_text(line, where)
    try:
        value, end = _decode(text, _skip(text, 0), name)
    except FrostlineError as error:  # the line of the file, not of the text that was decoded
        raise FrostlineError(re.sub(r"at line 1, ", f"at line {number}, ", str(error), count=1)) from None
    if _skip(text, end) < len(text):
        raise _malformed(name, "a second value on the line", number, end + 1)
    return value


def _lines(handle: BinaryIO, limit: int) -> Iterator[tuple[int, bytes | None]]:
    """Yield number and bytes of each line that is not blank; None for a line that is longer than ``limit``."""
    number = 0
    while line := handle.readline(limit + 1):
        number += 1
        if len(line) > limit and not line.endswith(b"\n"):
            while (rest := handle.readline(2**16)) and not rest.endswith(b"\n"):
                pass
            yield number, None
        elif line.removeprefix(_BOM).strip():
            yield number, line.removeprefix(_BOM) if number == 1 else line


def _whole(text: str, name: str) -> Iterator[Record]:
    """Yield the values of a text: the elements of an array, or objects one after the other."""
    at = _skip(text, 0)
    array = text.startswith("[", at)
    number = 0
    while at < len(text):
        if array:
            at = _skip(text, at + 1)  # past the bracket or the comma
            if number == 0 and text.startswith("]", at):
                break
        number += 1
        where = f"{name}, record {number}"
        value, at = _decode(text, at, name)
        at = _skip(text, at)
        yield where if array or number > 1 or at < len(text) else name, value
        if array and not text.startswith(",", at):
            if not text.startswith("]", at):
                raise _malformed(name, "expected ',' or ']'", *_line_column(text, at))
            break
    if array and (end := _skip(text, at + 1)) < len(text):
        raise _malformed(name, "something after the array", *_line_column(text, end))
    if number == 0:
        raise FrostlineError(f"{name}: empty: expected at least one record, found an empty array.")


def _line_column(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def records(handle: BinaryIO, name: str, limits: ReadLimits, lines: bool = False) -> Iterator[Record]:
    """Yield the JSON values of a file, or what is wrong with one; nothing follows an error that cannot be passed over.

    Args:
        handle: open in binary mode; name: of the file, for messages; limits: see ReadLimits.
        lines: whether it is known to be JSON Lines; if not, its first two lines tell.
    """
    found = _lines(handle, limits.bytes)
    number, first = next(found, (0, b""))
    if number == 0:
        yield FrostlineError(f"{name}: empty: expected a passage, found no text.")
        return
    second = None
    if not lines and first is not None and _one_object(first):
        try:
            yield f"{name}, line {number}", _line_value(first, number, name)
            lines, first = True, b""
        except FrostlineError:
            second = next(found, None)
            lines = second is not None and second[1] is not None and second[1].lstrip().startswith(b"{")
    if lines or first is None:
        head = [(number, first)] if first != b"" else []
        for at, line in (*head, *([second] if second is not None else [])):
            yield _line(at, line, name, limits)
        for at, line in found:
            yield _line(at, line, name, limits)
        return
    try:
        yield from _whole(_rest(handle, number, first, second, name, limits), name)
    except FrostlineError as error:
        yield error


def _one_object(line: bytes) -> bool:
    bare = line.strip()
    return bare.startswith(b"{") and bare.endswith(b"}")


def _line(number: int, line: bytes | None, name: str, limits: ReadLimits) -> Record:
    try:
        if line is None:
            raise too_long(f"{name}, line {number}", limits)
        return f"{name}, line {number}", _line_value(line, number, name)
    except FrostlineError as error:
        return error


def _rest(
    handle: BinaryIO, number: int, first: bytes, second: tuple[int, bytes | None] | None, name: str, limits: ReadLimits
) -> str:
    """Return the whole text; lines that were blank come back as blank, so that positions hold."""
    head = b"\n" * (number - 1) + first
    if second is not None:
        head += b"\n" * (second[0] - number - 1) + (second[1] or b"\n" * (limits.bytes + 1))
    content = head + handle.read(max(0, limits.bytes + 1 - len(head)))
    if len(content) > limits.bytes:
        raise too_long(name, limits)
    return decode_text(content, name)


def too_long(where: str, limits: ReadLimits) -> FrostlineError:
    """Make the error for a line or file beyond the limit."""
    return FrostlineError(
        f"{where}: too long: expected at most {limits.bytes} bytes, found more. Write one passage per line "
        "(JSON Lines), or pass ReadLimits(bytes=...) with more."
    )
