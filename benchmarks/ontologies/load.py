"""Reading ontologies: by name, from an own TOML or JSON file, or from two JSON shapes that data sets come with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from backbones.core.errors import FrostlineError, nearest, unknown
from backbones.core.reading import parse_json, parse_toml, read_text
from backbones.core.registry import Registry
from benchmarks.ontologies.foreign import FOREIGN, Convert
from benchmarks.ontologies.glossary import expand
from benchmarks.ontologies.types import Ontology

_FOLDER = Path(__file__).parent
ACE = _FOLDER / "ace.toml"
CRUDEOIL = _FOLDER / "crudeoil.toml"
ERE = _FOLDER / "ere.toml"
KAIROS = _FOLDER / "kairos.toml"
RAMS = _FOLDER / "rams.toml"

ONTOLOGIES = Registry(
    "ontology",
    "benchmarks.ontologies",
    {
        "ace": ("benchmarks.ontologies.load:ACE", "ACE 2005: news, 33 event types, 28 roles"),
        "crudeoil": ("benchmarks.ontologies.load:CRUDEOIL", "CrudeOilNews: commodity news, 19 event types, 19 roles"),
        "ere": ("benchmarks.ontologies.load:ERE", "Rich ERE: news and forums, 38 event types"),
        "kairos": ("benchmarks.ontologies.load:KAIROS", "KAIROS (WikiEvents): news, 51 event types, 80 roles"),
        "rams": ("benchmarks.ontologies.load:RAMS", "RAMS (AIDA): news, 139 event types, 65 roles"),
    },
)
"""Named ontologies; what a guest registers is an Ontology or the path of an ontology file."""

_ENDINGS = (".toml", ".json", ".jsonl")
_LARGEST = 32 * 2**20  # bytes; the largest shipped file has a hundredth of this


def load_ontology(name: str | Path) -> Ontology:
    """Return an ontology.

    Args:
        name: a name of ONTOLOGIES, or the path of a file: own TOML or JSON, the KAIROS shape (event type -> template,
            roles, role_types; Li et al. 2021) or the GENEVA shape (event type -> arguments with arg_name and arg_desc;
            Parekh et al. 2023), as one JSON object or as JSON lines.

    Raises:
        FrostlineError: nobody claims the name, or the file is missing, malformed or contradicts itself.
    """
    if isinstance(name, str) and name in ONTOLOGIES:
        return _named(name)
    path = Path(name).expanduser()
    try:
        found = path.exists() and not path.is_dir()
    except (OSError, ValueError) as error:  # a name that is too long for a file, or has a null byte
        raise FrostlineError(f"the ontology file {str(path)[:80]!r} cannot be read: {error}.") from None
    if found:
        return _from_file(path)
    if isinstance(name, str) and not path.exists() and path.suffix not in _ENDINGS and path.name == name:
        raise FrostlineError(f"{unknown('ontology', name, ONTOLOGIES.names())} Or pass a {' or '.join(_ENDINGS)} file.")
    raise _missing(path)


def registered_ontology(name: str) -> Ontology:
    """Return the ontology that a document names; what stands in data is never taken for the path of a file.

    Raises:
        FrostlineError: nobody claims the name.
    """
    if name not in ONTOLOGIES:
        known = unknown("ontology", name, ONTOLOGIES.names())
        raise FrostlineError(f"{known} One of your own is passed as a file: --ontology FILE.")
    return _named(name)


def fitting_ontology(types: Iterable[str]) -> str | None:
    """Return the name of the smallest registered ontology that has all these event types, None if none has."""
    wanted = set(types)
    held = {name: _named(name) for name in ONTOLOGIES.names()} if wanted else {}
    fitting = [name for name, known in held.items() if all(known.event_type(kind) for kind in wanted)]
    return min(fitting, key=lambda name: (len(held[name].events), name), default=None)


@cache
def _named(name: str) -> Ontology:
    found = ONTOLOGIES.load(name)
    if isinstance(found, Ontology):
        return found
    if isinstance(found, str | Path):
        return _from_file(Path(found))
    raise FrostlineError(
        f"the ontology {name!r} is registered as a {type(found).__name__}; register an Ontology or a path of a file."
    )


def _missing(path: Path) -> FrostlineError:
    if path.is_dir():
        return FrostlineError(f"{path} is a folder; pass an ontology file ({', '.join(_ENDINGS)}) in it.")
    beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    close = nearest(path.name, [other for other in beside if Path(other).suffix in _ENDINGS])
    hint = f" Did you mean {' or '.join(repr(str(path.parent / other)) for other in close)}?" if close else ""
    return FrostlineError(f"the ontology file {path} does not exist.{hint} Names: {', '.join(ONTOLOGIES.names())}.")


def _from_file(path: Path) -> Ontology:
    values = _read_toml(path) if path.suffix == ".toml" else _read_json(path)
    if "events" not in values:
        for fits, convert in FOREIGN:
            if fits(values):
                return Ontology.parse(_converted(convert, values, path), f"ontology file {path}")
        raise FrostlineError(
            f"{path} is not an ontology: it has no table 'events', and its values are not of the KAIROS shape "
            f"(roles, template) or the GENEVA shape (arguments). Found keys: {', '.join(list(values)[:8]) or 'none'}."
        )
    return Ontology.parse(expand(values, str(path)), f"ontology file {path}")


def _converted(convert: Convert, values: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        return convert(values, path.stem, _named)
    except FrostlineError as error:
        raise FrostlineError(f"{path}: {error}") from error


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise FrostlineError(f"{path} has {size:,} bytes; an ontology file has at most {_LARGEST:,}.")
        text = read_text(path)
    except OSError as error:
        raise FrostlineError(f"cannot read {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise FrostlineError(
            f"{path} is not UTF-8 text (byte {error.start} is {error.object[error.start]:#04x}); save it as UTF-8."
        ) from error
    if not text.strip():
        raise FrostlineError(f"{path} is empty; an ontology has at least a name and one event type.")
    return text


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return parse_toml(_text(path))
    except ValueError as error:
        raise FrostlineError(f"{path} is not TOML: {error}.") from error


def _read_json(path: Path) -> dict[str, Any]:
    text = _text(path)
    try:
        value = _decode(text, path)
    except json.JSONDecodeError as whole:
        if whole.msg != "Extra data":
            raise _not_json(path, whole.msg, whole.lineno, whole.colno) from whole
        value = _read_lines(text, path)
    if not isinstance(value, dict):
        raise FrostlineError(f"{path} holds a JSON {type(value).__name__}; an ontology is an object.")
    return value


def _read_lines(text: str, path: Path) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            part = _decode(line, path)
        except json.JSONDecodeError as error:
            raise _not_json(path, error.msg, number, error.colno) from error
        if not isinstance(part, dict):
            raise FrostlineError(f"{path}, line {number}: a JSON {type(part).__name__}; each line is an object.")
        twice = table.keys() & part.keys()
        if twice:
            raise FrostlineError(f"{path}, line {number}: the key {min(twice)!r} stands on an earlier line; keep one.")
        table |= part
    return table


def _decode(text: str, path: Path) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            names = [key for key, _ in pairs]
            twice = next(key for key in names if names.count(key) > 1)
            raise FrostlineError(f"{path}: the key {twice!r} is given twice in one object; keep one.")
        return table

    try:
        return parse_json(text, object_pairs_hook=unique)
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        raise FrostlineError(f"{path} is no ontology: {error}.") from error


def _not_json(path: Path, rule: str, line: int, column: int) -> FrostlineError:
    return FrostlineError(f"{path} is not JSON: {rule} (at line {line}, column {column}).")


__all__ = ["ONTOLOGIES", "load_ontology", "registered_ontology"]
