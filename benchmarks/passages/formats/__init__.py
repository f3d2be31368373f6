"""Formats that passages are read from and written in: the table, and which of them a record is in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backbones.core.registry import Registry
from benchmarks.passages.formats.base import Lost, PassageFormat, losses
from benchmarks.passages.nodes import misread, similar, some

FORMATS = Registry(
    "passage format",
    "benchmarks.passages",
    {
        "casie": ("benchmarks.passages.formats.casie:CASIE", "CASIE, cyber security: characters"),
        "dygie": ("benchmarks.passages.formats.dygie:DYGIE", "DyGIE++: tokens of the document, last one counted in"),
        "jmee": ("benchmarks.passages.formats.jmee:JMEE", "JMEE, M2E2, CrudeOil: tokens of the sentence"),
        "native": ("benchmarks.passages.formats.native:NATIVE", "frostline's own: characters, rules, coreference"),
        "oneie": ("benchmarks.passages.formats.oneie:ONEIE", "OneIE, TextEE, GENEVA: tokens of the sentence"),
        "phee": ("benchmarks.passages.formats.phee:PHEE", "PHEE, drug safety: characters, nested roles"),
        "rams": ("benchmarks.passages.formats.rams:RAMS", "RAMS: tokens of the document, last one counted in"),
        "sentence": ("benchmarks.passages.formats.sentence:SENTENCE", "sentence JSON of Lyu et al.: characters"),
        "wikievents": ("benchmarks.passages.formats.wikievents:WIKIEVENTS", "WikiEvents: tokens of the document"),
    },
)


def detect(record: Mapping[str, Any], where: str) -> str:
    """Return the name of the format whose keys the record has; of several, the one with most keys.

    Raises:
        FrostlineError: no format has these keys; the nearest format and the keys that it misses are named.
    """
    keys = {name: FORMATS.load(name).keys for name in FORMATS.names()}
    fitting = [name for name in keys if all(_has(record, key.split(".")) for key in keys[name])]
    if fitting:
        return max(fitting, key=lambda name: len(keys[name]))
    top = {name: [key for key in row if "." not in key and "[" not in key] for name, row in keys.items()}
    closest = max(top, key=lambda name: _closeness(record, top[name]))
    missing = [key for key in keys[closest] if not _has(record, key.split("."))]
    hints = [f"{found[0]!r} may be {key!r}" for key in missing if (found := similar(key, record))]
    raise misread(
        where, "$", f"the keys {some(record)}", f"a record in one of the formats {', '.join(keys)}",
        f"The nearest is {closest!r}; for it {', '.join(map(repr, missing))} is missing."
        + (f" Perhaps {', '.join(hints)}." if hints else ""),
    )  # fmt: skip


def _has(value: Any, path: list[str]) -> bool:
    """Whether every element that ``path`` leads through has the next key; an empty list has them all."""
    if not path:
        return True
    key, many = path[0].removesuffix("[]"), path[0].endswith("[]")
    if not isinstance(value, Mapping) or key not in value:
        return False
    held = value[key]
    if not many:
        return _has(held, path[1:])
    return not isinstance(held, list) or all(_has(item, path[1:]) for item in held)


def _closeness(record: Mapping[str, Any], keys: list[str]) -> float:
    """Return the share of a format's keys that the record has, a key that only reads like one counting half."""
    found = [1.0 if key in record else 0.5 if similar(key, record) else 0.0 for key in keys]
    return sum(found) / max(len(keys), 1)


__all__ = ["FORMATS", "Lost", "PassageFormat", "detect", "losses"]
