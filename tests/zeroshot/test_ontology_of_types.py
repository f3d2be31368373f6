"""A document that names no ontology takes the one that has its event types."""

from __future__ import annotations

from typing import Any, cast

import pytest

from backbones.core.errors import FrostlineError
from benchmarks.ontologies import fitting_ontology
from benchmarks.passages import read_record
from zeroshot.predict import Predictor
from zeroshot.scorers.base import Scorer


@pytest.mark.parametrize(
    ("types", "name"),
    [
        (["Conflict:Attack"], "ace"), (["conflict.attack", "Life:Die"], "ace"), (["Contact:Broadcast"], "ere"),
        (["Movement-flat"], "crudeoil"), (["Conflict:Attack", "Movement-flat"], None), (["Attak"], None), ([], None),
    ],
)  # fmt: skip
def test_the_smallest_ontology_that_has_all_types_fits(types: list[str], name: str | None) -> None:
    assert fitting_ontology(types) == name


def record(kind: str, **more: Any) -> dict[str, Any]:
    entities = [{"id": "T1", "start": 0, "end": 6}]
    event = {"id": "E1", "type": kind, "trigger": {"start": 7, "end": 15}, "arguments": [{"entity": "T1"}]}
    return {"doc_id": "d", "text": "Rebels attacked.", "entities": entities, "events": [event], **more}


def test_what_was_taken_is_said_and_what_is_named_is_kept() -> None:
    predictor = Predictor(cast(Scorer, None), None)
    _, ontology, notes = predictor.spell(read_record(record("Conflict:Attack"), "x"))
    assert ontology.name == "ace" and "'ace' has all its event types and was taken; --ontology" in notes[0]
    _, ontology, notes = predictor.spell(read_record(record("Conflict:Attack", ontology="ere"), "x"))
    assert (ontology.name, notes) == ("ere", ())
    with pytest.raises(FrostlineError, match="document 'd' names no ontology: pass one"):
        predictor.spell(read_record(record("Data:Breach"), "x"))
