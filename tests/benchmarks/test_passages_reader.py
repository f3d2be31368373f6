"""Reading files, folders and streams: what is found, in which order, and what is said of what is broken."""

from __future__ import annotations

import copy
import io
import json
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_passages_formats import RECORDS

from backbones.core.errors import FrostlineError
from benchmarks.passages import FORMATS, Passage, ReadLimits, read_passages, read_record


def record(name: str) -> dict[str, Any]:
    return {**RECORDS["native"], "doc_id": name}


def lines(*names: str) -> bytes:
    return b"".join(json.dumps(record(name)).encode() + b"\n" for name in names)


def names(content: bytes, **options: Any) -> list[str]:
    return [passage.doc_id for passage in read_passages("-", stdin=io.BytesIO(content), **options)]


def message(content: bytes, **options: Any) -> str:
    with pytest.raises(FrostlineError) as caught:
        names(content, **options)
    return str(caught.value)


# --- kinds of files


@pytest.mark.parametrize("file", ["a.json", "a.jsonl"])
@pytest.mark.parametrize(
    "content",
    [
        lines("a", "b"),
        lines("a", "b").replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + lines("a", "b"),
        b"\n  \n" + lines("a") + b"\n\r\n" + lines("b") + b"\n",
        lines("a", "b").rstrip(),
    ],
)
def test_json_lines_are_known_by_their_content(tmp_path: Path, file: str, content: bytes) -> None:
    (tmp_path / file).write_bytes(content)
    assert [passage.doc_id for passage in read_passages(tmp_path / file)] == ["a", "b"]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_an_array_and_an_object_are_read_however_they_are_laid_out(indent: int | None, bom: bytes) -> None:
    assert names(bom + json.dumps([record("a"), record("b")], indent=indent).encode()) == ["a", "b"]
    assert names(bom + b"\n" + json.dumps(record("a"), indent=indent).encode()) == ["a"]
    assert names(b"\n".join(json.dumps(record(name), indent=2).encode() for name in "ab")) == ["a", "b"]


def test_an_object_that_breaks_after_a_brace_is_one_object() -> None:
    text = json.dumps(record("a"))
    head, tail = text.split('"role": "Attacker"}', 1)
    assert names(f'{head}"role": "Attacker"}}\n{tail}'.encode()) == ["a"]


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path: Path) -> None:
    for path, content in {
        "b.json": lines("b"), "a.jsonl": lines("a1", "a2"), "c/d.json": lines("d"), ".hidden/x.json": b"{",
        "notes.md": b"#", "t.txt": b"raw",
    }.items():  # fmt: skip
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    assert [passage.doc_id for passage in read_passages(tmp_path)] == ["a1", "a2", "b", "d"]
    several = read_passages([tmp_path / "b.json", str(tmp_path / "a.jsonl")])
    assert [passage.doc_id for passage in several] == ["b", "a1", "a2"]


def test_records_of_several_formats_may_follow_each_other() -> None:
    content = b"\n".join(json.dumps(value).encode() for value in RECORDS.values())
    assert len(names(content)) == len(RECORDS)


def test_a_passage_without_a_name_is_called_after_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "a b", "events": []}) + "\n")
    assert [passage.doc_id for passage in read_passages(tmp_path)] == ["a.jsonl, line 1"]


def test_lines_are_read_one_at_a_time() -> None:
    taken: list[int] = []

    class Slow(io.RawIOBase):
        def __init__(self) -> None:
            self.rows: Iterator[bytes] = iter([lines("a"), lines("b"), b"{broken}\n"])

        def readline(self, size: int | None = -1, /) -> bytes:
            taken.append(1)
            return next(self.rows, b"")

    stream = read_passages("-", stdin=Slow())  # type: ignore[arg-type]
    assert next(stream).doc_id == "a"
    assert len(taken) == 1
    assert next(stream).doc_id == "b"
    with pytest.raises(FrostlineError, match="line 3, column 2"):
        next(stream)


# --- raw text


def raw(text: str, tmp_path: Path, **options: Any) -> Passage:
    (tmp_path / "note.txt").write_text(text)
    (found,) = read_passages(tmp_path / "note.txt", event_type="Conflict:Attack", **options)
    return found


@pytest.mark.parametrize("trigger", ["fired", "5-10", "5", (5, 10)])
def test_raw_text_needs_a_trigger_by_word_or_by_offsets(tmp_path: Path, trigger: Any) -> None:
    passage = raw("They fired; misfired.", tmp_path, trigger=trigger)
    assert (passage.events[0].trigger.span, passage.events[0].trigger.text) == ((5, 10), "fired")
    assert (passage.doc_id, passage.events[0].candidates) == ("note", "auto")


def test_raw_text_comes_from_standard_input_and_folders_too(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("They fired.")
    (tmp_path / "b.json").write_bytes(lines("b"))
    options: dict[str, Any] = {"trigger": "fired", "event_type": "X"}
    assert names(b"They fired.", **options) == ["stdin"]
    assert [passage.doc_id for passage in read_passages(tmp_path, **options)] == ["a", "b"]


def test_a_trigger_must_be_given_and_stand_once(tmp_path: Path) -> None:
    with pytest.raises(FrostlineError, match=r"note.txt: no trigger: expected a trigger for a raw text"):
        raw("They fired.", tmp_path)
    with pytest.raises(FrostlineError, match=r"found 'fired' at 0-5, 10-15. Give the offsets instead, such as '0-5'"):
        raw("fired and fired", tmp_path, trigger="fired")
    with pytest.raises(FrostlineError, match=r"found 'fired', which is not in it. Did you mean 'Fired'"):
        raw("Fired.", tmp_path, trigger="fired")
    with pytest.raises(FrostlineError, match=r"\$.events\[0\].trigger: .* found start 5, end 99"):
        raw("They fired.", tmp_path, trigger="5-99")
    with pytest.raises(FrostlineError, match="empty: expected a text"):
        raw(" \n", tmp_path, trigger="fired")
    with pytest.raises(FrostlineError, match="expected words of the text, found ''"):
        raw("They fired.", tmp_path, trigger="")


# --- what is broken


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"text": "a",\n "events": [}\n', "malformed JSON at line 2, column 13: Expecting value"),
        (b"\n\n[{]", "malformed JSON at line 3, column 3"),
        (b"[{}", "record 1: $: expected a record in one of the formats"),
        (b"[1 2]", "record 1: $: expected an object, found 1"),
        (b"[] x", "something after the array"),
        (b"[]", "empty: expected at least one record, found an empty array"),
        (b"", "standard input: empty: expected a passage, found no text"),
        (b" \n\xef\xbb\xbf", "empty: expected a passage, found no text"),
        (b"null", "$: expected an object, found null"),
        (b"hello world", "malformed JSON at line 1, column 1"),
        (b'{"text": NaN, "events": []}', "malformed JSON: NaN is no JSON; write a finite number or null"),
        (b'{"text": -Infinity, "events": []}', "-Infinity is no JSON"),
        (b'{"text": 1e999, "events": []}', "$.text: expected a finite number, found inf"),
        (b'{"text": "a", "text": "b"}', "malformed JSON: the key 'text' stands twice in one object"),
        (b'{"text": "\\ud800", "events": []}', "$.text: expected whole characters, found half of a surrogate pair"),
        (b'{"te\\udfffxt": 1}', "half of a surrogate pair"),
        (b'{"text": "a", "events": [' + b"9" * 20 + b"]}", "$.events[0]: expected an integer of at most"),
        (b'{"text": "a", "events": [' + b"9" * 9999 + b"]}", "malformed JSON: Exceeds the limit"),
        (b'{"text": ' + b"[" * 70 + b"]" * 70 + b"}", "expected at most 64 levels of nesting"),
        (b'{"text": ' + b"[" * 99999, "malformed JSON: nested too deeply"),
        (b'{"text": "\xff"}', "expected UTF-8, found the byte 0xff at offset 10"),
        ("{}".encode("utf-16"), "found UTF-16 (its byte order mark). Save the file as UTF-8"),
        (lines("a").strip() + b" {}\n" + lines("b"), "malformed JSON at line 1"),
    ],
    ids=range(23),
)
def test_broken_files_are_named_with_their_place(content: bytes, words: str) -> None:
    said = message(content)
    assert said.startswith("standard input")
    assert words in said
    assert len(said) < 2000


def test_a_bad_line_stops_or_is_skipped_and_what_is_before_it_is_out() -> None:
    content = lines("a") + b'{"text": "x", "events": 3}\n{"text"\n\xff\n' + lines("b") + b'{"a": 1}\n'
    stream = read_passages("-", stdin=io.BytesIO(content))
    assert next(stream).doc_id == "a"
    with pytest.raises(FrostlineError, match=r"standard input, line 2: \$.events"):
        next(stream)
    errors: list[FrostlineError] = []
    assert names(content, on_error="skip", skipped=errors.append) == ["a", "b"]
    said = [str(error) for error in errors]
    assert [
        " line 2: $.events" in said[0],
        "at line 3, column 8: Expecting" in said[1],
        ", line 4: expected UTF-8" in said[2],
    ] == [True] * 3
    assert "line 6: $: expected a record" in said[3] and len(said) == 4


def test_the_first_of_many_lines_may_be_the_bad_one() -> None:
    errors: list[FrostlineError] = []
    assert names(b'{"text" 1}\n' + lines("b"), on_error="skip", skipped=errors.append) == ["b"]
    assert "at line 1, column 9" in str(errors[0]) and len(errors) == 1


def test_a_bad_element_of_an_array_is_skipped_too() -> None:
    content = json.dumps([record("a"), {"x": 1}, record("b")]).encode()
    errors: list[FrostlineError] = []
    assert names(content, on_error="skip", skipped=errors.append) == ["a", "b"]
    assert [str(error).startswith("standard input, record 2: $") for error in errors] == [True]


def test_a_line_or_a_file_that_is_too_long_is_named_and_the_lines_after_it_are_read() -> None:
    limits = ReadLimits(record=2000, file=9000)
    long = b'{"text": "' + b"a" * 100_000 + b'"}\n'
    errors: list[FrostlineError] = []
    assert names(lines("a") + long + lines("b"), limits=limits, on_error="skip", skipped=errors.append) == ["a", "b"]
    assert "line 2: too long: expected at most 2000 bytes" in str(errors[0]) and len(errors) == 1
    array = json.dumps([record("a"), {"text": "a" * 3000}, record("b")], indent=1).encode()
    assert names(array, limits=limits, on_error="skip", skipped=errors.append) == ["a", "b"]
    assert "record 2: too long: expected at most 2000 bytes" in str(errors[1]) and len(errors) == 2
    assert "too long: expected at most 9000 bytes, found more. Write one passage per line" in message(
        json.dumps([record("a")] * 20, indent=1).encode(), limits=limits
    )
    assert "too long" in message(b"a" * 9001, limits=limits, trigger="a", event_type="X")


def test_files_that_cannot_be_read_are_named_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "news.json").write_bytes(lines("a"))
    with pytest.raises(FrostlineError, match=r'new.json: expected a file .*No such file.* Did you mean "news.json"'):
        list(read_passages(tmp_path / "new.json"))
    with pytest.raises(FrostlineError, match="expected a file or folder"):
        list(read_passages("a\0b"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        FrostlineError, match=r"expected files that end in .json, .jsonl, .ndjson, .ann, .apf.xml, .xmi, found none"
    ):
        list(read_passages(tmp_path / "empty"))


def test_settings_are_checked_before_anything_is_read() -> None:
    with pytest.raises(FrostlineError, match="on_error: expected 'stop' or 'skip', found 'ignore'"):
        read_passages("-", on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(FrostlineError, match=r"unknown passage format 'onie'. Did you mean 'oneie'"):
        read_passages("-", format="onie")


# --- whatever comes


KEYS = st.sampled_from(sorted({key for name in FORMATS.names() for key in RECORDS[name]} | {
    "id", "start", "end", "text", "type", "role", "trigger", "arguments", "nugget", "hopper", "head", "coref",
}))  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
QUIET = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def refusals(content: bytes) -> list[str]:
    """Read the bytes and write what comes of them in every format; return what was said against either."""
    errors: list[FrostlineError] = []
    for passage in read_passages("-", stdin=io.BytesIO(content), on_error="skip", skipped=errors.append):
        for name in FORMATS.names():
            try:
                FORMATS.load(name).write(passage)
            except FrostlineError as error:
                errors.append(error)
    return [str(error) for error in errors]


def in_words(messages: list[str]) -> bool:
    """Say whether each message has words and can be written as UTF-8."""
    return all(re.search(r"\w", message.encode().decode()) for message in messages)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
@QUIET
def test_no_bytes_end_in_anything_but_words(content: bytes) -> None:
    assert in_words(refusals(content))


@given(JSON)
@QUIET
def test_no_json_ends_in_anything_but_words(value: Any) -> None:
    assert in_words(refusals(json.dumps(value).encode()))


@given(data=st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_record_with_something_else_in_it_ends_in_anything_but_words(data: st.DataObject) -> None:
    made: Any = copy.deepcopy(RECORDS[data.draw(st.sampled_from(sorted(RECORDS)))])
    for _ in range(data.draw(st.integers(1, 3))):
        spots: list[tuple[Any, Any]] = []
        open_ = [made]
        while open_:
            held = open_.pop()
            keys = list(held) if isinstance(held, dict) else range(len(held)) if isinstance(held, list) else ()
            spots += [(held, key) for key in keys]
            open_ += [held[key] for key in keys]
        if not spots:
            break
        held, key = data.draw(st.sampled_from(spots))
        held[key] = data.draw(st.integers(-2, 50) | JSON | st.sampled_from([copy.deepcopy(h[k]) for h, k in spots]))
    assert in_words(refusals(json.dumps(made).encode()))


@pytest.mark.parametrize(
    ("head", "unit", "tail", "factor"),
    [
        ('{"text": "a", "events": [', "[],", "0]}", 80),
        ('{"text": "a", "events": [', "0,", "0]}", 80),
        ('{"text": "a", "events": [], "tokens": [', "[0,0],", "[0,0]]}", 80),
        ('{"doc_key": "a", "sentences": [["a"]], "events": [[', '[[0,"a"]],', '[[0,"a"]]]]}', 400),
    ],
)
def test_memory_stays_in_proportion_to_the_record(head: str, unit: str, tail: str, factor: int) -> None:
    """ReadLimits states the factors; what is shortest in JSON is largest in memory."""
    size = 2**16
    content = (head + unit * (size // len(unit)) + tail).encode()
    tracemalloc.start()
    try:
        names(content, on_error="skip")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < factor * size


def test_python_values_that_are_no_json_are_refused() -> None:
    with pytest.raises(FrostlineError, match=r"\$.events: expected a JSON value, found a Python tuple"):
        read_record({"text": "a", "events": ()}, "x")
    with pytest.raises(FrostlineError, match="keys that are strings"):
        read_record({"text": "a", "events": [], 3: 4}, "x")  # type: ignore[dict-item]
    with pytest.raises(FrostlineError, match="expected an object, found an array"):
        read_record([], "x")  # type: ignore[arg-type]
