"""Formats that passages are read from and written in: the table, and which of them a record is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from backbones.core.registry import Registry
from benchmarks.passages.files import File
from benchmarks.passages.formats.base import Import, Lost, PassageFormat, losses
from benchmarks.passages.formats.foreign import refuse_record, refuse_text
from benchmarks.passages.formats.xml import root_of
from benchmarks.passages.nodes import Note, misread, similar, some
from benchmarks.passages.source import ReadLimits
from benchmarks.passages.types import Passage

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


IMPORTS = Registry(
    "format that is read only",
    "benchmarks.passages.imports",
    {
        "apf": ("benchmarks.passages.formats.apf:read", "ACE and its .apf.xml beside .sgm: characters without tags"),
        "brat": ("benchmarks.passages.formats.brat:read", "brat, .ann beside .txt: characters"),
        "doccano": ("benchmarks.passages.formats.tools:DOCCANO", "doccano with relations: characters"),
        "label-studio": ("benchmarks.passages.formats.tools:LABEL_STUDIO", "Label Studio with relations: characters"),
        "uima": ("benchmarks.passages.formats.uima:UIMA", "INCEpTION, UIMA CAS JSON: UTF-16 units"),
        "xmi": ("benchmarks.passages.formats.uima:read", "INCEpTION, UIMA CAS XMI: UTF-16 units"),
    },
)

TextReader = Callable[[File, ReadLimits, Note], Passage]
"""Reads a passage from a file that is no JSON."""


def form_named(name: str) -> PassageFormat | Import:
    """Return the format of that name that reads records; raises FrostlineError for an unknown one."""
    records = name in IMPORTS and hasattr(IMPORTS.load(name), "keys")
    held: PassageFormat | Import = IMPORTS.load(name) if records else FORMATS.load(name)
    return held


def reader_of(file: File, head: bytes) -> TextReader | None:
    """Return what reads a file that is no JSON; None for JSON, and for what nobody knows.

    Args:
        file: the file; head: its first bytes.

    Raises:
        FrostlineError: it is of a kind that holds no events; says which, and what to do.
    """
    root = root_of(head)
    name = "brat" if file.ends(".ann") else {"source_file": "apf", "XMI": "xmi"}.get(root or "")
    if name is None:
        refuse_text(file, head, root)
    return IMPORTS.load(name) if name is not None else None


def detect(record: Mapping[str, Any], where: str) -> str:
    """Return the name of the format whose keys the record has; of several, the one with most keys.

    Raises:
        FrostlineError: no format has these keys; the nearest format and the keys that it misses are named.
    """
    keys = {name: FORMATS.load(name).keys for name in FORMATS.names()}
    imports = {name: getattr(IMPORTS.load(name), "keys", None) for name in IMPORTS.names()}
    fitting = [name for name in keys if all(_has(record, key.split(".")) for key in keys[name])]
    if fitting:
        return max(fitting, key=lambda name: len(keys[name]))
    imported = [name for name, row in imports.items() if row and all(_has(record, key.split(".")) for key in row)]
    if imported:
        return imported[0]
    refuse_record(record, where)
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
    keys, many = path[0].removesuffix("[]").split("|"), path[0].endswith("[]")
    if not isinstance(value, Mapping) or not any(key in value for key in keys):
        return False
    held = next(value[key] for key in keys if key in value)
    if not many:
        return _has(held, path[1:])
    return not isinstance(held, list) or all(_has(item, path[1:]) for item in held)


def _closeness(record: Mapping[str, Any], keys: list[str]) -> float:
    """Return the share of a format's keys that the record has, a key that only reads like one counting half."""
    found = [1.0 if key in record else 0.5 if similar(key, record) else 0.0 for key in keys]
    return sum(found) / max(len(keys), 1)


__all__ = ["FORMATS", "IMPORTS", "Lost", "PassageFormat", "detect", "form_named", "losses", "reader_of"]
