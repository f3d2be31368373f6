"""The schema of the native format, the samples that ship, and what importing the reader costs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from test_passages_formats import RECORDS

from backbones.core.errors import FrostlineError
from benchmarks.ontologies import load_ontology
from benchmarks.passages import FORMATS, check_against, native_schema, read_passages, read_record
from zeroshot.samples import samples

SCHEMA = native_schema()
KINDS: dict[str, Any] = {"object": dict, "array": list, "string": str, "integer": int, "null": type(None)}


def faults(value: Any, rule: dict[str, Any], path: str = "$") -> list[str]:
    """The part of JSON Schema that the native format uses, read from its specification (draft 2020-12)."""
    if "$ref" in rule:
        return faults(value, SCHEMA["$defs"][rule["$ref"].rsplit("/", 1)[1]], path)
    if "anyOf" in rule:
        tried = [faults(value, one, path) for one in rule["anyOf"]]
        return [] if [] in tried else tried[0]
    if "type" in rule and (not isinstance(value, KINDS[rule["type"]]) or isinstance(value, bool)):
        return [f"{path}: no {rule['type']}"]
    if "enum" in rule and value not in rule["enum"]:
        return [f"{path}: none of {rule['enum']}"]
    found = []
    if isinstance(value, dict):
        fields = rule["properties"]
        found += [f"{path}.{key}: missing" for key in rule.get("required", ()) if key not in value]
        found += [f"{path}.{key}: unknown" for key in value if key not in fields and not rule["additionalProperties"]]
        found += [fault for key in value.keys() & fields for fault in faults(value[key], fields[key], f"{path}.{key}")]
    elif isinstance(value, list):
        heads = rule.get("prefixItems", [])
        if not rule.get("minItems", 0) <= len(value) <= rule.get("maxItems", len(value)):
            found.append(f"{path}: length")
        rules = [*heads, *([rule.get("items", {})] * (len(value) - len(heads)))]
        found += [fault for at, item in enumerate(value) for fault in faults(item, rules[at], f"{path}[{at}]")]
    elif isinstance(value, str) and len(value) < rule.get("minLength", 0):
        found.append(f"{path}: too short")
    return found


def written() -> list[tuple[str, dict[str, Any]]]:
    rows: list[tuple[str, dict[str, Any]]] = []
    for name, path in samples().items():
        if path.suffix == ".json":
            rows.append((name, json.loads(path.read_text())))
        elif path.suffix == ".jsonl":
            rows += [(name, json.loads(line)) for line in path.read_text().splitlines()]
    return rows


@pytest.mark.parametrize(("name", "record"), written())
def test_samples_are_what_the_schema_says(name: str, record: dict[str, Any]) -> None:
    assert faults(record, SCHEMA) == []


def test_what_is_written_is_what_the_schema_says() -> None:
    for name, record in RECORDS.items():
        assert faults(FORMATS.load("native").write(read_record(record, name)), SCHEMA) == []


@pytest.mark.parametrize(
    "change",
    [
        {"text": 3}, {"entities": [{"id": "", "start": 0, "end": 1}]}, {"events": [{"id": "E1"}]},
        {"tokens": [[0]]}, {"constraints": [{"rule": "maybe", "event": "E1", "entity": "T1"}]},
        {"entities": [{"id": "T1", "start": "0", "end": 1}]},
    ],
)  # fmt: skip
def test_the_reader_and_the_schema_refuse_the_same(change: dict[str, Any]) -> None:
    record = RECORDS["native"] | change
    assert faults(record, SCHEMA)
    with pytest.raises(FrostlineError):
        read_record(record, "x")


def test_every_key_has_a_description() -> None:
    for model in (SCHEMA, *SCHEMA["$defs"].values()):
        assert model["description"]
        assert all(field["description"].endswith(".") for field in model["properties"].values())
    assert SCHEMA["$schema"].endswith("2020-12/schema")


def test_samples_fit_the_ontologies_that_they_name() -> None:
    found = {}
    for name, path in samples().items():
        for passage in read_passages(path, trigger="struck", event_type="Conflict:Attack"):
            ontology = load_ontology(passage.ontology or "ace")
            found[passage.doc_id] = check_against(passage, ontology, name)
            assert all(ontology.entity_type(mention.type or "") for mention in passage.entities)
    shared = [{row.entity for row in event.arguments} for event in found["attack"].events]
    assert len(shared[0] & shared[1]) >= 3
    assert found["convoy"].entities == () and found["convoy"].events[0].candidates == "auto"
    assert {passage.ontology for passage in found.values()} == {"ace", "kairos", None}
    assert [name for name in found if name.startswith("stream")] == ["stream-1", "stream-2", "stream-3"]


def test_reading_needs_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from benchmarks.passages import read_passages, FORMATS; list(read_passages(sys.argv[1])); "
        "[FORMATS.load(name) for name in FORMATS.names()]; "
        "print([name for name in ('torch', 'numpy', 'transformers', 'rich', 'typer') if name in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(samples()["attack"])], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"
