"""The JSON Schema of the native format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.passages.types import Passage

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_SPAN = {
    "start": "First character of the span, counted from 0 in Unicode code points.",
    "end": "One after the last character of the span.",
    "text": "The slice text[start:end]; compared with the text, filled in if it is absent.",
}

DESCRIPTIONS: Mapping[str, Mapping[str, str]] = {
    "Passage": {
        "doc_id": "Name of the passage in outputs and messages.",
        "ontology": "Name or file of the ontology, such as ace; null for the one that the caller chooses.",
        "language": "Language of the text as a BCP 47 tag, such as en or zh-Hant.",
        "text": "The raw text, from which every offset counts.",
        "entities": "Mentions: stretches of the text that may be arguments.",
        "events": "Events, each with a trigger.",
        "constraints": "The user's own rules about single arguments.",
        "tokens": "Characters [start, end) of each token, if the source was tokenised.",
        "sentences": "Characters [start, end) of each sentence; null to have them found.",
    },
    "Mention": {
        "id": "Unique among the mentions of the passage.",
        **_SPAN,
        "type": "Entity type of the ontology or an alias of it; null if it is not known.",
        "coref": "Name of the coreference cluster; mentions of one cluster are one thing.",
        "head": "Characters [start, end) of the syntactic head, for head match.",
    },
    "Trigger": _SPAN,
    "Argument": {
        "entity": "Id of the mention.",
        "role": "Gold role; ignored by predict, used by evaluate.",
    },
    "Event": {
        "id": "Unique among the events of the passage.",
        "type": "Event type of the ontology, such as Conflict:Attack.",
        "trigger": "Where the text expresses the event most clearly.",
        "arguments": "Mentions known to take part in it.",
        "candidates": "What is given a role: the arguments, all entities, or mentions found in the text (auto).",
        "coref": "Name of the cluster of events that are one event.",
    },
    "UserRule": {
        "rule": "force: the entity has this role in the event; forbid: it has not.",
        "event": "Id of the event.",
        "entity": "Id of the mention.",
        "role": "A role of the event's type; null for no role at all.",
    },
}


def native_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the native format, a description at every key."""
    schema = Passage.model_json_schema(mode="validation")
    models = {"Passage": schema, **schema.get("$defs", {})}
    for name, model in models.items():
        model["description"] = " ".join(model.get("description", name).split("Args:")[0].split())
        for key, field in model["properties"].items():
            field["description"] = DESCRIPTIONS[name][key]
            field.pop("title", None)
    return {"$schema": DIALECT, **schema}
