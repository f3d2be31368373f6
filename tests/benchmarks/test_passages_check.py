"""Checks: one test for each error that a passage can meet, alone and against an ontology."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbones.core.errors import FrostlineError
from benchmarks.ontologies import Ontology
from benchmarks.passages import Passage, check_against, check_passage, read_record, resolve_event_type
from benchmarks.passages.agree import Squeezed, misfit, widen

TEXT = "The mayor of Chicago fired two aides."
# mayor 4-9, Chicago 13-20, fired 21-26, two aides 27-36

RECORD: dict[str, Any] = {
    "doc_id": "d",
    "text": TEXT,
    "entities": [
        {"id": "T1", "start": 0, "end": 20, "text": "The mayor of Chicago"},
        {"id": "T2", "start": 13, "end": 20, "text": "Chicago"},
    ],
    "events": [
        {
            "id": "E1",
            "type": "Personnel:End-Position",
            "trigger": {"start": 21, "end": 26, "text": "fired"},
            "arguments": [{"entity": "T1", "role": "Entity"}],
        }
    ],
    "constraints": [{"rule": "force", "event": "E1", "entity": "T2", "role": "Place"}],
}

TINY = Ontology.model_validate(
    {
        "name": "tiny",
        "events": {
            "Personnel:End-Position": {
                "roles": {"Entity": {}, "Person": {}, "Place": {}, "Time": {"aliases": ["When"]}}
            },
            "Conflict:Attack": {"roles": {"Attacker": {}}},
            "Life:Die": {"roles": {"Victim": {}}},
            "Contact.Meet.Unspecified": {"roles": {"Participant": {}}},
            "Contact.Meet.Broadcast": {"roles": {"Participant": {}}},
            "Legal:Meet": {"roles": {"Participant": {}}},
        },
    }
)  # fmt: skip


def record(path: str = "", value: Any = None, **changes: Any) -> dict[str, Any]:
    """RECORD with the value at a path such as ``entities.1.start`` replaced (None: taken out)."""
    made: dict[str, Any] = copy.deepcopy(RECORD) | changes
    if path:
        *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
        held: Any = made
        for part in parents:
            held = held[part]
        if value is None:
            del held[last]
        else:
            held[last] = value
    return made


def message(value: dict[str, Any]) -> str:
    with pytest.raises(FrostlineError) as caught:
        read_record(value, "news.json")
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_texts_are_filled_in_from_the_offsets() -> None:
    passage = read_record(record("entities.1.text"), "x")
    assert passage.entities[1].text == "Chicago"
    assert check_passage(passage, "x") is passage


def test_a_text_that_differs_says_what_stands_there_and_where_it_stands() -> None:
    said = message(record("entities.1.end", 19))
    assert "news.json: $.entities[1]: the text differs" in said
    assert "found 'Chicag' at 13-19; 'Chicago' is at 13-20: are the offsets token or inclusive?" in said
    assert "'Boston' is nowhere in the text" in message(record("entities.1.text", "Boston"))


@pytest.mark.parametrize(("key", "value"), [("start", 20), ("start", -1), ("end", 38), ("start", 30)])
def test_a_span_out_of_range_names_both_ends(key: str, value: int) -> None:
    said = message(record(f"entities.1.{key}", value))
    assert "$.entities[1]" in said
    assert "0 <= start < end <= 37" in said
    assert "span out of range" in said


def test_a_trigger_out_of_range_is_found() -> None:
    assert "$.events[0].trigger: expected 0 <= start < end" in message(
        record("events.0.trigger", {"start": 5, "end": 5})
    )


def test_a_head_out_of_range_is_found() -> None:
    assert "$.entities[1].head" in message(record("entities.1.head", [13, 99]))


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_has_nothing_to_read(text: str) -> None:
    assert "$.text: expected a text" in message({"text": text, "events": []})


def test_ids_are_unique() -> None:
    said = message(record("entities.1.id", "T1"))
    assert '$.entities[1].id: expected an id of its own, found the id "T1". $.entities[0] has it too' in said
    assert "$.events[1].id" in message(record(events=RECORD["events"] * 2))


def test_an_argument_is_a_mention_of_the_passage() -> None:
    said = message(record("events.0.arguments.0.entity", "T11"))
    assert '$.events[0].arguments[0].entity: expected the id of an entity of this passage, found "T11"' in said
    assert "Did you mean 'T1'?" in said
    assert 'There are "T1", "T2".' in message(record("events.0.arguments.0.entity", "zzzz"))


def test_a_rule_of_the_user_is_about_what_is_there() -> None:
    assert "$.constraints[0].event: expected the id of an event" in message(record("constraints.0.event", "X9"))
    assert "$.constraints[0].entity: expected the id of an entity" in message(record("constraints.0.entity", "X9"))
    assert "$.constraints[0].rule: expected 'force' or 'forbid'" in message(record("constraints.0.rule", "forse"))


def test_an_event_needs_a_trigger() -> None:
    said = message(record("events.0.trigger"))
    assert "$.events[0].trigger: expected the key 'trigger', found nothing" in said
    assert "no trigger, no event" in said


def test_a_slip_in_a_key_that_is_missing_names_it() -> None:
    value = record("entities.1.strat", 3)
    del value["entities"][1]["start"]
    said = message(value)
    assert "$.entities[1].strat: expected one of the keys id, start, end, text, type, coref, head, found" in said
    assert 'found the unknown key "strat"' in said
    assert "Did you mean 'start'?" in said


@pytest.mark.parametrize("value", ["13", 13.5, True])
def test_offsets_are_integers(value: Any) -> None:
    assert "$.entities[1].start: expected an integer" in message(record("entities.1.start", value))


def test_tokens_and_sentences_lie_in_the_text_in_order() -> None:
    assert "$.tokens[1]: expected 9 <= start" in message(record(tokens=[[4, 9], [8, 12]]))
    assert "$.sentences[0]" in message(record(sentences=[[0, 99]]))


def test_half_a_character_is_refused_from_python_and_from_json() -> None:
    passage = Passage.model_construct(doc_id="d", text="a \ud800", entities=(), events=(), constraints=())
    with pytest.raises(FrostlineError, match="half of a surrogate pair at character 2"):
        check_passage(passage, "x")
    assert "half of a surrogate pair" in message(record("entities.1.type", "\udfff"))


def test_spans_that_all_cover_everything_are_refused_before_they_fill_memory() -> None:
    text = "a" * 2**20
    entities = [{"id": str(at), "start": 0, "end": len(text)} for at in range(17)]
    assert "cover at most 16777216 characters together" in message({"text": text, "events": [], "entities": entities})


# --- against an ontology


def against(value: dict[str, Any], **options: Any) -> Passage:
    return check_against(read_record(value, "news.json"), TINY, "news.json", **options)


def test_types_and_roles_are_spelled_as_the_ontology_does() -> None:
    value = record("events.0.type", "personnel.END_position")
    value["events"][0]["arguments"][0]["role"] = "when"
    value["constraints"][0]["role"] = "PLACE"
    passage = against(value)
    assert passage.events[0].type == "Personnel:End-Position"
    assert passage.events[0].arguments[0].role == "Time"
    assert passage.constraints[0].role == "Place"


def test_an_unknown_event_type_names_the_closest() -> None:
    with pytest.raises(FrostlineError) as caught:
        against(record("events.0.type", "Conflict:Atack"))
    said = str(caught.value)
    assert said.startswith('news.json: $.events[0].type: unknown event type "Conflict:Atack"')
    assert "Did you mean 'Conflict:Attack'" in said


def test_an_unknown_role_names_the_closest() -> None:
    with pytest.raises(FrostlineError) as caught:
        against(record("events.0.arguments.0.role", "Persons"))
    said = str(caught.value)
    assert "news.json: $.events[0].arguments[0].role: expected a role of Personnel:End-Position" in said
    assert "unknown role \"Persons\". Did you mean 'Person'?" in said


def test_a_gold_role_of_another_ontology_may_stay_where_gold_is_not_used() -> None:
    passage = against(record("events.0.arguments.0.role", "Boss"), gold=False)
    assert passage.events[0].arguments[0].role == "Boss"


def test_a_rule_of_the_user_has_a_role_of_the_event() -> None:
    with pytest.raises(
        FrostlineError, match=r"\$\.constraints\[0\]\.role: expected a role of .*unknown role \"Plaice\""
    ):
        against(record("constraints.0.role", "Plaice"), gold=False)


@pytest.mark.parametrize("given", ["arguments", "entities"])
def test_candidates_that_are_given_are_there(given: str) -> None:
    value = {"text": TEXT, "events": copy.deepcopy(RECORD["events"])}
    value["events"][0] |= {"arguments": [], "candidates": given}
    with pytest.raises(
        FrostlineError, match=rf"candidates: expected candidates, found '{given}' and no {given}.*'auto'"
    ):
        against(value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Conflict:Attack", "Conflict:Attack"), ("Conflict.Attack", "Conflict:Attack"), ("attack", "Conflict:Attack"),
        ("conflict_attack", "Conflict:Attack"), ("Conflict.Attack.Unspecified", "Conflict:Attack"),
        ("EndPosition", "Personnel:End-Position"), ("PersonnelEndPosition", "Personnel:End-Position"),
        ("Contact:Meet", "Contact.Meet.Unspecified"), ("Contact.Meet.Handshake", "Contact.Meet.Unspecified"),
    ],
)  # fmt: skip
def test_a_type_is_found_however_it_is_spelled(name: str, kind: str) -> None:
    assert resolve_event_type(TINY, name) == kind


@pytest.mark.parametrize("name", ["Meet", "Contact.Meet.Brodcast", "Die:Life", "Life", "", ":"])
def test_a_type_is_not_guessed(name: str) -> None:
    with pytest.raises(FrostlineError, match="unknown event type"):
        resolve_event_type(TINY, name)


def test_a_coarser_type_is_told() -> None:
    notes: list[str] = []
    value = {
        "text": TEXT,
        "events": [{"id": "E1", "type": "Contact.Meet.Handshake", "trigger": {"start": 21, "end": 26}}],
    }
    against(value, note=notes.append)
    assert notes == [
        "news.json: $.events[0].type: 'Contact.Meet.Handshake' is read as 'Contact.Meet.Unspecified', a type of the "
        "ontology 'tiny'"
    ]


# --- agreement of texts and spans


@given(text=st.text("ab \n", min_size=1), data=st.data())
def test_a_slice_agrees_with_itself_whatever_the_spacing(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    assert widen(text, (start, end), "  ".join(text[start:end].upper().split())) == (start, end)


@given(text=st.text("ab ", max_size=12), said=st.text("ab ", min_size=1, max_size=3))
def test_a_place_is_found_if_it_is_the_only_one(text: str, said: str) -> None:
    word = said.replace(" ", "")
    letters = text.replace(" ", "")
    places = [at for at in range(len(letters)) if word and letters.startswith(word, at)]
    found = Squeezed(text).only(said)
    assert (found is not None) == (len(places) == 1)
    if found is not None:
        assert text[slice(*found)].replace(" ", "") == word


@given(text=st.text(max_size=20), start=st.integers(0, 20), end=st.integers(0, 20), said=st.text(max_size=5))
def test_a_misfit_can_always_be_said(text: str, start: int, end: int, said: str) -> None:
    assert "are the offsets" in misfit(text, (start, end), said)
