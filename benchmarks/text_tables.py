"""Rows of tables: fields between delimiters, of any length, and whether quotes around them are data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ["Quoting", "Row", "judge_quotes", "table_rows"]

BARE, QUOTED, NEEDED, SPANNING = range(4)


class Row(NamedTuple):
    """A row: the line that it begins at, its fields, and how each was quoted: BARE, QUOTED without need, and so on."""

    line: int
    fields: list[str]
    marks: list[int]


class Quoting(NamedTuple):
    """Whether quotes around fields are taken off, and the first line with one, 0 where there is none."""

    off: bool
    line: int


def table_rows(lines: Iterable[str], delimiter: str, *, quoted: bool = True) -> Iterator[Row]:
    """Divide lines into rows of fields (RFC 4180), without the bound on a field's length of Python's own reader.

    Args:
        lines: each with the end that it has.
        delimiter: one character.
        quoted: whether a field that begins with a double quote ends with one, holds doubled quotes for single ones, and
            may hold delimiters and line ends; otherwise quotes are characters as any other.

    Raises:
        ValueError: a quote that does not end, or text behind one that does; what, and the line.
    """
    source = iter(lines)
    number = 0
    for line in source:
        number += 1
        if not quoted or '"' not in line:
            fields = line.rstrip("\r\n").split(delimiter)
            yield Row(number, fields, [BARE] * len(fields))
            continue
        row = _Record(line, number, source)
        yield row.read(delimiter)
        number = row.number


class _Record:
    """A row that is being read, over as many lines as its quotes want."""

    def __init__(self, line: str, number: int, source: Iterator[str]) -> None:
        self.line, self.number, self._source = line, number, source
        self._at = 0

    def read(self, delimiter: str) -> Row:
        found = Row(self.number, [], [])
        while True:
            if self.line.startswith('"', self._at):
                text, mark = self._inside()
                mark = NEEDED if mark == QUOTED and delimiter in text else mark
                more = self.line.startswith(delimiter, self._at)
                if not more and self.line[self._at :].strip("\r\n"):
                    raise ValueError("text stands behind a closing quote", self.number)
                self._at += more
            else:
                end = self.line.find(delimiter, self._at)
                more = end >= 0
                text, mark = self.line[self._at : end if more else None].rstrip("" if more else "\r\n"), BARE
                self._at = end + 1
            found.fields.append(text)
            found.marks.append(mark)
            if not more:
                return found

    def _inside(self) -> tuple[str, int]:
        parts: list[str] = []
        begun, mark = self.number, QUOTED
        at = self._at + 1
        while True:
            end = self.line.find('"', at)
            if end < 0:
                parts.append(self.line[at:])
                self.line, mark, at = next(self._source, ""), SPANNING, 0
                self.number += 1
                if not self.line:
                    raise ValueError("a quote does not end", begun)
            elif self.line.startswith('"', end + 1):
                parts.append(self.line[at : end + 1])
                mark, at = max(mark, NEEDED), end + 2
            else:
                self._at = end + 1
                return "".join([*parts, self.line[at:end]]), mark


def judge_quotes(lines: Iterable[str], delimiter: str) -> Quoting:
    """Tell whether a table that need not quote at all, such as one divided by tabs, does so throughout.

    It does if every quote ends, all rows are as wide as the header, no field without quotes around it holds one, and in
    each column quotes stand around every field or around those alone that need them. Where fields would go over several
    lines, but every line by itself is a whole row, quotes are data too: two stray ones would swallow the rows between.
    """
    first, width = 0, 0
    bare: set[int] = set()
    needless: set[int] = set()
    widths: set[int] = set()
    spanning = stray = False

    def watched() -> Iterator[str]:
        for line in lines:
            if line.strip():
                widths.add(line.count(delimiter) + 1)
            yield line

    try:
        for row in table_rows(watched(), delimiter):
            if len(row.fields) == 1 and not row.fields[0].strip():
                continue
            first = first or (row.line if any(row.marks) else 0)
            if width and len(row.fields) != width:
                return Quoting(False, first)
            for column, mark in enumerate(row.marks):
                spanning = spanning or mark == SPANNING
                stray = stray or (mark == BARE and '"' in row.fields[column])
                if width and mark in (BARE, QUOTED):
                    (bare if mark == BARE else needless).add(column)
            width = len(row.fields)
    except ValueError as error:
        return Quoting(False, first or int(error.args[1]))
    swallowed = spanning and widths == {width}
    return Quoting(first > 0 and not (needless & bare or stray or swallowed), first)
