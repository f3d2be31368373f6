"""Foreign records with a mistake in them: each message names the place and the rule."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from test_passages_formats import RECORDS

from backbones.core.errors import FrostlineError
from benchmarks.passages import read_record

DROP = object()


def broken(name: str, path: str, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(RECORDS[name])
    *parents, last = (int(part) if part.lstrip("-").isdigit() else part for part in path.split("."))
    held: Any = made
    for part in parents:
        held = held[part]
    if value is DROP:
        del held[last]
    else:
        held[last] = value
    return made


CASES: list[tuple[str, str, Any, str, str]] = [
    ("sentence", "event_mentions.0.arguments.0.end", 5, "$.event_mentions[0].arguments[0]",
     "found 'Rebel' at 0-5; 'Rebels' is at 0-6: are the offsets token or inclusive?"),
    ("sentence", "event_mentions.0.trigger", DROP, "$.event_mentions[0]", "expected the key 'trigger'"),
    ("sentence", "event_mentions.0.trigger.end", 99,
     "$.event_mentions[0].trigger", "end-exclusive), found start 19, end 99"),
    ("sentence", "sentence", 3, "$.sentence", "expected a string, found 3"),
    ("oneie", "entity_mentions.1.end", 3, "$.entity_mentions[1]", "found 'New' at tokens 2-3; 'New York' is at 10-18"),
    ("oneie", "entity_mentions.1.end", 99,
     "$.entity_mentions[1]", "<= 10 (tokens, end-exclusive), found start 2, end 99"),
    ("oneie", "entity_mentions.1.id", "d-E1-1", "$.entity_mentions[1]", "$.entity_mentions[0] has it too"),
    ("oneie", "event_mentions.0.arguments.0.entity_id", "d-E1-2", "$.event_mentions[0].arguments[0].entity_id",
     "expected the id of a mention, found \"d-E1-2\". Did you mean 'd-E1-1'?"),
    ("oneie", "event_mentions.0.trigger.start", "4",
     "$.event_mentions[0].trigger.start", 'expected an integer, found "4"'),
    ("oneie", "event_mentions.0.trigger.start", True, "$.event_mentions[0].trigger.start", "expected an integer"),
    ("oneie", "event_mentions.0.event_type", "", "$.event_mentions[0].event_type", "expected a name, found an empty"),
    ("oneie", "entity_mentions", {}, "$.entity_mentions", "expected an array, found an object that is empty"),
    ("oneie", "entity_mentions.0", 7, "$.entity_mentions[0]", "expected an object, found 7"),
    ("wikievents", "sentences.1.0.0.1", 5000, "$.sentences[1][0][0][1]", "expected a start between 3"),
    ("wikievents", "sentences.1.0.2.0", "Old",
     "$.sentences[1][0][2][0]", "the characters 14-17 of the document, 'New'"),
    ("wikievents", "tokens.2", "Rabble", "$.tokens[2]", "expected 'Rebels', which is token 2 of the sentences"),
    ("wikievents", "tokens", ["Hi"], "$.tokens", "as many tokens as in the sentences, which have 12"),
    ("wikievents", "sentences.0", ["x"], "$.sentences[0]", "[[token, start, end] ..., text]"),
    ("rams", "ent_spans.0.1", 50, "$.ent_spans[0]", "(tokens, the last counted in), found start 2, end 50"),
    ("rams", "gold_evt_links.0.0", [5, 5],
     "$.gold_evt_links[0][0]", "expected a trigger of evt_triggers, which has (6, 6)"),
    ("rams", "evt_triggers.0.2", [], "$.evt_triggers[0][2]", "expected one [type, score]"),
    ("rams", "gold_evt_links.0", [1], "$.gold_evt_links[0]", "expected [[start, end], [start, end], role]"),
    ("dygie", "events.1.0.0", [6], "$.events[1][0][0]", "expected [token, type] or [start, end, type]"),
    ("dygie", "ner.1.0.1", 12, "$.ner[1][0]", "0 <= start <= end < 12"),
    ("jmee", "golden-event-mentions.0.trigger.end", 4,
     "$.golden-event-mentions[0].trigger", "expected 0 <= start < end"),
    ("jmee", "words.0", None, "$.words[0]", "expected a string, found null"),
    ("casie", "content", DROP, "$", "a record in one of the formats"),
    ("casie", "cyberevent.hopper.0.events.0.nugget", DROP,
     "$.cyberevent.hopper[0].events[0]", "expected the key 'nugget'"),
    ("casie", "cyberevent.hopper.0.events.1.index", "E1", "$.cyberevent.hopper[0].events[1]", 'found the id "E1"'),
    ("phee", "annotations.0.events.0.Effect.start", [[0]],
     "$.annotations[0].events[0].Effect.start[0]", "as many as there are texts, 2"),
    ("phee", "annotations.0.events.0.Effect.start", [],
     "$.annotations[0].events[0].Effect", "as many starts and ids as texts, 1"),
    ("phee", "annotations.0.events.0.Trigger.text", [[]], "$.annotations[0].events[0].Trigger.start[0]", "as many as"),
    ("phee", "annotations.0.events.0.Trigger.start", [[20]], "$.annotations[0].events[0].Trigger.text[0][0]",
     "found 'ired ' at 20-25; 'fired' is at 19-24"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "path", "value", "where", "words"), CASES)
def test_a_mistake_is_named_with_its_path(name: str, path: str, value: Any, where: str, words: str) -> None:
    with pytest.raises(FrostlineError) as caught:
        read_record(broken(name, path, value), "news.json")
    assert f"news.json: {where}: " in str(caught.value)
    assert words in str(caught.value)


def test_an_unrecognised_record_names_the_nearest_format_and_keys() -> None:
    with pytest.raises(FrostlineError) as caught:
        read_record({"txt": "a", "events": []}, "news.json")
    said = str(caught.value)
    assert "news.json: $: expected a record in one of the formats casie, dygie" in said
    assert 'found the keys "txt", "events"' in said
    assert "The nearest is 'native'; for it 'text' is missing. Perhaps 'txt' may be 'text'." in said


def test_an_empty_record_is_unrecognised() -> None:
    with pytest.raises(FrostlineError, match="found the keys none"):
        read_record({}, "x")


def test_a_format_that_is_asked_for_is_taken_and_an_unknown_one_is_named() -> None:
    with pytest.raises(FrostlineError, match=r"expected the key 'tokens', found the keys"):
        read_record(RECORDS["native"], "x", format="oneie")
    with pytest.raises(FrostlineError, match=r"unknown passage format 'wikievent'. Did you mean 'wikievents'"):
        read_record(RECORDS["native"], "x", format="wikievent")
