"""Formats: spans computed by hand, round trips, what cannot be written, detection."""

from __future__ import annotations

import json
from typing import Any

import pytest
from format_makers import RECORDS, SENTENCE, WORDS

from backbones.core.errors import FrostlineError
from benchmarks.passages import FORMATS, Passage, check_passage, losses, read_record
from benchmarks.passages.formats import detect

ARGUMENTS = {  # by hand: trigger, argument, role, first character of the argument
    "native": [("fired", "Rebels", "Attacker", 0), ("fired", "a bus", None, 36)],
    "sentence": [("fired", "Rebels", "Attacker", 0), ("fired", "New York", "Place", 10)],
    "oneie": [("fired", "Rebels", "Attacker", 0), ("fired", "New York", "Place", 10)],
    "wikievents": [("fired", "New York", "Place", 14)],
    "rams": [("fired", "Rebels", "attacker", 5), ("fired", "New York", "place", 15)],
    "dygie": [("fired", "Rebels", "Attacker", 5), ("fired", "a bus", "Target", 41)],
    "jmee": [("fired", "Rebels", "Attacker", 0), ("fired", "a bus", "Target", 36)],
    "casie": [("fired", "Rebels", "Attacker", 0)],
    "phee": [
        ("fired", "Rebels", "Effect", 0), ("fired", "bus", "Effect", 38), ("fired", "rockets", "Treatment", 25),
        ("fired", "rockets", "Treatment_Drug", 25), ("fired", "York", "Treatment_Drug", 14), ("at", "York", "Drug", 14),
    ],
}  # fmt: skip


def arguments(passage: Passage) -> list[tuple[str | None, str | None, str | None, int]]:
    rows = [
        (event, argument, passage.mention(argument.entity)) for event in passage.events for argument in event.arguments
    ]
    return [(event.trigger.text, mention.text, argument.role, mention.start) for event, argument, mention in rows]


def test_every_format_that_ships_has_a_record_here() -> None:
    assert {entry.name for entry in FORMATS.entries() if entry.origin == "frostline"} == set(RECORDS)


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_recognised_and_its_offsets_become_characters(name: str) -> None:
    assert detect(RECORDS[name], "x") == name
    assert arguments(read_record(RECORDS[name], "x")) == ARGUMENTS[name]


@pytest.mark.parametrize("name", RECORDS)
def test_what_is_written_reads_as_the_same_passage_and_is_recognised(name: str) -> None:
    passage = read_record(RECORDS[name], "x")
    record = json.loads(json.dumps(FORMATS.load(name).write(passage)))
    assert detect(record, "x") == name
    again = read_record(record, "x")
    assert again == passage or name == "oneie"
    if name == "oneie":  # doc_id and wnd_id become one
        assert again.model_copy(update={"doc_id": "d"}) == passage.model_copy(update={"doc_id": "d"})


@pytest.mark.parametrize("name", ["oneie", "wikievents", "dygie", "jmee", "rams"])
def test_tokens_of_the_source_are_written_back(name: str) -> None:
    key = {"jmee": "words", "rams": "sentences", "dygie": "sentences"}.get(name, "tokens")
    assert FORMATS.load(name).write(read_record(RECORDS[name], "x"))[key] == RECORDS[name][key]


def test_wikievents_takes_the_text_from_its_sentences_and_says_so() -> None:
    notes: list[str] = []
    passage = read_record(RECORDS["wikievents"], "x", note=notes.append)
    assert passage.text == "Hi.\n" + SENTENCE
    assert passage.sentences == ((0, 3), (4, 46))
    assert notes == ["x: $.text: offsets of tokens are not those of this text; the text was made of the sentences"]


def test_coreference_is_read_where_the_source_has_it() -> None:
    oneie = read_record(RECORDS["oneie"], "x")
    assert [mention.coref for mention in oneie.entities] == ["d-E1", "d-E2"]
    dygie = read_record(RECORDS["dygie"], "x")
    assert [(mention.text, mention.coref) for mention in dygie.entities] == [
        ("Rebels", "C1"), ("New York", None), ("a bus", "C1"),
    ]  # fmt: skip
    casie = read_record(RECORDS["casie"], "x")
    assert [event.coref for event in casie.events] == ["h1", "h1"]
    phee = read_record(RECORDS["phee"], "x")
    assert [(mention.id, mention.coref) for mention in phee.entities][:3] == [
        ("T1.1", "T1"), ("T1.2", "T1"), ("T2", None),
    ]  # fmt: skip


def test_an_argument_takes_the_mention_of_its_stand_off_id() -> None:
    passage = read_record(RECORDS["jmee"], "x")
    assert [argument.entity for argument in passage.events[0].arguments] == ["T2", "T3"]


def test_a_part_of_phee_is_an_event_of_its_own() -> None:
    passage = read_record(RECORDS["phee"], "x")
    assert [event.id for event in passage.events] == ["E1", "E1.Combination.E2"]
    written = FORMATS.load("phee").write(passage)["annotations"][0]["events"]
    assert len(written) == 1
    assert written[0]["Treatment"]["Combination"][0]["event_id"] == "E2"
    assert written[0]["Effect"]["text"] == [["Rebels", "bus"]]


# --- what corpora do


def test_a_token_cut_from_its_word_is_widened_and_a_short_text_keeps_the_token() -> None:
    words = ["Oil", "fell", "1.07", "%", "since", "1974", "-LRB-", "OPEC", "-RRB-", "."]

    def record(start: int, end: int, text: str) -> dict[str, Any]:
        mention = {"start": start, "end": end, "text": text, "entity-type": "X"}
        event = {"event_type": "X", "trigger": {"start": 1, "end": 2, "text": "fell"}, "arguments": []}
        return {"words": words, "golden-entity-mentions": [mention], "golden-event-mentions": [event]}

    def said(start: int, end: int, text: str) -> str | None:
        return read_record(record(start, end, text), "x").entities[0].text

    assert said(2, 3, "1.07%") == "1.07 %"
    assert said(5, 6, "197") == "1974"
    assert said(6, 9, "(OPEC)") == "-LRB- OPEC -RRB-"
    assert said(6, 8, "(OPEC)") == "-LRB- OPEC -RRB-"
    with pytest.raises(FrostlineError, match=r"found 'fell' at tokens 1-2; 'fell 1\.07' is at 4-13: are the offsets"):
        said(1, 2, "fell 1.07")  # a whole word more: what inclusive offsets look like


def test_a_stray_text_among_many_is_found_where_it_stands() -> None:
    record = json.loads(json.dumps(RECORDS["oneie"]))
    record["entity_mentions"] += [
        {"id": f"m{at}", "start": at, "end": at + 1, "text": word} for at, word in enumerate(WORDS)
    ]
    record["entity_mentions"][-2]["text"] = "rockets"
    notes: list[str] = []
    passage = read_record(record, "x", note=notes.append)
    assert passage.entities[-2].span == (25, 32)
    assert len(notes) == 1 and "'rockets' is at 25-32" in notes[0]


# --- what a format cannot hold


def die(**changes: Any) -> Passage:
    event = {"id": "E1", "type": "X", "trigger": {"start": 19, "end": 24}, "arguments": [{"entity": "T1", "role": "A"}]}
    value = {"doc_id": "d", "text": SENTENCE, "entities": [{"id": "T1", "start": 0, "end": 6}], "events": [event]}
    return check_passage(Passage.model_validate(value | changes), "x")


@pytest.mark.parametrize("name", ["rams", "dygie", "phee"])
def test_an_argument_without_a_role_needs_a_format_that_has_none(name: str) -> None:
    passage = read_record(RECORDS["native"], "x")
    with pytest.raises(FrostlineError, match=f"'T2' of E1 has no role, and the format '{name}'.*Predict roles first"):
        FORMATS.load(name).write(passage)


def test_dygie_writes_a_trigger_of_two_tokens_and_reads_it_again() -> None:
    event = {"id": "E1", "type": "X", "trigger": {"start": 19, "end": 32}}
    written = FORMATS.load("dygie").write(die(events=[event]))
    assert written["events"] == [[[[4, 5, "X"]]]]
    assert read_record(written, "x").events[0].trigger.text == "fired rockets"


def test_rams_has_no_two_events_at_one_trigger() -> None:
    events = [{"id": name, "type": "X", "trigger": {"start": 19, "end": 24}} for name in ("E1", "E2")]
    with pytest.raises(FrostlineError, match=r"E1 and E2 have the same trigger, \"fired\".*cannot say whose"):
        FORMATS.load("rams").write(die(events=events))


def test_tokens_do_not_hold_white_space_at_the_edge_of_a_span() -> None:
    with pytest.raises(FrostlineError, match=r"mention T1 at 0-7 \('Rebels '\) does not begin and end with a token"):
        FORMATS.load("oneie").write(die(entities=[{"id": "T1", "start": 0, "end": 7}]))


def test_phee_has_no_part_of_an_event_that_is_not_there() -> None:
    event = {"id": "E1.Combination.E2", "type": "Combination", "trigger": {"start": 19, "end": 24}}
    with pytest.raises(FrostlineError, match="a part of 'E1', which is no event before it"):
        FORMATS.load("phee").write(die(events=[event]))


@pytest.mark.parametrize("role", ["Trigger", "Negated", "Drug_text", "Treatment_Combination"])
def test_phee_has_no_role_that_is_a_key_of_its_own(role: str) -> None:
    event = {"id": "E1", "type": "X", "trigger": {"start": 19, "end": 24}}
    with pytest.raises(FrostlineError, match=f"the role '{role}' of E1 is a key of PHEE"):
        FORMATS.load("phee").write(die(events=[event | {"arguments": [{"entity": "T1", "role": role}]}]))


def test_losses_name_what_a_format_has_no_place_for() -> None:
    passage = read_record(RECORDS["native"], "x")
    assert losses(passage, FORMATS.load("native")) == ()
    lost = {item.feature for item in losses(passage, FORMATS.load("rams"))}
    assert lost == {"candidates", "constraints", "coref", "heads", "ontology", "raw text", "types"}
    assert {item.feature for item in losses(passage, FORMATS.load("casie"))} >= {"mentions", "coref"}


def test_a_result_of_prediction_reads_as_its_passage() -> None:
    record = json.loads(json.dumps(RECORDS["native"]))
    record["events"][0]["arguments"][1] |= {"role": "Target", "score": -0.1, "margin": 2.0, "alternatives": []}
    record["events"][0] |= {"rejected": []}
    record |= {"scorer": "s", "solver": {"status": "optimal"}, "rules": [], "notes": []}
    assert arguments(read_record(record, "x"))[1] == ("fired", "a bus", "Target", 36)


def test_white_space_at_the_edges_of_tokens_belongs_to_no_token() -> None:
    """Found by the fuzzer: a token of nothing but a space moved its neighbours' spans when it was read again."""
    mention = {"start": 1, "end": 4, "text": "in New"}
    record = {
        "words": ["Rebels", " ", "in ", "New", ""],
        "golden-entity-mentions": [mention],
        "golden-event-mentions": [],
    }
    passage = read_record(record, "x")
    assert (passage.text, passage.entities[0].text) == ("Rebels  in New ", "in New")
    assert read_record(FORMATS.load("jmee").write(passage), "x").entities[0].text == "in New"
    with pytest.raises(FrostlineError, match=r"\$.golden-entity-mentions\[0\]: expected 0 <= start < end <= 5"):
        read_record(record | {"golden-entity-mentions": [{"start": 4, "end": 5}]}, "x")
