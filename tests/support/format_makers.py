"""One record of every format, each of the same sentence."""

from __future__ import annotations

from typing import Any

WORDS = ["Rebels", "in", "New", "York", "fired", "rockets", "at", "a", "bus", "."]


SENTENCE = "Rebels in New York fired rockets at a bus."


# Rebels 0-6, in 7-9, New 10-13, York 14-18, fired 19-24, rockets 25-32, at 33-35, a 36-37, bus 38-41, . 41-42

RECORDS: dict[str, dict[str, Any]] = {
    "native": {
        "doc_id": "d", "ontology": "ace", "language": "en", "text": SENTENCE,
        "entities": [
            {"id": "T1", "start": 0, "end": 6, "text": "Rebels", "type": "PER", "coref": "C1"},
            {"id": "T2", "start": 36, "end": 41, "text": "a bus", "head": [38, 41]},
            {"id": "T3", "start": 10, "end": 18, "text": "New York", "type": "GPE"},
        ],
        "events": [
            {"id": "E1", "type": "Conflict:Attack", "trigger": {"start": 19, "end": 24, "text": "fired"},
             "arguments": [{"entity": "T1", "role": "Attacker"}, {"entity": "T2"}], "candidates": "entities"},
        ],
        "constraints": [{"rule": "forbid", "event": "E1", "entity": "T3", "role": "Attacker"}],
    },
    "sentence": {
        "doc_id": "d", "sentence": SENTENCE,
        "event_mentions": [
            {"event_type": "Conflict:Attack", "trigger": {"text": "fired", "start": 19, "end": 24},
             "arguments": [{"text": "Rebels", "role": "Attacker", "start": 0, "end": 6},
                           {"text": "New York", "role": "Place", "start": 10, "end": 18, "entity_type": "GPE"}]},
        ],
    },
    "oneie": {
        "doc_id": "d", "wnd_id": "d-1", "sentence": SENTENCE, "tokens": WORDS,
        "entity_mentions": [
            {"id": "d-E1-1", "start": 0, "end": 1, "text": "Rebels", "entity_type": "PER"},
            {"id": "d-E2-7", "start": 2, "end": 4, "text": "New York", "entity_type": "GPE"},
        ],
        "event_mentions": [
            {"id": "d-EV1", "event_type": "Conflict:Attack", "trigger": {"start": 4, "end": 5, "text": "fired"},
             "arguments": [{"entity_id": "d-E1-1", "role": "Attacker", "text": "Rebels"},
                           {"entity_id": "d-E2-7", "role": "Place", "text": "New York"}]},
        ],
    },
    "wikievents": {
        "doc_id": "d", "tokens": ["Hi", ".", *WORDS], "text": "Hi.",
        "sentences": [
            [[["Hi", 0, 2], [".", 2, 3]], "Hi."],
            [[["Rebels", 4, 10], ["in", 11, 13], ["New", 14, 17], ["York", 18, 22], ["fired", 23, 28],
              ["rockets", 29, 36], ["at", 37, 39], ["a", 40, 41], ["bus", 42, 45], [".", 45, 46]], SENTENCE],
        ],
        "entity_mentions": [
            {"id": "d-T1", "sent_idx": 1, "start": 4, "end": 6, "entity_type": "GPE", "text": "New York"},
        ],
        "event_mentions": [
            {"id": "d-E1", "event_type": "Conflict.Attack.Unspecified",
             "trigger": {"start": 6, "end": 7, "text": "fired", "sent_idx": 1},
             "arguments": [{"entity_id": "d-T1", "role": "Place", "text": "New York"}]},
        ],
    },
    "rams": {
        "doc_key": "d", "language_id": "eng", "sentences": [["Hi", "."], WORDS],
        "evt_triggers": [[6, 6, [["conflict.attack.n/a", 1.0]]]],
        "ent_spans": [[2, 2, [["evt043arg01attacker", 1.0]]], [4, 5, [["evt043arg05place", 1.0]]]],
        "gold_evt_links": [[[6, 6], [2, 2], "evt043arg01attacker"], [[6, 6], [4, 5], "evt043arg05place"]],
    },
    "dygie": {
        "doc_key": "d", "sentences": [["Hi", "."], WORDS], "ner": [[], [[2, 2, "PER"], [4, 5, "GPE"]]],
        "clusters": [[[2, 2], [9, 10]]], "relations": [[], []],
        "events": [[], [[[6, "Conflict.Attack"], [2, 2, "Attacker"], [9, 10, "Target"]]]],
    },
    "jmee": {
        "sentence_id": "d", "words": WORDS, "sentence": SENTENCE,
        "golden-entity-mentions": [
            {"text": "Rebels", "start": 0, "end": 1, "entity-type": "PER", "standoff_id": 7},
            {"text": "Rebels", "start": 0, "end": 1, "entity-type": "PER", "standoff_id": 8},
        ],
        "golden-event-mentions": [
            {"event_type": "Conflict:Attack", "trigger": {"start": 4, "end": 5, "text": "fired"},
             "arguments": [{"start": 0, "end": 1, "role": "Attacker", "entity-type": "PER", "text": "Rebels",
                            "standoff_id": 8},
                           {"start": 7, "end": 9, "role": "Target", "entity-type": "VEH", "text": "a bus"}]},
        ],
    },
    "casie": {
        "filename": "d.txt", "content": SENTENCE,
        "cyberevent": {"hopper": [{"index": "h1", "events": [
            {"index": "E1", "type": "Attack", "subtype": "Ransom",
             "nugget": {"startOffset": 19, "endOffset": 24, "text": "fired"},
             "argument": [{"index": "T1", "startOffset": 0, "endOffset": 6, "text": "Rebels", "type": "Person",
                           "role": {"type": "Attacker"}}]},
            {"index": "E2", "type": "Attack", "subtype": "Ransom",
             "nugget": {"startOffset": 25, "endOffset": 32, "text": "rockets"}, "argument": []},
        ]}]},
    },
    "phee": {
        "id": "d", "context": SENTENCE, "is_mult_event": False,
        "annotations": [{"events": [
            {"event_id": "E1", "event_type": "Adverse_event",
             "Trigger": {"text": [["fired"]], "start": [[19]], "entity_id": ["T9"]},
             "Effect": {"text": [["Rebels", "bus"]], "start": [[0, 38]], "entity_id": ["T1"]},
             "Negated": {"text": [["at"]], "start": [[33]], "entity_id": ["T8"], "value": True},
             "Treatment": {"text": [["rockets"]], "start": [[25]], "entity_id": ["T2"],
                           "Drug": {"text": [["rockets"], ["York"]], "start": [[25], [14]], "entity_id": ["T3", "T4"]},
                           "Combination": [
                               {"event_id": "E2", "event_type": "Combination",
                                "Trigger": {"text": [["at"]], "start": [[33]], "entity_id": ["T5"]},
                                "Drug": {"text": [["York"]], "start": [[14]], "entity_id": ["T4"]}}]}},
        ]}],
    },
}  # fmt: skip
