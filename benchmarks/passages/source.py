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
NEWLINE = b"\n"
_BOM = b"\xef\xbb\xbf"


class ReadLimits(Settings):
    """How much is read at once, in bytes.

    Lines of JSON Lines are read one at a time. Any other file is held as text, and its array decoded one element at
    a time. While a record is read it costs 30 to 80 times its bytes, and 330 times at worst (thousands of DyGIE++
    triggers without a word between them); text costs at most 8 times its bytes, and decoding one value 30 times. With
    the defaults a reader stays below 2 GiB whatever it is given.

    Args:
        record: greatest length of one record.
        file: greatest length of a file that is not JSON Lines, and of a raw text.
    """

    record: int = Field(default=4 * 2**20, ge=1)
    file: int = Field(default=32 * 2**20, ge=1)


Record = tuple[str, Any] | FrostlineError
"""Where a value stands and the value, or what is wrong with it."""


def decode_text(content: bytes, where: str, unit: str = "") -> str:
    """Decode UTF-8, with or without a byte order mark.

    Args:
        content: the bytes; where: file, for messages; unit: what they are, if not the whole file.

    Raises:
        FrostlineError: names the first bad byte, its offset and its line, or its offset in the unit.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FrostlineError(f"{where}: expected UTF-8, found UTF-16 (its byte order mark). Save the file as UTF-8.")
    try:
        return content.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        place = f"in the {unit}" if unit else f"(line {content.count(NEWLINE, 0, error.start) + 1})"
        raise FrostlineError(
            f"{where}: expected UTF-8, found the byte 0x{content[error.start]:02x} at offset {error.start} "
            f"{place}: {error.reason}. Save the file as UTF-8."
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


def _decode(text: str, at: int, name: str, where: str, line: int = 1) -> tuple[Any, int]:
    """Decode the value that starts at ``at``; returns it and where it ends.

    Args:
        name: of the file; where: file and record, for messages without a line of their own.
        line: number of the first line of ``text`` in the file.
    """
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise _malformed(name, error.msg, error.lineno + line - 1, error.colno) from None
    except RecursionError:
        raise FrostlineError(f"{where}: malformed JSON: nested too deeply. Flatten it.") from None
    except (FrostlineError, ValueError) as error:  # ValueError: an integer of thousands of digits
        raise FrostlineError(f"{where}: malformed JSON: {error}.") from None


def _malformed(where: str, what: str, line: int, column: int) -> FrostlineError:
    return FrostlineError(f"{where}: malformed JSON at line {line}, column {column}: {what}.")


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found is not None else at


def _line_value(line: bytes, number: int, name: str) -> Any:
    where = f"{name}, line {number}"
    text = decode_text(line.rstrip(b"\r\n"), where, "line")
    value, end = _decode(text, _skip(text, 0), name, where, number)
    if _skip(text, end) < len(text):
        comma = not text[end:].strip(" \t,")
        what = (
            "a comma at the line's end, where JSON Lines has none; take it out"
            if comma
            else "a second value on the line"
        )
        raise _malformed(name, what, number, _skip(text, end) + 1)
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


def _whole(text: str, name: str, limits: ReadLimits) -> Iterator[Record]:
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
        start = at
        value, at = _decode(text, at, name, where)
        long = at - start > limits.record
        at = _skip(text, at)
        place = where if array or number > 1 or at < len(text) else name
        yield too_long(place, limits.record) if long else (place, value)
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
    found = _lines(handle, limits.record)
    number, first = next(found, (0, b""))
    if number == 0:
        yield FrostlineError(f"{name}: empty: expected a passage, found no text.")
        return
    second = None
    if not lines and first is not None and _one_object(first):
        lone = _line(number, first, name, limits)
        if isinstance(lone, FrostlineError):  # the first of many lines, or the first line of one object
            second = next(found, None)
            lines = second is not None and second[1] is not None and second[1].lstrip().startswith(b"{")
        else:
            yield lone
            lines, first = True, b""
    if lines or first is None:
        head = [(number, first)] if first != b"" else []
        for at, line in (*head, *([second] if second is not None else [])):
            yield _line(at, line, name, limits)
        for at, line in found:
            yield _line(at, line, name, limits)
        return
    try:
        yield from _whole(_rest(handle, number, first, second, name, limits), name, limits)
    except FrostlineError as error:
        yield error


def _one_object(line: bytes) -> bool:
    bare = line.strip()
    return bare.startswith(b"{") and bare.endswith(b"}")


def _line(number: int, line: bytes | None, name: str, limits: ReadLimits) -> Record:
    try:
        if line is None:
            raise too_long(f"{name}, line {number}", limits.record)
        return f"{name}, line {number}", _line_value(line, number, name)
    except FrostlineError as error:
        return error


def _rest(
    handle: BinaryIO, number: int, first: bytes, second: tuple[int, bytes | None] | None, name: str, limits: ReadLimits
) -> str:
    """Return the whole text; lines that were blank come back as blank, so that positions hold."""
    last, line = second if second is not None else (number, b"")
    if last > limits.file or line is None:
        raise too_long(name, limits.record)
    head = b"\n" * (number - 1) + first + b"\n" * (last - number - 1) + line
    content = head + handle.read(max(0, limits.file + 1 - len(head)))
    if len(content) > limits.file:
        raise too_long(name, limits.file)
    return decode_text(content, name)


def too_long(where: str, limit: int) -> FrostlineError:
    """Make the error for a record or a file beyond its limit."""
    return FrostlineError(
        f"{where}: too long: expected at most {limit} bytes, found more. Write one passage per line (JSON Lines) and "
        "split long documents, or pass ReadLimits(record=..., file=...) with more."
    )
