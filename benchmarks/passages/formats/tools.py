"""Label Studio and doccano with relations: a span that a relation starts from is a trigger, its label the type."""

from __future__ import annotations

from benchmarks.passages.build import Builder
from benchmarks.passages.formats.base import Import
from benchmarks.passages.formats.graph import Link, Spot, compose, implied
from benchmarks.passages.nodes import Node
from benchmarks.passages.types import Passage

_TAKEN = "a span that a relation starts from is a trigger, its label the event type"


def _doccano(record: Node) -> Passage:
    builder = Builder(record, record.need("text").string())
    spots = {
        row.need("id").identifier(): Spot(
            builder.chars(row, row.need("start_offset"), row.need("end_offset")), row.optional("label")
        )
        for row in record.need("entities").items()
    }
    links = [
        Link(row.need("from_id").identifier(), row.need("to_id").identifier(), row.optional("type"), row)
        for row in record.need("relations").items()
    ]
    return compose(builder, ("doccano", _TAKEN), spots, implied(spots, links), links, record.named("id"))


def _label_studio(record: Node) -> Passage:
    data = record.need("data")
    texts = [key for key, value in data.object().items() if isinstance(value, str)]
    key = "text" if "text" in texts or len(texts) != 1 else texts[0]
    builder = Builder(record, data.need(key, "Say which text was annotated.").string())
    spots: dict[str, Spot] = {}
    links: list[Link] = []
    for row in _rows(record):
        if row.optional("type") == "relation":
            ends = row.need("from_id").identifier(), row.need("to_id").identifier()
            source, target = reversed(ends) if row.optional("direction") == "left" else ends
            links.append(Link(source, target, _label(row), row))
            continue
        value = row.get("value")
        if value is not None and value.get("startOffset") is not None:
            fix = (
                "Annotate plain text (the tag Text in place of HyperText), or write the spans as characters of a text."
            )
            raise value.fail("characters of a text as start and end", fix, found="places in HTML")
        if value is not None and value.get("start") is not None and value.get("end") is not None:
            found = builder.chars(value, value.need("start"), value.need("end"), value.optional("text"))
            spots[row.need("id").identifier()] = Spot(found, _label(value))
    return compose(builder, ("Label Studio", _TAKEN), spots, implied(spots, links), links, record.named("id"))


def _rows(record: Node) -> list[Node]:
    """Return what the first person marked who did not give up, else what a model did."""
    given = [row for key in ("annotations", "completions", "predictions") for row in record.all(key)]
    done = [row for row in given if row.object().get("was_cancelled") is not True]
    if len(done) > 1:
        record.tell(f"the first of {len(done)} annotations is read")
    return done[0].need("result").items() if done else []


def _label(row: Node) -> str | None:
    """Return the first of the labels, whatever kind of labels they are."""
    held = row.object()
    key = (
        "labels" if isinstance(held.get("labels"), list) else next((key for key in held if key.endswith("labels")), "")
    )
    labels = row.all(key) if isinstance(held.get(key), list) else []
    return labels[0].name() if labels else None


DOCCANO = Import(("text", "entities[].start_offset", "relations[].from_id"), "characters, end-exclusive", _doccano)
LABEL_STUDIO = Import(
    ("data", "annotations|completions|predictions", "annotations|completions|predictions[].result"),
    "characters, end-exclusive",
    _label_studio,
)
