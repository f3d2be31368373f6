"""Sentences, tokens and expressions of money and time: what they are, and that no text breaks them."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeroshot.candidates import sentences
from zeroshot.candidates.forms import forms
from zeroshot.candidates.text import tokens


def split(text):
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Mr. Hill met Gen. J. K. Rao on Jan. 5. They spoke.",
            ["Mr. Hill met Gen. J. K. Rao on Jan. 5.", "They spoke."],
        ),
        ("Oil rose 1.5 percent. It fell.", ["Oil rose 1.5 percent.", "It fell."]),
        ("They live in the U.S. The rest left.", ["They live in the U.S.", "The rest left."]),
        ("The U.S. Army left.", ["The U.S. Army left."]),
        ('He said "Stop!" and left. “Why?” she asked.', ['He said "Stop!" and left.', "“Why?” she asked."]),
        ("He left... Then he came back!", ["He left...", "Then he came back!"]),
        ("She works at Acme Inc. in Rome.", ["She works at Acme Inc. in Rome."]),
        ("Fire in the port\n\nTwo men died", ["Fire in the port", "Two men died"]),
        ("警察は男を逮捕した。男は逃げた。", ["警察は男を逮捕した。", "男は逃げた。"]),
        ("", []),
        (" \n\t", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text, expected):
    assert split(text) == expected


def test_a_line_break_ends_a_sentence_unless_the_text_is_wrapped_there():
    text = "Fire in the port\nTwo men died in the fire that began early on\nTuesday and burnt all night long."
    assert split(text) == ["Fire in the port", text.partition("\n")[2]]


@given(st.text(alphabet=st.characters(), max_size=200))
def test_sentences_hold_all_that_is_not_space_in_order_and_trimmed(text):
    spans = sentences(text)
    assert all(start < end and text[start:end] == text[start:end].strip() for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    inside = "".join(text[start:end] for start, end in spans)
    assert "".join(inside.split()) == "".join(text.split())


@given(st.text(alphabet=st.sampled_from(list("aB1.,'’ -$%&s_é\n")), max_size=60))
def test_tokens_are_the_text_without_its_space(text):
    found = tokens(text)
    assert all(text[token.start : token.end] == token.text for token in found)
    assert "".join("".join(token.text.split()) for token in found) == "".join(text.split())


def test_enclitics_are_split_from_their_words():
    words = [token.text for token in tokens("They’re in Russia's U.S. base, aren't they?")]
    assert words == ["They", "’re", "in", "Russia", "'s", "U.S.", "base", ",", "aren't", "they", "?"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It paid $1.2 billion in all.", [("$1.2 billion", "money")]),
        ("Oil sells at $50 a barrel.", [("$50 a barrel", "money")]),
        ("It costs 20 million euros.", [("20 million euros", "money")]),
        ("They pump 20,000 barrels per day.", [("20,000 barrels per day", "number")]),
        ("Output fell 2.2 percent and 3%.", [("2.2 percent", "percent"), ("3%", "percent")]),
        ("He was shot last Tuesday night.", [("last Tuesday night", "time")]),
        ("It began in May 2003.", [("May 2003", "time")]),
        ("On 3 May 2003 and on May 4, 2003", [("3 May 2003", "time"), ("May 4, 2003", "time")]),
        ("The talks begin at 10 a.m. today.", [("10 a.m.", "time"), ("today", "time")]),
        ("He died two days ago, in 1999.", [("two days ago", "time"), ("1999", "time")]),
        ("Signed 2024-02-29 at 10:30.", [("2024-02-29", "time"), ("10:30", "time")]),
        ("They may march in spring.", []),
    ],
)
def test_forms_are_found_whole_and_with_their_kind(text, expected):
    assert [(text[start:end], kind) for (start, end), kind in forms(text)] == expected


PIECES = [
    "1,",
    "1.",
    "a.",
    "...",
    "! ",
    "\n",
    "\n ",
    "'",
    "’s ",
    "a-",
    "$",
    '"',
    "Bank of ",
    "the ",
    "May ",
    "1 million ",
]


@pytest.mark.slow  # a ratio of two times: steady on a machine with nothing else to do
@pytest.mark.parametrize("piece", PIECES)
def test_time_grows_no_faster_than_the_text(piece):
    def seconds(length):
        text = piece * (length // len(piece))
        begin = time.process_time()
        forms(text)
        sentences(text)
        tokens(text)
        return time.process_time() - begin

    short = min(seconds(5_000) for _ in range(3))
    long = min(seconds(40_000) for _ in range(3))
    assert long < 30 * max(short, 0.002)  # 8 times the text; quadratic time would be 64 times as long
