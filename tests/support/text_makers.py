"""Writers of small text sets in the layouts that the readers know."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

Row = tuple[str, str]


def csv_bytes(
    rows: Iterable[Sequence[object]], header: Sequence[str] = ("text", "label"), delimiter: str = ","
) -> bytes:
    """Return a table as the csv module writes it."""
    stream = io.StringIO(newline="")
    table = csv.writer(stream, delimiter=delimiter)
    table.writerow(header)
    table.writerows(rows)
    return stream.getvalue().encode()


def jsonl_bytes(rows: Iterable[Row], keys: Row = ("text", "label")) -> bytes:
    """Return one JSON object per line."""
    return b"".join(json.dumps(dict(zip(keys, row, strict=True))).encode() + b"\n" for row in rows)


def json_bytes(rows: Iterable[Row], keys: Row = ("text", "label")) -> bytes:
    """Return a JSON list of objects."""
    return json.dumps([dict(zip(keys, row, strict=True)) for row in rows]).encode()


def pairs_bytes(rows: Iterable[Row]) -> bytes:
    """Return a JSON list of pairs, with letters as they are."""
    return json.dumps(list(rows), ensure_ascii=False).encode()


def intents(classes: int, train: int, test: int) -> tuple[list[Row], list[Row]]:
    """Make rows of evenly filled classes, as many as are wanted for training and for the test."""
    parts = ((train, "train"), (test, "test"))
    first, second = ([(f"{word} question {row}", f"intent_{row % classes}") for row in range(n)] for n, word in parts)
    return first, second


def write_clinc(path: Path, classes: int = 150, train: int = 15_000, test: int = 4_500) -> bytes:
    """Write the authors' layout of CLINC150 and return it."""
    rows, asked = intents(classes, train, test)
    out = [["something else", "oos"]]
    content = {"oos_val": out, "val": rows[:300], "train": rows, "oos_test": out, "test": asked, "oos_train": out}
    path.write_bytes(json.dumps(content).encode())
    return path.read_bytes()


def write_banking(folder: Path, classes: int = 77, train: int = 10_003, test: int = 3_080) -> tuple[bytes, bytes]:
    """Write the authors' two tables of Banking77 and return them."""
    first, second = (csv_bytes(rows, ("text", "category")) for rows in intents(classes, train, test))
    (folder / "train.csv").write_bytes(first)
    (folder / "test.csv").write_bytes(second)
    return first, second
