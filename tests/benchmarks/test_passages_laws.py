"""Laws of the formats of passages: what comes back, whatever is in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from format_makers import RECORDS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.passages import FORMATS, Passage, check_passage, read_record

# --- laws


@st.composite
def passages(draw: st.DrawFn, token: st.SearchStrategy[str], between: st.SearchStrategy[str]) -> Passage:
    """Passages whose spans begin and end with tokens, in sentences of tokens."""
    words = draw(st.lists(token, min_size=2, max_size=12))
    text, spans = "", []
    for word in words:
        spans.append((len(text), len(text) + len(word)))
        text += word + draw(between)
    cut = draw(st.integers(1, len(words)))
    sentences = [(spans[0][0], spans[cut - 1][1])] + ([(spans[cut][0], spans[-1][1])] if cut < len(words) else [])

    def span() -> tuple[int, int]:
        first = draw(st.integers(0, len(words) - 1))
        last = draw(st.integers(first, min(first + 2, len(words) - 1)))
        return spans[first][0], spans[last][1]

    places = list(dict.fromkeys(span() for _ in range(draw(st.integers(1, 4)))))
    mentions = [{"id": f"T{at + 1}", "start": start, "end": end} for at, (start, end) in enumerate(places)]
    triggers = draw(st.lists(st.sampled_from(spans), min_size=1, max_size=3, unique=True))
    role = st.sampled_from(["Agent", "Victim", "Place"])
    events = [
        {
            "id": f"E{at + 1}", "type": "Life:Die", "trigger": {"start": start, "end": end},
            "arguments": [{"entity": mention["id"], "role": draw(role)} for mention in mentions if draw(st.booleans())],
        }
        for at, (start, end) in enumerate(triggers)
    ]  # fmt: skip
    value = {
        "doc_id": "d", "text": text, "entities": mentions, "events": events, "tokens": spans, "sentences": sentences,
    }  # fmt: skip
    return check_passage(Passage.model_validate(value), "x")


TOKEN = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=4)


SPACED = passages(TOKEN, st.sampled_from([" ", "  ", "\n", ""]))


SINGLE = passages(TOKEN, st.just(" "))


def facts(passage: Passage, squeeze: bool = False) -> set[tuple[Any, ...]]:
    """What is said of which words: triggers and arguments with their places among the letters."""

    def place(span: tuple[int, int]) -> tuple[int, int]:
        letters = [len("".join(passage.text[:at].split())) if squeeze else at for at in span]
        return letters[0], letters[1]

    return {
        (event.type, place(event.trigger.span), role, at)
        for event in passage.events
        for role, at in {
            (None, None), *((row.role, place(passage.mention(row.entity).span)) for row in event.arguments)
        }
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(RECORDS))
@given(passage=SPACED)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_passage_comes_back_from_every_format(name: str, passage: Passage) -> None:
    form = FORMATS.load(name)
    again = read_record(json.loads(json.dumps(form.write(passage))), "x", format=name)
    squeeze = "raw text" not in form.keeps
    assert facts(again, squeeze) == facts(passage, squeeze)
    if not squeeze:
        assert again.text == passage.text


@pytest.mark.parametrize("name", ["rams", "dygie", "oneie", "jmee", "wikievents", "native"])
@given(passage=SINGLE)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_tokens_come_back_from_formats_of_tokens(name: str, passage: Passage) -> None:
    again = read_record(json.loads(json.dumps(FORMATS.load(name).write(passage))), "x", format=name)
    assert [again.text[slice(*span)] for span in again.tokens or ()] == [
        passage.text[slice(*span)] for span in passage.tokens or ()
    ]


@given(passage=SPACED, data=st.data())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_spans_that_cut_tokens_are_written_in_tokens_of_their_own(passage: Passage, data: st.DataObject) -> None:
    """Without tokens of its own a passage is cut into words, and where a span begins or ends."""
    name = data.draw(st.sampled_from(["rams", "oneie", "jmee", "wikievents"]))
    bare = passage.model_copy(update={"tokens": None, "sentences": None})
    again = read_record(FORMATS.load(name).write(bare), "x", format=name)
    assert facts(again, True) == facts(bare, True)
