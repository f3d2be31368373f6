"""Files of labelled text: CSV, TSV, JSON Lines and JSON, plain or packed, as rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from backbones.core.errors import FrostlineError
from backbones.core.reading import parse_json
from backbones.core.samples import Progress, silent
from benchmarks.text_lines import PACKINGS, lines_of
from benchmarks.text_rows import TEST, TRAIN, Naming, Rows, choose_parts
from benchmarks.text_tables import judge_quotes, table_rows

__all__ = ["SUFFIXES", "kind_of", "read_divided", "read_whole"]

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json")
_SHAPES = "objects with a text and a label, or pairs [text, label]"
_WHOLE = ""  # the part of rows that say of no split
_JSON_WORDS = {"dict": "an object", "list": "a list", "str": "a string", "bool": "a truth value", "NoneType": "null"}


@dataclass(frozen=True)
class _Job:
    """A file to read.

    Attributes:
        path: where it is.
        kind: suffix of its format.
        packing: suffix of its packing, or nothing.
        naming: what its columns and parts are called.
        divided: whether it holds both training and test rows.
        progress: told of the bytes read.
    """

    path: Path
    kind: str
    packing: str
    naming: Naming
    divided: bool
    progress: Progress


def kind_of(name: str) -> tuple[str, str, str] | None:
    """Split a file name into stem, format and packing: ``("train", ".json", ".xz")``; None = it is of no format."""
    path = Path(name)
    packing = path.suffix.lower() if path.suffix.lower() in PACKINGS else ""
    inner = Path(path.stem) if packing else path
    kind = inner.suffix.lower()
    return (inner.stem, kind, packing) if kind in SUFFIXES else None


def read_whole(path: Path | str, naming: Naming, progress: Progress = silent, like: str | None = None) -> Rows:
    """Read a file that holds one part; a column that would divide it is not looked at.

    Args:
        path: file.
        naming: what its columns are called.
        progress: told of the bytes read.
        like: a file name that says the format; None = the file's own.

    Raises:
        FrostlineError: as ``read_divided``, but for the division.
    """
    path = Path(path)
    parts = _read(path, naming, progress, like, divided=False)
    return parts.get(_WHOLE, Rows(str(path), "row"))


def read_divided(
    path: Path | str, naming: Naming, progress: Progress = silent, like: str | None = None
) -> tuple[Rows, Rows]:
    """Read a file that holds training and test rows: a table with a split column, or a JSON object of lists.

    The delimiter of CSV is whichever of comma, semicolon and tab its header has most of. Blank lines are passed over,
    and so are further parts, such as ``val`` beside ``test``.

    Args:
        path: file.
        naming: what its columns and parts are called.
        progress: told of the bytes read.
        like: a file name that says the format; None = the file's own.

    Returns:
        Training rows and test rows.

    Raises:
        FrostlineError: a file that cannot be read or is not divided; missing or ambiguous columns; a row without text,
            label or split, by its line (of CSV the first, with the header counted) or its number.
    """
    path = Path(path)
    parts = _read(path, naming, progress, like, divided=True)
    if not parts or list(parts) == [_WHOLE]:
        raise FrostlineError(
            f"{path} has {'no division into training and test texts' if parts else 'no rows'}. Pass a folder with "
            "train.csv and test.csv (or .tsv, .jsonl, .json), give the rows a column split with train or test, or "
            'write a JSON object {"train": [...], "test": [...]}.'
        )
    if _WHOLE in parts:
        raise FrostlineError(f"{parts[_WHOLE].place(0)} has no split, as other rows have; write train or test.")
    train, test = choose_parts(parts, naming, str(path))
    known = (*TRAIN, *TEST)
    for name, rows in parts.items():
        if name not in (train, test) and name.casefold() not in known:
            raise FrostlineError(
                f"{rows.place(0)} has the split {name!r}, which is none of {', '.join(known)}; mend it, or remove rows "
                "that are for neither training nor test."
            )
    unused = {name: len(rows) for name, rows in parts.items() if name not in (train, test)}
    return parts[train].noting(_unused(path, unused)), parts[test]


def _unused(path: Path, parts: dict[str, int]) -> tuple[str, ...]:
    if not parts:
        return ()
    named = ", ".join(f"{name} ({count:,} rows)" for name, count in list(parts.items())[:8])
    return (f"{path.name} has parts that are not used: {named}{' and others' if len(parts) > 8 else ''}",)


def _read(path: Path, naming: Naming, progress: Progress, like: str | None, *, divided: bool) -> dict[str, Rows]:
    found = kind_of(like or path.name)
    if found is None:
        raise FrostlineError(
            f"{path} is no file of texts by its name; it must end in {', '.join(SUFFIXES)}, or in one of them with "
            f"{' or '.join(PACKINGS)} behind it."
        )
    _, kind, packing = found
    return _READERS[kind](_Job(path, kind, packing, naming, divided, progress))


def _table(job: _Job) -> dict[str, Rows]:
    """Read CSV or TSV."""
    parts: dict[str, Rows] = {}
    with lines_of(job.path, job.packing, job.progress) as lines:
        skipped, first = _first_line(lines)
        if not first:
            return parts
        delimiter = _delimiter(job.kind, first)
        quoted, note = _quoting(job, delimiter)
        table = table_rows(chain([first], lines), delimiter, quoted=quoted)
        try:
            header = next(table).fields
            text, label, split = _positions(job, header, str(job.path))
            for number, row, _ in table:
                line = skipped + number
                if len(row) != len(header):
                    if not "".join(row).strip() and len(row) < 2:
                        continue
                    row = _widened(job, row, len(header), line, delimiter)
                part = _WHOLE if split is None else (row[split] or "").strip()
                if part not in parts:
                    parts[part] = Rows(str(job.path), "line", notes=note)
                parts[part].add(line, row[text], row[label])
        except ValueError as error:
            raise FrostlineError(
                f"{job.path}, line {skipped + error.args[1]} cannot be taken apart: {error.args[0]}. A field that "
                "begins with a double quote must end with one, and quotes inside it must be doubled."
            ) from error
    return parts


def _quoting(job: _Job, delimiter: str) -> tuple[bool, tuple[str, ...]]:
    """Return whether quotes around fields are taken off, and a remark where that had to be found out."""
    if delimiter != "\t":
        return True, ()
    with lines_of(job.path, job.packing) as lines:
        judged = judge_quotes(lines, delimiter)
    if not judged.line:
        return True, ()
    where = f"{job.path.name}, line {judged.line}"
    if judged.off:
        return True, (f"{where}: quotes around fields are taken off, as every field that may have them has them",)
    return False, (f"{where}: quotes are part of the texts, as they do not enclose fields throughout the file",)


def _first_line(lines: Iterator[str]) -> tuple[int, str]:
    """Return the number of blank lines at the top and the line after them, empty if there is none."""
    for skipped, line in enumerate(lines):
        if line.strip():
            return skipped, line
    return 0, ""


def _delimiter(kind: str, header: str) -> str:
    return "\t" if kind == ".tsv" else max(",;\t", key=header.count)


def _positions(job: _Job, names: list[str], where: str) -> tuple[int, int, int | None]:
    """Return where text, label and split stand among the columns."""
    naming = job.naming
    split = naming.split_column(names, where) if job.divided else None
    return naming.column("text", names, where), naming.column("label", names, where), split


def _widened(job: _Job, row: list[str], width: int, line: int, delimiter: str) -> list[Any]:
    """Return a short row as wide as the header, with None for what it lacks."""
    if len(row) > width:
        raise FrostlineError(
            f"{job.path}, line {line} has {len(row)} fields but the header has {width}; put a text that holds "
            f"{delimiter!r} between double quotes."
        )
    return [*row, *[None] * (width - len(row))]


def _json_lines(job: _Job) -> dict[str, Rows]:
    with lines_of(job.path, job.packing, job.progress) as lines:
        numbered = ((number, line.rstrip("\r\n")) for number, line in enumerate(lines, start=1))
        items = ((number, _parsed(line, job.path, number)) for number, line in numbered if line.strip())
        return _collect(job, items, str(job.path), "line")


def _json(job: _Job) -> dict[str, Rows]:
    with lines_of(job.path, job.packing, job.progress) as lines:
        content = _parsed("".join(lines), job.path)
    if isinstance(content, dict) and job.divided:
        lists = {name: value for name, value in content.items() if isinstance(value, list)}
        inner = replace(job, divided=False)
        parts = {}
        chosen = choose_parts(lists, job.naming, str(job.path))
        note = _unused(job.path, {name: len(rows) for name, rows in lists.items() if name not in chosen})
        for name in chosen:
            source = f"{job.path}, {name}"
            found = _collect(inner, enumerate(lists[name], start=1), source, "row")
            parts[name] = found.get(_WHOLE, Rows(source, "row")).noting(note)
        return parts
    if not isinstance(content, list):
        raise FrostlineError(f"{job.path} holds {_json_word(content)}; it must hold a list of {_SHAPES}.")
    return _collect(job, enumerate(content, start=1), str(job.path), "row")


def _collect(job: _Job, items: Iterable[tuple[int, Any]], source: str, unit: str) -> dict[str, Rows]:
    """Sort JSON rows into their parts; the first object says which keys hold text, label and split."""
    parts: dict[str, Rows] = {}
    keys: tuple[str, str, str | None] | None = None
    for number, item in items:
        if isinstance(item, dict):
            if keys is None:
                names = list(item)
                at = _positions(job, names, f"{source}, {unit} {number}")
                keys = names[at[0]], names[at[1]], None if at[2] is None else names[at[2]]
            row = item.get(keys[0]), item.get(keys[1])
            split = None if keys[2] is None else item.get(keys[2])
        elif isinstance(item, list) and len(item) == 2:
            row, split = (item[0], item[1]), None
        else:
            shown = f"a list of {len(item)}" if isinstance(item, list) else _json_word(item)
            raise FrostlineError(f"{source}, {unit} {number} is {shown}; rows must be {_SHAPES}.")
        part = _WHOLE if split is None else str(split).strip()
        if part not in parts:
            parts[part] = Rows(source, unit)
        parts[part].add(number, *row)
    return parts


def _parsed(text: str, path: Path, line: int | None = None) -> Any:
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno if line is None else line}, column {error.colno}"
        raise FrostlineError(f"{path}, {place} is no JSON: {error.msg}. Mend it or write the file again.") from error
    except ValueError as error:
        place = "" if line is None else f", line {line}"
        raise FrostlineError(f"{path}{place} holds JSON that no set of texts needs: {error}.") from error


def _json_word(value: object) -> str:
    return _JSON_WORDS.get(type(value).__name__, "a number")


_READERS: dict[str, Callable[[_Job], dict[str, Rows]]] = {
    ".csv": _table,
    ".tsv": _table,
    ".jsonl": _json_lines,
    ".json": _json,
}
