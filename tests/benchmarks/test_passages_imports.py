"""Formats that are read only: brat, ACE's APF, UIMA's CAS, Label Studio, doccano."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from backbones.core.errors import FrostlineError
from benchmarks.passages import Passage, read_passages

TEXT = "Rebels in New York fired rockets at a bus."
# Rebels 0-6, New York 10-18, fired 19-24, rockets 25-32, a bus 36-41
ATTACK = [("fired", "Conflict:Attack", [("Attacker", "Rebels", "PER"), ("Place", "New York", "GPE")])]

BRAT = """T1\tPER 0 6\tRebels
T2\tConflict:Attack 19 24\tfired
T3\tGPE 10 18\tNew York
T4\tVEH 36 41\ta bus
E1\tConflict:Attack:T2 Attacker:T1 Place:T3
*\tEquiv T1 T4
A1\tNegation E1
#1\tAnnotatorNotes T1\tx
"""
SGM = f"<DOC>\r\n<DOCID> d </DOCID>\r\n<TEXT>\r\nAT&amp;T said: {TEXT}\r\n</TEXT>\r\n</DOC>\r\n"
RELATIONS = [
    {"id": 1, "from_id": 2, "to_id": 1, "type": "Attacker"}, {"id": 2, "from_id": 2, "to_id": 3, "type": "Place"},
]  # fmt: skip
DOCANNO = {
    "id": 1, "text": TEXT, "Comments": [],
    "entities": [
        {"id": 1, "label": "PER", "start_offset": 0, "end_offset": 6},
        {"id": 2, "label": "Conflict:Attack", "start_offset": 19, "end_offset": 24},
        {"id": 3, "label": "GPE", "start_offset": 10, "end_offset": 18},
    ],
    "relations": RELATIONS,
}  # fmt: skip


def region(name: str, word: str, label: str) -> dict[str, Any]:
    start = TEXT.index(word)
    value = {"start": start, "end": start + len(word), "text": word, "labels": [label]}
    return {"id": name, "type": "labels", "from_name": "label", "to_name": "text", "value": value}


LABEL_STUDIO = {
    "id": 7, "data": {"text": TEXT},
    "annotations": [{"was_cancelled": True, "result": []}, {"result": [
        region("a", "Rebels", "PER"), region("b", "fired", "Conflict:Attack"), region("c", "New York", "GPE"),
        {"type": "relation", "from_id": "b", "to_id": "a", "direction": "right", "labels": ["Attacker"]},
        {"type": "relation", "from_id": "c", "to_id": "b", "direction": "left", "labels": ["Place"]},
    ]}],
}  # fmt: skip


def apf(rows: str = "") -> str:
    at = len("\n d \n\nAT&amp;T said: ")

    def span(word: str) -> str:
        start = at + TEXT.index(word)
        return f'<charseq START="{start}" END="{start + len(word) - 1}">{word}</charseq>'

    entities = "".join(
        f'<entity ID="d-{name}" TYPE="{kind}"><entity_mention ID="d-{name}-1"><extent>{span(word)}</extent>'
        f"<head>{span(word.split()[-1])}</head></entity_mention></entity>"
        for name, kind, word in (("E1", "PER", "Rebels"), ("E2", "GPE", "New York"))
    )
    arguments = "".join(
        f'<event_mention_argument REFID="d-{name}-1" ROLE="{role}"/>'
        for name, role in (("E1", "Attacker"), ("E2", "Place"))
    )
    return (
        f'<?xml version="1.0"?>\n<!DOCTYPE source_file SYSTEM "apf.v5.1.1.dtd">\n<source_file><document DOCID="d">'
        f'{entities}<event ID="d-EV1" TYPE="Conflict" SUBTYPE="Attack"><event_mention ID="d-EV1-1">'
        f"<anchor>{span('fired')}</anchor>{arguments}{rows}</event_mention></event></document></source_file>"
    )


def cas(prefix: str = "") -> dict[str, Any]:
    """A CAS with an event whose first argument is a slot and whose second is a relation; UTF-16 units."""

    def span(number: int, kind: str, word: str, **features: Any) -> dict[str, Any]:
        start = len((prefix + TEXT[: TEXT.index(word)]).encode("utf-16-le")) // 2
        return {"%ID": number, "%TYPE": kind, "@sofa": 1, "begin": start, "end": start + len(word), **features}

    return {"%TYPES": {}, "%VIEWS": {}, "%FEATURE_STRUCTURES": [
        {"%ID": 1, "%TYPE": "uima.cas.Sofa", "sofaNum": 1, "sofaID": "_InitialView", "sofaString": prefix + TEXT},
        span(2, "de.tudarmstadt.ukp.dkpro.core.api.segmentation.type.Token", "Rebels"),
        span(3, "custom.Span", "Rebels", label="PER"), span(4, "custom.Span", "New York", label="GPE"),
        span(5, "custom.Event", "fired", type="Conflict:Attack", **{"@arguments": 6}),
        {"%ID": 6, "%TYPE": "uima.cas.FSArray", "%ELEMENTS": [7]},
        {"%ID": 7, "%TYPE": "custom.EventLink", "role": "Attacker", "@target": 3},
        span(8, "custom.Relation", "fired", label="Place", **{"@Governor": 5, "@Dependent": 4}),
        {"%ID": 9, "%TYPE": "de.tudarmstadt.ukp.dkpro.core.api.metadata.type.DocumentMetaData", "documentTitle": "t"},
    ]}  # fmt: skip


XMI = f"""<?xml version="1.0" encoding="UTF-8"?>
<xmi:XMI xmlns:cas="http:///uima/cas.ecore" xmlns:xmi="http://www.omg.org/XMI" xmlns:custom="http:///custom.ecore">
<custom:Span xmi:id="3" sofa="1" begin="2" end="8" label="PER"/>
<custom:Span xmi:id="4" sofa="1" begin="12" end="20" label="GPE"/>
<custom:Event xmi:id="5" sofa="1" begin="21" end="26" type="Conflict:Attack" arguments="7"/>
<custom:EventLink xmi:id="7" role="Attacker" target="3"/>
<custom:Relation xmi:id="8" sofa="1" begin="21" end="26" label="Place" Governor="5" Dependent="4"/>
<cas:Sofa xmi:id="1" sofaNum="1" sofaString="&#128640;{TEXT}"/></xmi:XMI>"""


def facts(passage: Passage) -> list[Any]:
    spans = {mention.id: (mention.text, mention.type) for mention in passage.entities}
    return [
        (event.trigger.text, event.type, [(row.role, *spans[row.entity]) for row in event.arguments])
        for event in passage.events
    ]


def read(folder: Path, files: dict[str, str]) -> tuple[Passage, list[str]]:
    for name, content in files.items():
        (folder / name).write_bytes(content.encode())
    notes: list[str] = []
    (found,) = read_passages(folder / next(iter(files)), note=notes.append)
    return found, notes


FILES: dict[str, dict[str, str]] = {
    "brat": {"d.ann": BRAT, "d.txt": TEXT},
    "apf": {"d.apf.xml": apf(), "d.sgm": SGM},
    "label-studio": {"d.json": json.dumps([LABEL_STUDIO])},
    "doccano": {"d.jsonl": json.dumps(DOCANNO)},
    "uima": {"d.json": json.dumps(cas())},
    "uima-utf-16": {"d.json": json.dumps(cas("🚀"))},
    "xmi": {"d.xmi": XMI},
}


@pytest.mark.parametrize("name", FILES)
def test_events_of_annotation_tools_are_read(name: str, tmp_path: Path) -> None:
    passage, _ = read(tmp_path, FILES[name])
    assert facts(passage) == ATTACK


@pytest.mark.parametrize("name", ["brat", "apf"])
def test_an_annotation_and_its_text_are_found_in_folders_archives_and_by_the_text(name: str, tmp_path: Path) -> None:
    read(tmp_path, FILES[name])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for inside in FILES[name]:
            archive.write(tmp_path / inside, f"x/{inside}")
    assert [facts(passage) for passage in read_passages(tmp_path)] == [ATTACK] * 2
    if name == "brat":
        assert [facts(passage) for passage in read_passages(tmp_path / "d.txt")] == [ATTACK]


def test_what_brat_says_besides_is_told(tmp_path: Path) -> None:
    passage, notes = read(tmp_path, FILES["brat"])
    assert [mention.coref for mention in passage.entities] == ["T1", None, "T1"]
    assert len(notes) == 1 and "2 relations, attributes and notes of brat were passed over" in notes[0]


def test_brat_numbers_and_pieces_and_line_ends(tmp_path: Path) -> None:
    ann = "T1\tPER 0 6;9 13\tRebels York\nT2\tX 20 28\tfired at\nT3\tPER 0 6\tRebels\n"
    ann += "E1\tX:T2 Agent:T1 Agent2:T3 Arg1:T3\n"
    passage, notes = read(tmp_path, {"a.ann": ann, "a.txt": "Rebels\r\n York\r\nhave fired\nat a bus."})
    assert facts(passage) == [
        (
            "fired\nat",
            "X",
            [("Agent", "Rebels\r\n York"[:13], "PER"), ("Agent", "Rebels", "PER"), ("Arg1", "Rebels", "PER")],
        )
    ]
    assert any("a span in several pieces" in note for note in notes)


def test_offsets_of_tools_that_count_something_else_are_turned_into_characters(tmp_path: Path) -> None:
    moved = json.loads(json.dumps(LABEL_STUDIO))
    moved["data"]["text"] = "🚀 " + TEXT
    for row in moved["annotations"][1]["result"]:
        if "value" in row:
            row["value"] |= {"start": row["value"]["start"] + 3, "end": row["value"]["end"] + 3}
    passage, notes = read(tmp_path, {"d.json": json.dumps(moved)})
    assert facts(passage) == ATTACK
    assert any("the offsets count UTF-16 units" in note for note in notes)


def test_apf_keeps_heads_and_clusters_and_reads_escapes(tmp_path: Path) -> None:
    passage, _ = read(tmp_path, FILES["apf"])
    assert "AT&T said" in passage.text and passage.doc_id == "d"
    assert [mention.coref for mention in passage.entities] == ["d-E1", "d-E2"]
    head = passage.entities[1].head
    assert head is not None and passage.text[slice(*head)] == "York"


@pytest.mark.parametrize(
    "files",
    [
        {"d.ann": BRAT + "T5\tX 25 32\trockets\nE2\tX:T5 Cause:E1\n", "d.txt": TEXT},
        {"d.apf.xml": apf('<event_mention_argument REFID="d-EV1-1" ROLE="Cause"/>'), "d.sgm": SGM},
        {"d.jsonl": json.dumps(DOCANNO | {"relations": [*RELATIONS, {"from_id": 2, "to_id": 2, "type": "X"}]})},
    ],
)  # fmt: skip
def test_an_event_as_an_argument_is_left_out_with_a_note(files: dict[str, str], tmp_path: Path) -> None:
    passage, notes = read(tmp_path, files)
    assert facts(passage)[0] == ATTACK[0]
    assert any("an event as an argument of an event was left out" in note for note in notes)


def test_features_of_a_cas_that_lead_nowhere_are_none(tmp_path: Path) -> None:
    record = cas()
    record["%FEATURE_STRUCTURES"][2] |= {"@sofa": None, "@other": [], "@lost": 99}
    assert facts(read(tmp_path, {"d.json": json.dumps(record)})[0]) == ATTACK


def test_a_record_without_events_is_read_and_said_to_have_none(tmp_path: Path) -> None:
    passage, notes = read(tmp_path, {"d.json": json.dumps({"data": {"text": TEXT}, "annotations": []})})
    assert passage.events == () and "read as Label Studio: there is no event in it" in notes[0]


BROKEN = {
    "no text": ({"d.ann": BRAT}, "expected the text of this brat annotation beside it, in d.txt"),
    "no sgm": ({"d.apf.xml": apf()}, "in ACE's APF beside it, in d.sgm"),
    "no document": ({"d.apf.xml": "<source_file/>", "d.sgm": SGM}, "expected the element document"),
    "brat span": ({"d.ann": "T1\tPER x\ty\n", "d.txt": TEXT}, "d.ann, line 1: $: expected TYPE START END"),
    "brat event": ({"d.ann": "E1\tAttack\n", "d.txt": TEXT}, "line 1: $: expected TYPE:TRIGGER"),
    "brat trigger": ({"d.ann": "E1\tX:T9\n", "d.txt": TEXT}, "the trigger of an event among the T lines, found 'T9'"),
    "brat target": ({"d.ann": BRAT + "E2\tX:T2 Y:T9\n", "d.txt": TEXT}, 'expected the id of a span, found "T9"'),
    "brat words": ({"d.ann": "T1\tPER 10 18\tRebels\n", "d.txt": TEXT}, "'Rebels' is at 0-6"),
    "apf id": ({"d.apf.xml": apf().replace('REFID="d-E1-1"', ""), "d.sgm": SGM}, "the attribute REFID"),
    "apf span": ({"d.apf.xml": apf().replace('START="', 'START="x'), "d.sgm": SGM}, "integers as START and END"),
    "malformed": ({"d.apf.xml": "<source_file><document>", "d.sgm": SGM}, "malformed XML at line 1, column"),
    "entity": (
        {"d.apf.xml": '<!DOCTYPE source_file [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><source_file>&b;</source_file>',
         "d.sgm": SGM}, "expected XML without declarations of entities, found one of 'a'",
    ),
    "outside": (
        {"d.apf.xml": '<!DOCTYPE source_file [<!ENTITY a SYSTEM "file:///etc/passwd">]><source_file>&a;</source_file>',
         "d.sgm": SGM}, "expected XML without declarations of entities",
    ),
    "deep": ({"d.apf.xml": "<source_file>" + "<a>" * 999, "d.sgm": SGM}, "at most 64 levels of elements"),
    "no sofa": ({"d.json": '{"%FEATURE_STRUCTURES": []}'}, "expected the text (sofaString) of INCEpTION (UIMA CAS)"),
    "doccano target": (
        {"d.json": json.dumps(DOCANNO | {"relations": [{"from_id": 2, "to_id": 8, "type": "X"}]})},
        '$.relations[0]: expected the id of a span, found "8"',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_named_with_its_place(name: str, tmp_path: Path) -> None:
    files, words = BROKEN[name]
    with pytest.raises(FrostlineError) as caught:
        read(tmp_path, files)
    assert words in str(caught.value) and next(iter(files)) in str(caught.value)
