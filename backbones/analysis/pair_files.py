"""Minimal pairs from files: BLiMP's JSON lines, or one JSON object of paradigms."""

from __future__ import annotations

import lzma
import zlib
from pathlib import Path
from typing import Any

from backbones.core.errors import FrostlineError
from backbones.core.reading import PACKINGS, parse_json, read_text
from backbones.core.seed import numpy_generator

PairsByName = dict[str, list[tuple[str, str]]]
EXAMPLE = '{"sentence_good": "The cats sleep.", "sentence_bad": "The cats sleeps.", "UID": "agreement"}'
UNNAMED = "pairs"


def read_pairs(path: Path | str, per_paradigm: int | None = None, seed: int = 0) -> PairsByName:
    """Read minimal pairs by paradigm.

    Args:
        path: JSON lines with ``sentence_good``, ``sentence_bad`` and perhaps ``UID`` (the paradigm), as BLiMP
            publishes them; or one JSON object, paradigm -> list of [good, bad]; or a folder of such files; ``.gz`` and
            ``.xz`` are unpacked.
        per_paradigm: pairs of each paradigm, drawn by ``seed``; None for all.
        seed: of the draw.

    Raises:
        FrostlineError: a missing or empty file, or a row that is no pair; file and row are named; no pair differs.
    """
    path = Path(path)
    files = sorted(path.glob("*.json*")) if path.is_dir() else [path]
    found: PairsByName = {}
    for file in files:
        for name, rows in _read(file).items():
            found.setdefault(name, []).extend(rows)
    if not any(found.values()):
        raise FrostlineError(f"{path} holds no minimal pairs; a row is {EXAMPLE}.")
    count, same = sum(map(len, found.values())), equal_pairs(found)
    if same == count:
        raise FrostlineError(
            f"{path}: each of the {count} pairs has the same sentence twice, so that no model can tell them apart; a "
            f"row is {EXAMPLE}."
        )
    if per_paradigm is None:
        return found
    if per_paradigm < 1:
        raise FrostlineError(f"{per_paradigm} pairs of each paradigm are none; pass 1 or more.")
    return {name: _some(rows, per_paradigm, name, seed) for name, rows in found.items()}


def equal_pairs(pairs: PairsByName) -> int:
    """Return how many pairs have the same sentence twice: each counts as a tie, one half."""
    return sum(good == bad for rows in pairs.values() for good, bad in rows)


def _some(rows: list[tuple[str, str]], count: int, name: str, seed: int) -> list[tuple[str, str]]:
    order = numpy_generator(seed, "pairs", name).permutation(len(rows))[:count]
    return [rows[row] for row in sorted(order)]


def _read(path: Path) -> PairsByName:
    try:
        text = read_text(path, path.suffix if path.suffix in PACKINGS else "")
    except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError, zlib.error) as error:
        raise FrostlineError(f"{path} cannot be read as UTF-8 text ({error}); pass a file of minimal pairs.") from error
    try:
        whole = parse_json(text)
    except ValueError:
        return _lines(path, text)
    if isinstance(whole, dict) and ("sentence_good" not in whole) and (any(map(_listed, whole.values())) or not whole):
        return {
            name: [_pair(path, f"{name}, row {n}", row) for n, row in _rows(path, name, rows)]
            for name, rows in whole.items()
        }
    return _lines(path, text)


def _listed(rows: Any) -> bool:
    return isinstance(rows, list)


def _rows(path: Path, name: str, rows: Any) -> list[tuple[int, Any]]:
    if not _listed(rows):
        raise FrostlineError(f"{path}: paradigm {name!r} is no list of pairs; write a list of [good, bad].")
    return list(enumerate(rows, start=1))


def _lines(path: Path, text: str) -> PairsByName:
    found: PairsByName = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise FrostlineError(f"{path}, row {number} is not JSON ({error}); a row is {EXAMPLE}.") from error
        name = str(row.get("UID", path.name.partition(".")[0])) if isinstance(row, dict) else UNNAMED
        found.setdefault(name, []).append(_pair(path, f"row {number}", row))
    return found


def _pair(path: Path, where: str, row: Any) -> tuple[str, str]:
    pair = [row.get("sentence_good"), row.get("sentence_bad")] if isinstance(row, dict) else row
    whole = isinstance(pair, list) and len(pair) == 2
    if not whole or not all(isinstance(each, str) and each.strip() for each in pair):
        raise FrostlineError(f"{path}, {where} is no pair of a good and a bad sentence; a row is {EXAMPLE}.")
    return str(pair[0]), str(pair[1])
