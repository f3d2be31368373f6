"""From spans and links between them, as annotation tools keep them, to events with arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.passages.build import EVENT_AS_ARGUMENT, Builder, Found
from benchmarks.passages.nodes import Node, brief, similar, some
from benchmarks.passages.offsets import ruler_of
from benchmarks.passages.types import Passage, Span


@dataclass(frozen=True)
class Spot:
    """A span that somebody marked: where it is, its label, its cluster of coreference and its head."""

    found: Found
    label: str | None = None
    coref: str | None = None
    head: Span | None = None


@dataclass(frozen=True)
class Trigger:
    """An event: the span that expresses it and its type."""

    spot: str
    type: str
    coref: str | None = None


@dataclass(frozen=True)
class Link:
    """An argument: ``source`` is an event, ``target`` a span; ``node`` is where it is written."""

    source: str
    target: str
    role: str | None
    node: Node


def implied(spots: Mapping[str, Spot], links: Iterable[Link]) -> dict[str, Trigger]:
    """Return the events of a tool that knows none: spans that links start from, and those with the same labels."""
    sources = {link.source for link in links} & spots.keys()
    labels = {spots[name].label for name in sources} - {None}
    return {
        name: Trigger(name, spot.label or "event")
        for name, spot in spots.items()
        if name in sources or spot.label in labels
    }


def compose(
    builder: Builder, tool: tuple[str, str], spots: Mapping[str, Spot], events: Mapping[str, Trigger],
    links: Sequence[Link], doc_id: str | None,
) -> Passage:  # fmt: skip
    """Make the passage: spans that express no event are mentions, links become arguments.

    Args:
        builder: with the text; tool: its program, and how it is read.
        spots: id -> span; events: id -> event; links: arguments of events.

    Raises:
        FrostlineError: a link leads nowhere; a text is not what its span covers.
    """
    triggers = {event.spot for event in events.values()}
    how = tool[1] if events else "there is no event in it, that is, no span with links to its arguments"
    if how:
        builder.root.tell(f"read as {tool[0]}: {how}")
    spots = _converted(builder, spots)
    for name, spot in spots.items():
        if name not in triggers:
            builder.mention(spot.found, id=name, type=spot.label, coref=spot.coref, head=spot.head)
    for name, event in events.items():
        rows = []
        for link in links:
            if link.source != name:
                continue
            if link.target in events or link.target in triggers:
                link.node.tell(EVENT_AS_ARGUMENT)
            elif link.target in spots:
                rows.append((link.target, link.role))
            else:
                close = similar(link.target, spots)
                hint = f"Did you mean {close[0]!r}?" if close else f"Spans: {some(spots)}."
                raise link.node.fail("the id of a span", hint, found=brief(link.target))
        found = spots[event.spot].found
        builder.event(found.node, event.type, found, rows, id=name, coref=event.coref)
    return builder.passage(doc_id)


def _converted(builder: Builder, spots: Mapping[str, Spot]) -> Mapping[str, Spot]:
    """Return the spans in characters where their texts show that the tool counted something else."""
    counted = [(spot.found.span, spot.found.said) for spot in spots.values()]
    ruler = ruler_of(builder.text, counted) if counted and all(said is not None for _, said in counted) else None
    if ruler is None:
        return spots
    builder.root.tell(f"the offsets count {ruler.name}; the texts fit, and characters were taken")
    made = ruler.spans(builder.text, [span for span, _ in counted])
    return {
        name: replace(spot, found=replace(spot.found, span=span)) if span is not None else spot
        for (name, spot), span in zip(spots.items(), made, strict=True)
    }
