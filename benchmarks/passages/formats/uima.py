"""INCEpTION and other tools on UIMA: CAS JSON and CAS XMI; UTF-16 units, as Java counts.

A span with a slot (a feature that links it to others with a role) is a trigger, and so is one that a relation starts
from. The type of an event and of a mention is the first feature of its span that is words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from backbones.core.errors import FrostlineError
from benchmarks.passages.build import Builder, Found
from benchmarks.passages.files import File
from benchmarks.passages.formats.base import Import
from benchmarks.passages.formats.graph import Link, Spot, compose, implied
from benchmarks.passages.formats.xml import parse_xml
from benchmarks.passages.nodes import Node, Note
from benchmarks.passages.offsets import RULERS
from benchmarks.passages.source import ReadLimits
from benchmarks.passages.types import Passage

TOOL = "INCEpTION (UIMA CAS)"
_GRAMMAR = re.compile(
    r"uima\.|.*\.(segmentation|metadata|lexmorph|syntax|anomaly)\.|de\.tudarmstadt\.ukp\.clarin\.webanno\.api\."
)
_IDS = re.compile(r"\d+(?: \d+)*")
_ENDS = (("Governor", "Dependent"), ("source", "target"))


@dataclass(frozen=True)
class _Structure:
    """A feature structure: its type, its words, and the structures that its features lead to."""

    type: str
    node: Node
    values: Mapping[str, Any]
    leads: Mapping[str, list[str]]

    @property
    def label(self) -> str | None:
        words = (value for value in self.values.values() if isinstance(value, str) and value)
        return next((word for word in words if not _IDS.fullmatch(word)), None)


def _json(record: Node) -> Passage:
    held: dict[str, _Structure] = {}
    for row in record.need("%FEATURE_STRUCTURES").items():
        leads = {key[1:]: _names(value) for key, value in row.object().items() if key.startswith("@") and _names(value)}
        leads[""] = _names(row.object().get("%ELEMENTS"))
        values = {key: value for key, value in row.object().items() if key[:1] not in "%@^"}
        held[row.need("%ID").identifier()] = _Structure(row.need("%TYPE").name(), row, values, leads)
    return _passage(held, record)


def _names(value: object) -> list[str]:
    return [str(each) for each in (value if isinstance(value, list) else [value]) if isinstance(each, (int, str))]


def read(file: File, limits: ReadLimits, note: Note) -> Passage:
    """Read a CAS in XMI."""
    held: dict[str, _Structure] = {}
    for row in parse_xml(file.content(limits), file.name).children:
        space, _, tag = row.tag.rpartition("}")
        name = ".".join([*space.removeprefix("http:///").removesuffix(".ecore").split("/"), tag])
        given = {key.rpartition("}")[2]: value for key, value in row.attributes.items()}
        leads = {key: value.split() for key, value in given.items() if _IDS.fullmatch(value)}
        leads[""] = leads.get("elements", [])
        ends: dict[str, Any] = {key: int(given[key]) for key in ("begin", "end") if key in leads}
        values = {key: value for key, value in given.items() if key not in ("id", "sofa")} | ends
        held[given.get("id", "")] = _Structure(name, Node(given, f"{file.name}, line {row.line}", note), values, leads)
    return _passage(held, Node({}, file.name, note))


def _passage(held: Mapping[str, _Structure], root: Node) -> Passage:
    texts = {name: each.values["sofaString"] for name, each in held.items() if "sofaString" in each.values}
    if not texts or not isinstance(next(iter(texts.values())), str):
        raise FrostlineError(f"{root.where}: expected the text (sofaString) of {TOOL}, found none.")
    view, text = next(iter(texts.items()))
    if len(texts) > 1:
        root.tell(f"the first of {len(texts)} views is read")
    spots: dict[str, Spot] = {}
    links: list[Link] = []
    for name, each in held.items():
        if not _GRAMMAR.match(each.type) and each.leads.get("sofa", [view])[0] == view:
            found = list(_links(name, each, held))
            links += found
            if isinstance(each.values.get("begin"), int) and not any(link.source != name for link in found):
                node, (start, end) = each.node, (each.values["begin"], each.values.get("end"))
                if not isinstance(end, int):
                    raise node.fail("an integer as end")
                spots[name] = Spot(Found(node, (start, end)), each.label or each.type.rpartition(".")[2])
    made = RULERS[0].spans(text, [spot.found.span for spot in spots.values()])
    if None not in made:
        spots = {
            name: Spot(Found(spot.found.node, span), spot.label)
            for (name, spot), span in zip(spots.items(), made, strict=True)
            if span is not None
        }
    title = next((each.values["documentTitle"] for each in held.values() if "documentTitle" in each.values), None)
    triggers = implied(spots, links)
    how = "a span with slots, or that a relation starts from, is a trigger"
    return compose(Builder(root, text), (TOOL, how), spots, triggers, links, title if isinstance(title, str) else None)


def _links(name: str, each: _Structure, held: Mapping[str, _Structure]) -> Iterator[Link]:
    """Yield the link that a relation is, or those of the slots of a span."""
    for source, target in _ENDS:
        if each.leads.get(source) and each.leads.get(target):
            yield Link(each.leads[source][0], each.leads[target][0], each.label, each.node)
            return
    for key, names in each.leads.items():
        if key in ("sofa", ""):
            continue
        several = [inner for one in names if one in held for inner in (held[one].leads[""] or [one])]
        for one in several:
            slot = held.get(one)
            if slot is not None and slot.leads.get("target") and "begin" not in slot.values:
                role = slot.values.get("role")
                yield Link(name, slot.leads["target"][0], role if isinstance(role, str) else None, slot.node)


UIMA = Import(("%FEATURE_STRUCTURES",), "UTF-16 units, end-exclusive", _json)
