"""What corpora and tools write otherwise, and what is made of it: ids, keys, events as arguments, slips, triggers."""

from __future__ import annotations

import copy
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from format_makers import RECORDS

from backbones.core.errors import FrostlineError
from benchmarks.passages import FORMATS, Passage, read_passages, read_record


def read(record: dict[str, Any]) -> tuple[Passage, list[str]]:
    notes: list[str] = []
    return read_record(record, "x", note=notes.append), notes


def changed(name: str, *changes: tuple[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(RECORDS[name])
    for path, value in changes:
        *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
        held: Any = made
        for part in parents:
            held = held[part]
        held[last] = value
    return made


# --- ids

NUMBERED = {
    "native": [
        ("doc_id", 12), ("entities.0.id", 1), ("events.0.id", 7), ("events.0.arguments.0.entity", 1),
        ("constraints.0.event", 7), ("entities.0.coref", 3),
    ],
    "sentence": [("doc_id", 12), ("event_mentions.0.id", 7)],
    "oneie": [
        ("wnd_id", 12), ("entity_mentions.0.id", 0), ("event_mentions.0.id", 7),
        ("event_mentions.0.arguments.0.entity_id", 0),
    ],
    "wikievents": [
        ("doc_id", 12), ("entity_mentions.0.id", 1), ("event_mentions.0.arguments.0.entity_id", 1),
        ("event_mentions.0.id", 7),
    ],
    "rams": [("doc_key", 12)],
    "dygie": [("doc_key", 12)],
    "jmee": [("sentence_id", 12)],
    "casie": [
        ("filename", 12), ("cyberevent.hopper.0.index", 0), ("cyberevent.hopper.0.events.0.index", 7),
        ("cyberevent.hopper.0.events.0.argument.0.index", 1),
    ],
    "phee": [("id", 12), ("annotations.0.events.0.event_id", 7), ("annotations.0.events.0.Trigger.entity_id.0", 5)],
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERED)
def test_ids_may_be_integers_and_are_the_same_in_quotes(name: str) -> None:
    passage, _ = read(changed(name, *NUMBERED[name]))
    quoted, _ = read(changed(name, *((path, str(value)) for path, value in NUMBERED[name])))
    assert passage == quoted
    assert passage.doc_id == "12"


@pytest.mark.parametrize("value", [True, 1.5, [], {}])
def test_ids_are_nothing_else(value: Any) -> None:
    with pytest.raises(FrostlineError, match=r"\$.entity_mentions\[0\].id: expected a string"):
        read(changed("oneie", ("entity_mentions.0.id", value)))


def test_a_mention_without_a_name_is_found_by_its_text() -> None:
    passage, notes = read(changed("oneie", ("entity_mentions.0.id", None)))
    assert passage.events[0].arguments[0].entity == passage.entities[0].id == "T1"
    assert any("no mention has this id; the mention 'T1' has the text 'Rebels' and was taken" in note for note in notes)


def test_null_in_the_place_of_an_offset_is_named() -> None:
    with pytest.raises(FrostlineError, match=r"\$.entities\[0\].start: expected the key 'start', found null"):
        read(changed("native", ("entities.0.start", None)))
    with pytest.raises(FrostlineError, match=r"expected the key 'startOffset', found null"):
        read(changed("casie", ("cyberevent.hopper.0.events.0.nugget.startOffset", None)))


# --- keys


@pytest.mark.parametrize(
    ("path", "kind"), [("split", "passage"), ("entities.0.score", "mention"), ("events.0.source", "event"),
                       ("events.0.arguments.0.entity_type", "argument"), ("events.0.trigger.lemma", "trigger")],
)  # fmt: skip
def test_a_key_that_nobody_knows_is_ignored_and_told(path: str, kind: str) -> None:
    passage, notes = read(changed("native", (path, "x")))
    key = path.split(".")[-1]
    assert passage == read(RECORDS["native"])[0]
    assert len(notes) == 1 and f'the key "{key}" is none of a {kind} and was ignored' in notes[0]


def test_notes_of_one_kind_are_told_five_times_and_then_counted(tmp_path: Path) -> None:
    lines = [json.dumps(RECORDS["native"] | {"split": "train", **({"x": 1} if at == 7 else {})}) for at in range(9)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    notes: list[str] = []
    assert len(list(read_passages(tmp_path / "a.jsonl", note=notes.append))) == 9
    assert [("split" in note, note.startswith("4 more of these")) for note in notes] == [
        *[(True, False)] * 5, (False, False), (True, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "slip"), [("entities", "entitys"), ("language", "languag"), ("constraints", "constraint")]
)
def test_a_slip_in_a_key_that_is_missing_is_none_of_those(key: str, slip: str) -> None:
    record = copy.deepcopy(RECORDS["native"])
    record[slip] = record.pop(key)
    with pytest.raises(FrostlineError, match=f"the unknown key \"{slip}\". Did you mean '{key}'"):
        read(record)


# --- events as arguments


@pytest.mark.parametrize(
    ("name", "path", "row"),
    [
        ("native", "events.0.arguments.1", {"entity": "E1", "role": "Cause"}),
        ("wikievents", "event_mentions.0.arguments.0", {"entity_id": "d-E1", "role": "Cause"}),
        ("oneie", "event_mentions.0.arguments.1", {"entity_id": "d-EV1", "role": "Cause", "text": "fired"}),
    ],
)
def test_an_event_as_an_argument_is_left_out_and_told(name: str, path: str, row: dict[str, Any]) -> None:
    before = len(read(RECORDS[name])[0].events[0].arguments)
    passage, notes = read(changed(name, (path, row)))
    assert len(passage.events[0].arguments) == before - 1
    assert any("an event as an argument of an event was left out" in note for note in notes)


# --- slips of CASIE, predictions of DyGIE++


@pytest.mark.parametrize(("start", "end"), [(1, 7), (0, 7), (1, 6), (0, 5)])
def test_casie_is_mended_by_one_character_with_one_note(start: int, end: int) -> None:
    argument = "cyberevent.hopper.0.events.0.argument.0"
    passage, notes = read(changed("casie", (f"{argument}.startOffset", start), (f"{argument}.endOffset", end)))
    assert passage.entities[0].span == (0, 6)
    assert len(notes) == 1 and "'Rebels' is at 0-6; so are 1 of 3 spans off by one, and their texts were" in notes[0]
    with pytest.raises(FrostlineError, match="the text differs from the offsets"):
        read(changed("casie", (f"{argument}.startOffset", 2), (f"{argument}.endOffset", 8)))


def test_dygie_reads_what_was_predicted_where_nothing_else_is_there() -> None:
    record = copy.deepcopy(RECORDS["dygie"])
    record["predicted_events"] = [[], [[[6, "X", 9.1, 0.9], [2, 2, "Agent", 3.2, 0.8]]]]
    record["predicted_ner"] = [[], [[2, 2, "ORG", 3.2, 0.8]]]
    assert read(record)[0].events[0].type == "Conflict.Attack"
    del record["events"], record["ner"]
    passage, notes = read(record)
    assert (passage.events[0].type, passage.events[0].arguments[0].role) == ("X", "Agent")
    assert [mention.type for mention in passage.entities] == ["ORG"]
    assert len(notes) == 2 and "$.predicted_events: what was predicted is read: there are no events" in notes[1]


def test_dygie_writes_back_triggers_of_any_length() -> None:
    record = changed("dygie", ("events.1.0.0", [6, 7, "Conflict.Attack"]))
    passage, _ = read(record)
    assert passage.events[0].trigger.text == "fired rockets"
    assert FORMATS.load("dygie").write(passage)["events"] == record["events"]


# --- triggers of raw text


def trigger(text: str, said: str, tmp_path: Path, **options: Any) -> tuple[str | None, list[str]]:
    (tmp_path / "t.txt").write_bytes(text.encode())
    notes: list[str] = []
    (passage,) = read_passages(tmp_path / "t.txt", trigger=said, event_type="X", note=notes.append, **options)
    return passage.events[0].trigger.text, [note for note in notes if "looks" not in note]


@pytest.mark.parametrize(
    ("text", "said", "found"),
    [
        ("叛军周五用火箭袭击了洛马港。", "袭击", "袭击"),
        ("反乱軍は金曜日に港を攻撃した。", "攻撃", "攻撃"),
        ("กลุ่มกบฏโจมตีท่าเรือ", "โจมตี", "โจมตี"),
        ("Rebels opened\r\nfire on the port.", "opened fire", "opened\r\nfire"),
        ("Rebels opened \t fire on the port.", "opened\nfire", "opened \t fire"),
        ("Rebels opened\u00a0fire.", "opened fire", "opened\u00a0fire"),
        ("They couldn’t attack it.", "couldn't attack", "couldn’t attack"),
        ("They couldn't attack it.", "couldn’t", "couldn't"),
        ("A “hit” and a miss.", '"hit"', "“hit”"),
        ("A counter\u2011attack began.", "counter-attack", "counter\u2011attack"),
        ("Le caf\u00e9 br\u00fble.", unicodedata.normalize("NFD", "brûle"), "br\u00fble"),
        (unicodedata.normalize("NFD", "Le café brûle."), "brûle", unicodedata.normalize("NFD", "brûle")),
        ("An at\u00adtack began.", "attack", "at\u00adtack"),
        ("Er griff an, dann begann der Angriff.", "griff", "griff"),
    ],
)
def test_a_trigger_is_found_as_a_reader_sees_it(text: str, said: str, found: str, tmp_path: Path) -> None:
    assert trigger(text, said, tmp_path) == (found, [])


@pytest.mark.parametrize(
    ("text", "said", "word"),
    [
        ("Sie starteten einen Raketenangriff auf den Hafen.", "angriff", "Raketenangriff"),
        ("Een raketaanval op de haven.", "aanval", "raketaanval"),
        ("반군이 항구를 공격했다.", "공격", "공격했다"),
        ("The counterattack began.", "attack", "counterattack"),
    ],
)
def test_a_trigger_inside_a_word_is_taken_and_told(text: str, said: str, word: str, tmp_path: Path) -> None:
    found, notes = trigger(text, said, tmp_path)
    assert found == said
    assert len(notes) == 1 and f"trigger: {said!r} is a part of the word {word!r}" in notes[0]


@pytest.mark.parametrize(
    ("text", "said"), [("Le café.", "cafe"), ("각하", "가"), (unicodedata.normalize("NFD", "é"), "e")]
)
def test_a_letter_without_its_marks_is_another_one(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(FrostlineError, match="which is not in it"):
        trigger(text, said, tmp_path)


def test_a_trigger_inside_several_words_needs_offsets(tmp_path: Path) -> None:
    with pytest.raises(FrostlineError, match=r"at 7-14, 27-34\. Give the offsets instead"):
        trigger("Raketenangriff oder Bombbenangriff", "angriff", tmp_path)


def test_raw_text_takes_its_language(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("Sie starteten den Angriff auf die Stadt und den Hafen.")
    for language, tag in (("German", "de"), ("de_AT", "de-AT"), (None, "en")):
        notes: list[str] = []
        (passage,) = read_passages(
            tmp_path / "t.txt", trigger="Angriff", event_type="X", language=language, note=notes.append
        )
        assert passage.language == tag
        assert bool(notes) is (language is None)


def test_native_records_come_back_with_everything_that_was_mended() -> None:
    passage, _ = read(changed("native", *NUMBERED["native"], ("language", "en_us")))
    record = json.loads(json.dumps(FORMATS.load("native").write(passage)))
    assert read(record) == (passage, [])
    assert (record["doc_id"], record["entities"][0]["id"], record["language"]) == ("12", "1", "en-US")
