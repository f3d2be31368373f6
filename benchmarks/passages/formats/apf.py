"""ACE 2005 as the LDC publishes it: ``.apf.xml`` beside the text in ``.sgm``.

Offsets count the characters of the ``.sgm`` without its tags, the last one in; a line end is one character and
``&amp;`` five. In the passage ``&amp;`` is one.
"""

from __future__ import annotations

import re
from bisect import bisect_left

from backbones.core.errors import FrostlineError
from benchmarks.passages.build import Builder, Found
from benchmarks.passages.files import File
from benchmarks.passages.formats.graph import Link, Spot, Trigger, compose
from benchmarks.passages.formats.xml import Element, parse_xml
from benchmarks.passages.nodes import Node, Note
from benchmarks.passages.source import ReadLimits, decode_text
from benchmarks.passages.types import Passage, Span

_TAG = re.compile(r"<[^<>]*>")
_ESCAPE = re.compile(r"&(amp|lt|gt|quot|apos);")
_ESCAPES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_MENTIONS = (("entity", "entity_mention"), ("value", "value_mention"), ("timex2", "timex2_mention"))


def read(file: File, limits: ReadLimits, note: Note) -> Passage:
    """Read a ``.apf.xml`` file and the text beside it.

    Raises:
        FrostlineError: there is no text, or no document; something is missing; see ``compose``.
    """
    beside = file.beside(".sgm") or file.beside(".sgml")
    if beside is None:
        raise FrostlineError(
            f"{file.name}: expected the text of this annotation in ACE's APF beside it, in {file.stem}.sgm, found no "
            "such file. Put the .sgm of the same name into the same folder."
        )
    document = parse_xml(file.content(limits), file.name).first("document")
    if document is None:
        raise FrostlineError(f"{file.name}: expected the element document in ACE's APF, found none.")
    text, stops = _plain(decode_text(beside.content(limits), beside.name).replace("\r\n", "\n"))
    root = Node({}, file.name, note)
    return _passage(document, Builder(root, text), stops, file.stem)


def _plain(source: str) -> tuple[str, list[int]]:
    """Return the text without tags and escapes, and for each of its characters (and its end) its offset in APF."""
    counted = _TAG.sub("", source)
    letters: list[str] = []
    stops: list[int] = []
    at = 0
    for found in _ESCAPE.finditer(counted):
        letters += counted[at : found.start()]
        stops += range(at, found.start())
        letters.append(_ESCAPES[found[1]])
        stops.append(found.start())
        at = found.end()
    return "".join(letters) + counted[at:], [*stops, *range(at, len(counted) + 1)]


def _passage(document: Element, builder: Builder, stops: list[int], stem: str) -> Passage:
    spots: dict[str, Spot] = {}
    for outer, inner in _MENTIONS:
        for thing in document.all(outer):
            for mention in thing.all(inner):
                head = mention.first("head", "charseq")
                spots[_attribute(mention, "ID", builder)] = Spot(
                    _found(mention, "extent", builder, stops),
                    thing.attributes.get("TYPE", "TIM" if outer == "timex2" else None),
                    _attribute(thing, "ID", builder),
                    _span(head, builder, stops) if head is not None else None,
                )
    events: dict[str, Trigger] = {}
    links: list[Link] = []
    for event in document.all("event"):
        kind = ":".join(event.attributes[key] for key in ("TYPE", "SUBTYPE") if event.attributes.get(key))
        cluster = _attribute(event, "ID", builder) if len(event.all("event_mention")) > 1 else None
        for mention in event.all("event_mention"):
            name = _attribute(mention, "ID", builder)
            anchor = f"{name}.anchor"
            spots[anchor] = Spot(_found(mention, "anchor", builder, stops))
            events[name] = Trigger(anchor, kind, cluster)
            for row in mention.all("event_mention_argument"):
                target = _attribute(row, "REFID", builder)
                links.append(Link(name, target, row.attributes.get("ROLE"), _node(row, builder)))
    return compose(builder, ("ACE's APF", ""), spots, events, links, document.attributes.get("DOCID", stem))


def _node(element: Element, builder: Builder) -> Node:
    return Node(element.attributes.get("ID"), f"{builder.root.where}, line {element.line}", builder.root.note)


def _attribute(element: Element, key: str, builder: Builder) -> str:
    held = element.attributes.get(key)
    if not held:
        raise _node(element, builder).fail(f"the attribute {key} of {element.tag}", found="none")
    return held


def _found(mention: Element, part: str, builder: Builder, stops: list[int]) -> Found:
    held = mention.first(part, "charseq")
    if held is None:
        raise _node(mention, builder).fail(f"{part} and charseq in {mention.tag}", found="none")
    return Found(_node(mention, builder), _span(held, builder, stops), held.text)


def _span(held: Element, builder: Builder, stops: list[int]) -> Span:
    """Return the characters of a charseq."""
    try:
        start, last = (int(_attribute(held, key, builder)) for key in ("START", "END"))
    except ValueError:
        raise _node(held, builder).fail("integers as START and END", found=str(dict(held.attributes))[:60]) from None
    return bisect_left(stops, start), bisect_left(stops, last + 1)
