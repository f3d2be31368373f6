"""Files of labelled text: every format says the same, and one clear error for each way to get a file wrong."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_makers import Row, csv_bytes, json_bytes, jsonl_bytes, pairs_bytes

from backbones.core.errors import FrostlineError
from benchmarks.text_files import kind_of, read_divided, read_whole
from benchmarks.text_rows import Naming, Rows
from benchmarks.text_sets import read_texts
from benchmarks.text_tables import table_rows

SPLIT = ("text", "label", "split")
PLAIN = Naming()
TEXTS = st.text(min_size=1).filter(str.strip)
LABELS = TEXTS.map(str.strip)
ROWS = st.lists(st.tuples(TEXTS, LABELS), min_size=1, max_size=8)
WRITERS: dict[str, Callable[[Sequence[Row]], bytes]] = {
    ".csv": csv_bytes,
    ".tsv": lambda rows: csv_bytes(rows, delimiter="\t"),
    "semicolons.csv": lambda rows: csv_bytes(rows, delimiter=";"),
    "tabs.csv": lambda rows: csv_bytes(rows, delimiter="\t"),
    "marked.csv": lambda rows: b"\xef\xbb\xbf" + csv_bytes(rows),
    ".jsonl": jsonl_bytes,
    ".json": json_bytes,
    "pairs.json": pairs_bytes,
    ".json.xz": lambda rows: lzma.compress(json_bytes(rows), preset=0),
    ".jsonl.gz": lambda rows: gzip.compress(jsonl_bytes(rows)),
}


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def columns(rows: Rows) -> list[Row]:
    return list(zip(rows.texts, rows.labels, strict=True))


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=40, deadline=None)
@given(rows=ROWS)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, name: str, rows: list[Row]) -> None:
    path = write(tmp_path_factory.getbasetemp(), f"x{name}", WRITERS[name](rows))
    assert columns(read_whole(path, PLAIN)) == rows


@settings(max_examples=60, deadline=None)
@given(train=ROWS, test=ROWS, val=ROWS)
def test_the_parts_of_a_file_are_told_apart(
    tmp_path_factory: pytest.TempPathFactory, train: list[Row], test: list[Row], val: list[Row]
) -> None:
    parts = {"val": val, "test": test, "train": train}
    mixed = [(*row, part) for part, rows in parts.items() for row in rows]
    folder, keys = tmp_path_factory.getbasetemp(), ("text", "label", "split")
    files = {
        "a.json": json.dumps(parts),
        "b.json": json.dumps([dict(zip(keys, row, strict=True)) for row in mixed]),
        "c.jsonl": "\n".join(json.dumps(dict(zip(keys, row, strict=True))) for row in mixed),
        "d.csv": csv_bytes(mixed, ("text", "label", " Split ")),
    }
    for name, content in files.items():
        first, second = read_divided(write(folder, name, content), PLAIN)
        assert (columns(first), columns(second)) == (train, test), name


def test_a_table_is_what_the_csv_module_reads(tmp_path: Path) -> None:
    content = '\nid,Query, LABEL \n1,"a ""quoted"", text",x\n\n2,"over\ntwo lines", y \n3,plain,x\n   \n'
    path = write(tmp_path, "a.csv", content)
    peer = list(csv.DictReader(io.StringIO(content.lstrip())))
    rows = read_whole(path, PLAIN)
    wanted = [(row["Query"], row[" LABEL "].strip()) for row in peer if row["Query"]]
    assert columns(rows) == wanted
    assert rows.numbers == [3, 5, 7]  # as an editor counts them
    assert rows.place(1) == f"{path}, line 5"


BREAKS = re.compile(r"\r\n|\r|\n")


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, data=st.data())
def test_a_bad_row_is_named_by_the_line_where_it_begins(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(rows)))
    above = csv_bytes(rows[:at])
    path = write(tmp_path_factory.getbasetemp(), "a.csv", above + b'"",label\r\n' + csv_bytes(rows[at:]))
    line = len(BREAKS.findall(above.decode())) + 1
    with pytest.raises(FrostlineError, match=rf"a\.csv, line {line} has an empty text"):
        read_whole(path, PLAIN)


def test_progress_counts_bytes_to_the_end(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", csv_bytes((f"text {row}", "x") for row in range(25_000)))
    calls: list[tuple[str, int, int]] = []
    assert len(read_whole(path, PLAIN, lambda *call: calls.append(call))) == 25_000
    size = path.stat().st_size
    assert {(phase, total) for phase, _, total in calls} == {("read a.csv", size)}
    done = [call[1] for call in calls]
    assert (done[0], done[-1], len(done)) == (0, size, 4)
    assert all(one <= two for one, two in pairwise(done))


@pytest.mark.parametrize(
    ("header", "naming", "found"),
    [
        (["sentence", "intent"], PLAIN, (0, 1)),
        (["class", "TEXT", "question"], PLAIN, (1, 0)),
        (["category", "label", "content"], PLAIN, (2, 1)),
        (["text", "label", "body", "stars"], Naming(text="body", label="stars"), (2, 3)),
    ],
)
def test_columns_are_found_by_name(tmp_path: Path, header: list[str], naming: Naming, found: tuple[int, int]) -> None:
    row = [f"field {place}" for place in range(len(header))]
    rows = read_whole(write(tmp_path, "a.tsv", csv_bytes([row], header, "\t")), naming)
    assert columns(rows) == [(row[found[0]], row[found[1]])]
    again = read_whole(write(tmp_path, "a.json", json.dumps([dict(zip(header, row, strict=True))])), naming)
    assert columns(again) == columns(rows)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a/train.csv", ("train", ".csv", "")),
        ("train.v2.JSON.XZ", ("train.v2", ".json", ".xz")),
        ("a.jsonl.gz", ("a", ".jsonl", ".gz")),
        ("a.txt", None),
        ("a.xz", None),
        (".csv", None),
    ],
)
def test_formats_are_told_by_name(name: str, kind: tuple[str, str, str] | None) -> None:
    assert kind_of(name) == kind


DEEP = "[" * 100_000
FAULTS = [
    ("a.csv", "text,label\nhello,\n", "line 2 has an empty label; complete the row or remove it"),
    ("a.csv", "text,label\nhello,a\n,b\n", "line 3 has an empty text"),
    ("a.csv", "text,label\n \t,b\n", "line 2 has an empty text"),
    ("a.csv", "text,label\nhello\n", "line 2 has no label"),
    ("a.csv", "id,label,text\n1,x\n", "line 2 has no text"),
    ("a.csv", "text,label\nhello, you,a\n", "line 2 has 3 fields but the header has 2.*',' between double quotes"),
    ("a.csv", "text,label\nok,a\n\"no end,a\n", "line 3 cannot be taken apart.*a quote does not end.*must end with"),
    ("a.csv", "text,label\n\"Oh\" he said,a\n", "line 2 cannot be taken apart.*double quote must end with one"),
    ("a.csv", "title,label\nx,y\n", r"a\.csv has no text column \(text, sentence, .*'title', 'label'.*::text=NAME"),
    ("a.csv", "text,topic\nx,y\n", r"has no label column \(label, intent.*Its columns: 'text', 'topic'.*::label=NAME"),
    ("a.csv", "text,intent,class\nx,y,z\n", "2 columns that may hold the label: 'intent' and 'class'.*::label=NAME"),
    ("a.csv", "text,text,label\nx,y,z\n", "2 columns that may hold the text: 'text' and 'text'"),
    ("a.csv", b"text,label\nok,a\ncaf\xe9,b\n", r"a\.csv is not UTF-8 \(line 3, byte 0xe9\); save it as UTF-8"),
    ("a.csv", "text,label\n".encode("utf-16"), "not UTF-8 but UTF-16"),
    ("a.jsonl", '{"text": "a", "label": "b"}\n\n{"text": "c"}\n', "line 3 has no label; complete"),
    ("a.jsonl", '{"text": "a", "label": "b"}\n{"text": null, "label": "b"}\n', "line 2 has no text"),
    ("a.jsonl", '{"text": 5, "label": "b"}\n', "line 1: the text is 5; it must be a string"),
    ("a.jsonl", '{"text": "a", "label": 0.5}\n', "line 1: the label is 0.5; it must be a string or an integer"),
    ("a.jsonl", '{"text": "a", "label": true}\n', "line 1: the label is True; it must be"),
    ("a.jsonl", '{"text": "a"}\n', r"line 1 has no label column \(label, .*Its columns: 'text'"),
    ("a.jsonl", '["a", "b"]\n["a", "b", "c"]\n', "line 2 is a list of 3; rows must be objects.*pairs"),
    ("a.jsonl", '["a", "b"]\n7\n', "line 2 is a number; rows must be"),
    ("a.jsonl", '["a", "b"]\n{"text": "a"\n', "line 2, column 13 is no JSON: Expecting ',' delimiter"),
    ("a.jsonl", b'["a", "b"]\n["\xff", "b"]\n', r"not UTF-8 \(line 2, byte 0xff\)"),
    ("a.json", '[["a", "b"],\n ["", "b"]]', "row 2 has an empty text"),
    ("a.json", '[["a", "b"],\n ["c" "b"]]', "line 2, column 7 is no JSON"),
    ("a.json", '"hello"', "holds a string; it must hold a list of objects"),
    ("a.json", '{"data": []}', "holds an object; it must hold a list"),
    ("a.json", DEEP, "holds JSON that no set of texts needs: .*nested too deeply"),
    ("a.json", f'[["a", {"9" * 5000}]]', "holds JSON that no set of texts needs: .*digits"),
    ("a.json.xz", lzma.compress(b'[["a", "b"]]')[:40], r"a\.json\.xz is cut short or damaged.*copy it again"),
    ("a.json.xz", b'[["a", "b"]]', "cut short or damaged"),
    ("a.json.gz", gzip.compress(b'[["a", "b"]]' * 99)[:-12], "cut short or damaged"),
    ("a.csv.gz", b"text,label", "cut short or damaged"),
    ("a.txt", "text", r"no file of texts by its name; it must end in \.csv, \.tsv, \.jsonl, \.json.*\.gz or \.xz"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "words"), FAULTS, ids=[f"{n}-{w[:30]}" for n, _, w in FAULTS])
def test_each_fault_is_named(tmp_path: Path, name: str, content: bytes | str, words: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(FrostlineError, match=words) as caught:
        read_whole(path, PLAIN)
    assert str(path) in str(caught.value)


DIVISIONS = [
    ("a.csv", "text,label\nx,y\n", PLAIN, "no division into training and test texts. Pass a folder with train.csv and"),
    ("a.csv", "text,label,split\n", PLAIN, "has no rows. Pass a folder"),
    ("a.csv", "", PLAIN, "has no rows"),
    ("a.json", "[]", PLAIN, "has no rows"),
    ("a.json", '[["a", "b"]]', PLAIN, "no division.*a column split.*JSON object"),
    ("a.csv", "text,label,split\nx,y,train\n", PLAIN, "no part called test or val or .*parts: 'train'.*::test=NAME"),
    ("a.csv", "text,label,split\nx,y,test\n", PLAIN, "no part called train.*::train=NAME"),
    ("a.csv", "text,label,split\na,b,train\nc,d,test\ne,f,tset\n", PLAIN, "line 4 has the split 'tset', which is none"),
    ("a.csv", "text,label,split\na,b,train\nc,d,\n", PLAIN, "line 3 has no split, as other rows have"),
    ("a.json", '[{"text": "a", "label": "b", "split": "train"}, {"text": "a", "label": "b", "split": null}]', PLAIN,
     "row 2 has no split"),
    ("a.json", '{"train": [["a", "b"]], "tests": []}', PLAIN, "no part called test.*Its parts: 'tests', 'train'"),
    ("a.json", '{"train": [["a", "b"]], "test": [["c", ""]]}', PLAIN, "test, row 1 has an empty label"),
    ("a.json", '{"train": 1, "test": []}', PLAIN, "no part called train. Its parts: 'test'"),
    ("a.csv", "text,label,split\na,b,train\nc,d,Train\ne,f,test\n", PLAIN, "parts 'train' and 'Train'; write them"),
    ("a.csv", "text,label,split\na,b,x\n", Naming(train="y"), "unknown train part 'y'.*Known: x"),
    ("a.csv", "text,label,split\na,b,train\n", Naming(test="train"), "'train' is named for training and for the test"),
    ("a.csv", "text,label,split\na,b,train\n", Naming(split="spilt"), "unknown split column 'spilt'.*'split'"),
    ("a.csv", "text,label,split\na,b,train\n", Naming(text="txt"), "unknown text column 'txt'. Did you mean 'text'"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "naming", "words"), DIVISIONS, ids=[w[:40] for *_, w in DIVISIONS])
def test_each_wrong_division_is_named(tmp_path: Path, name: str, content: str, naming: Naming, words: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(FrostlineError, match=words) as caught:
        read_divided(path, naming)
    assert str(path) in str(caught.value)


def test_parts_may_bear_other_names(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", json.dumps({"seen.tsv": [["a", 1]], "new.tsv": [["b", 1]], "rest": 0}))
    first, second = read_divided(path, Naming(train="seen.tsv", test="new.tsv"))
    assert (columns(first), columns(second)) == ([("a", "1")], [("b", "1")])
    table = write(tmp_path, "a.csv", csv_bytes([("a", "x", "1"), ("b", "x", "2")], ("text", "label", "fold")))
    first, second = read_divided(table, Naming(split="fold", train="2", test="1"))
    assert (first.texts, second.texts) == (["b"], ["a"])


def test_half_a_surrogate_pair_is_read(tmp_path: Path) -> None:
    rows = read_whole(write(tmp_path, "a.jsonl", '["\\ud800 a", "b"]\n'), PLAIN)
    assert rows.texts == ["\ud800 a"]


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(FrostlineError, match=r"cannot read .*a\.csv: Is a directory"):
        read_whole(tmp_path / "a.csv", PLAIN)


FIELDS = st.lists(st.lists(st.text(st.sampled_from('ab,"\n\r \t;'), max_size=6), min_size=2, max_size=2), min_size=1)


@settings(max_examples=200, deadline=None)
@given(rows=FIELDS, delimiter=st.sampled_from(",;\t"), everything=st.booleans())
def test_tables_are_taken_apart_as_they_were_put_together(
    rows: list[list[str]], delimiter: str, everything: bool
) -> None:
    held = io.StringIO(newline="")
    csv.writer(held, delimiter=delimiter, quoting=csv.QUOTE_ALL if everything else csv.QUOTE_MINIMAL).writerows(rows)
    lines = io.StringIO(held.getvalue(), newline="").readlines()
    assert [row.fields for row in table_rows(lines, delimiter)] == rows


STRAY = {
    "never closed": (['"Oh no', "b", "c"], False),
    "closed rows later": (['"Oh no', "b", 'c"', "d"], False),
    "opened again": (['"Oh no', "b", '"c', "d"], False),
    "inside": (['a 5" disk', "b"], False),
    "one quotation": (['"Be quiet"', "b"], False),
    "both": (['"Be ""quiet"""', 'a 5" disk'], False),
    "all": (['"a"', '"b, ""c"""'], True),
    "those that need it": (['"a ""b"""', "c"], True),
}


@pytest.mark.parametrize("kind", STRAY)
def test_quotes_in_tsv_are_text_unless_the_file_quotes_throughout(tmp_path: Path, kind: str) -> None:
    texts, off = STRAY[kind]
    path = write(tmp_path, "a.tsv", "text\tlabel\n" + "".join(f"{text}\tx{n}\n" for n, text in enumerate(texts)))
    rows = read_whole(path, PLAIN)
    bare = [text[1:-1].replace('""', '"') if text[0] == '"' else text for text in texts]
    assert rows.texts == (bare if off else texts)
    assert rows.labels == [f"x{n}" for n in range(len(texts))]
    (note,) = rows.notes or ("",)
    assert ("quotes around fields are taken off" in note) == off
    assert ("quotes are part of the texts" in note) == (not off and any(text[0] == '"' for text in texts))


def test_a_field_of_any_length_is_read_and_no_global_bound_touched(tmp_path: Path) -> None:
    bound = csv.field_size_limit()
    text = "word " * 60_000
    path = write(tmp_path, "a.csv", csv_bytes([(text, "x"), (f'{text}"\n', "y")]))
    assert read_whole(path, PLAIN).texts == [text, f'{text}"\n']
    assert csv.field_size_limit() == bound


def test_parts_and_files_that_are_not_used_are_named(tmp_path: Path) -> None:
    table = write(tmp_path, "a.csv", csv_bytes([("a", "x", "train"), ("b", "x", "test"), ("c", "x", "val")], SPLIT))
    assert read_texts(str(table)).notes == ("a.csv has parts that are not used: val (1 rows)",)
    parts = {"train": [["a", "x"]], "test": [["b", "x"]], "oos": [["c", "y"]] * 3}
    packed = write(tmp_path, "b.json", json.dumps(parts))
    assert read_texts(str(packed)).notes == ("b.json has parts that are not used: oos (3 rows)",)
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("train.csv", "test.csv", "val.csv", "readme.md"):
        write(folder, name, "text,label\na,x\n")
    (note,) = read_texts(str(folder)).notes
    assert note.startswith("2 files were passed over, as they are neither the training nor the test part: 1 .csv (val")
    for part in ("train", "test"):
        (tmp_path / "classes" / part / "x" / "deep").mkdir(parents=True)
        write(tmp_path / "classes" / part / "x", "a.TXT", "a")
        write(tmp_path / "classes" / part / "x" / "deep", "b.txt", "b")
        write(tmp_path / "classes" / part / "x" / "deep", "c.doc", "c")
    found = read_texts(str(tmp_path / "classes"))
    assert len(found.train) == 2
    assert found.notes == ("1 files were passed over, as they are no .txt files of a class: 1 .doc (c.doc)",)
    rows = [("a", "x", "train"), ("b", "x", "test"), ("c", "y", "train")]
    untested = write(tmp_path, "c.csv", csv_bytes(rows, SPLIT))
    assert "1 training texts of 1 classes" in read_texts(f"{untested}::untested=drop").notes[0]
