"""Offsets that count something else than characters are recognised and named; odd spans are told."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from html import escape
from typing import Any

import pytest

from backbones.core.errors import FrostlineError
from benchmarks.passages import Passage, read_record
from benchmarks.passages.offsets import RULERS, doubtful, joined, ruler_of

TEXT = "🚀🔥 Café <Ünal> & söhne\r\nsaid Rebels attacked\r\nthe port 👍🏽 in Zürich."
WORDS = ("Rebels", "attacked", "the port", "Zürich")
Count = Callable[[str], int]
COUNTS: dict[str, tuple[str, Count]] = {  # words of the name -> the text as it is given, how the source counts
    "UTF-16": (TEXT, lambda text: len(text.encode("utf-16-le")) // 2),
    "bytes of UTF-8": (TEXT, lambda text: len(text.encode())),
    "CR LF as one": (TEXT, lambda text: len(text.replace("\r\n", "\n"))),
    "line ends as two": (TEXT.replace("\r\n", "\n"), lambda text: len(text.replace("\n", "\r\n"))),
    "composed letters (NFC)": (
        unicodedata.normalize("NFD", TEXT),
        lambda text: len(unicodedata.normalize("NFC", text)),
    ),
    "decomposed letters (NFD)": (TEXT, lambda text: len(unicodedata.normalize("NFD", text))),
    "HTML": (TEXT, lambda text: len(escape(text, quote=False))),
    "from 1 instead of 0": (TEXT, lambda text: len(text) + 1),
}


def record(text: str, count: Count, told: bool, unit: str = "native") -> dict[str, Any]:
    said = [unicodedata.normalize("NFD", word) if word not in text else word for word in WORDS]
    ends = [(text.index(word), text.index(word) + len(word)) for word in said]
    rows = [
        {"start": count(text[:start]), "end": count(text[:end]), **({"text": word} if told else {})}
        for (start, end), word in zip(ends, said, strict=True)
    ]
    if unit == "sentence":
        return {"sentence": text, "event_mentions": [{"event_type": "X", "trigger": rows[1], "arguments": [rows[0]]}]}
    entities = [{"id": f"T{at}", **row} for at, row in enumerate(rows) if at != 1]
    return {"text": text, "entities": entities, "events": [{"id": "E1", "type": "X", "trigger": rows[1]}]}


@pytest.mark.parametrize("unit", ["native", "sentence"])
@pytest.mark.parametrize("name", COUNTS)
def test_what_the_source_counted_is_named_where_texts_are_given(name: str, unit: str) -> None:
    with pytest.raises(FrostlineError) as caught:
        read_record(record(*COUNTS[name], told=True, unit=unit), "x")
    assert "They fit if the offsets count " in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize("name", COUNTS)
def test_what_the_source_counted_is_named_where_no_text_is_given(name: str) -> None:
    text, count = COUNTS[name]
    value = record(text, count, told=False)
    notes: list[str] = []
    try:
        read_record(value, "x", note=notes.append)
    except FrostlineError as error:  # bytes lead beyond the text
        notes.append(str(error))
    assert any("They fit if the offsets count " in note and name in note for note in notes), notes


def test_right_offsets_are_left_alone() -> None:
    notes: list[str] = []
    for told in (True, False):
        read_record(record(TEXT, len, told), "x", note=notes.append)
    assert notes == []


def test_wrong_offsets_that_no_way_of_counting_explains_are_called_wrong_alone() -> None:
    value = record(TEXT, len, told=True)
    value["entities"][0]["text"] = "Rebel"
    with pytest.raises(FrostlineError, match="the text differs from the offsets") as caught:
        read_record(value, "x")
    assert "They fit" not in str(caught.value)


def test_every_ruler_undoes_its_own_count() -> None:
    for ruler in RULERS:
        stops = [ruler.start + sum(ruler.widths(TEXT[:at])) for at in range(len(TEXT) + 1)]
        (span,) = ruler.spans(TEXT, [(stops[7], stops[9] - ruler.extra)])
        assert span == (7, 9), ruler.name
    assert ruler_of("plain", [((0, 5), "plain")]) is None


@pytest.mark.parametrize(
    ("start", "end", "odd"), [(0, 6, False), (7, 15, False), (6, 15, True), (0, 7, True), (8, 15, True), (0, 5, True)]
)
def test_spans_that_cut_words_or_have_blank_edges_are_told(start: int, end: int, odd: bool) -> None:
    text = "Rebels attacked."
    assert doubtful(text, (start, end)) is odd
    value = {"text": text, "entities": [{"id": "T1", "start": start, "end": end}], "events": []}
    notes: list[str] = []
    passage = read_record(value, "x", note=notes.append)
    assert isinstance(passage, Passage) and bool(notes) is odd
    if odd:
        assert (
            f"1 of 1 span begins or ends inside a word or with white space, such as {text[start:end]!r}".replace(
                "'", '"'
            )
            in notes[0]
        )


@pytest.mark.parametrize(
    ("text", "at", "word"),
    [
        ("Raketenangriff", 7, True), ("用火箭袭击了", 3, False), ("กลุ่มกบฏ", 5, False), ("공격했다", 2, True),
        ("$5m", 2, False),        ("cafe\u0301", 4, True), ("it's", 2, False),
        ("well-known", 4, False), ("ab", 0, False), ("ab", 2, False),
    ],
)  # fmt: skip
def test_a_word_goes_on_or_not(text: str, at: int, word: bool) -> None:
    assert joined(text, at) is word
