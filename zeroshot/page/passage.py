"""The text of a document with its triggers and arguments marked; spans may nest and overlap in any way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from zeroshot.page.colours import Look
from zeroshot.page.markup import Markup, element, join
from zeroshot.result import Result

Span = tuple[int, int]
DASH = 9  # pixels of each colour in a line of several
LANES = 4  # lines under a word that the space between two lines of text can hold


@dataclass
class Mark:
    """One mention that has a role: its span, its line under the text, and (event, argument) numbers of its roles."""

    span: Span
    words: str
    lane: int = 0
    roles: list[tuple[int, int, str]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(role for _, _, role in self.roles))


def marks(result: Result) -> list[Mark]:
    """Return the mentions that have a role in some event, outer ones before inner ones, each with a free lane."""
    spans = {mention.id: mention.span for mention in result.entities}
    found: dict[str, Mark] = {}
    for number, event in enumerate(result.events):
        for index, argument in enumerate(event.arguments):
            span = spans.get(argument.entity)
            if argument.role is not None and span is not None and _inside(span, result.text):
                mark = found.setdefault(argument.entity, Mark(span, result.text[slice(*span)]))
                mark.roles.append((number, index, argument.role))
    ordered = sorted(found.values(), key=lambda mark: (mark.span[0], -mark.span[1]))
    _lanes(ordered)
    return ordered


def _lanes(ordered: list[Mark]) -> None:
    """Give marks that overlap different lanes; shorter ones lie nearer to the text."""
    placed: list[Mark] = []
    for mark in sorted(ordered, key=lambda mark: (mark.span[1] - mark.span[0], mark.span)):
        near = [other for other in placed if _overlap(mark.span, other.span)]
        taken = {other.lane for other in near}
        mark.lane = next(lane for lane in range(len(near) + 1) if lane not in taken)
        placed.append(mark)


def passage(result: Result, looks: Mapping[str, Look]) -> Markup:
    """Return the marked text; the characters between its tags are exactly the text (see markup.shown).

    Args:
        result: one document.
        looks: of roles.
    """
    found = marks(result)
    pieces = [_piece(result, found, looks, span) for span in segments(result, found)]
    listed = ";".join(",".join([str(mark.lane), *(f"e{e}a{a}" for e, a, _ in mark.roles)]) for mark in found)
    text = element("div", *pieces, class_="text", dir="auto", lang=result.language, data_marks=listed)
    drawing = element("svg", class_="arcs", aria_hidden="true", focusable="false")
    return element("div", drawing, text, class_="passage")


def segments(result: Result, found: list[Mark]) -> list[Span]:
    """Cut the text wherever a trigger or a marked mention begins or ends."""
    cuts = {0, len(result.text)}
    cuts.update(at for mark in found for at in mark.span)
    cuts.update(at for event in result.events if _inside(event.trigger.span, result.text) for at in event.trigger.span)
    return list(pairwise(sorted(cuts)))


def _piece(result: Result, found: list[Mark], looks: Mapping[str, Look], span: Span) -> Markup:
    text = result.text[slice(*span)]
    over = [number for number, mark in enumerate(found) if _overlap(mark.span, span)]
    triggers = [
        number
        for number, event in enumerate(result.events)
        if _inside(event.trigger.span, result.text) and _overlap(event.trigger.span, span)
    ]
    if not over and not triggers:
        return join([text])
    starts = [number for number in over if found[number].span[0] == span[0]]
    begun = [number for number in triggers if result.events[number].trigger.start == span[0]]
    names = [_event_name(result, number) for number in begun] + [_mark_name(result, found[at]) for at in starts]
    return element(
        "span",
        text,
        class_="seg" + (" trigger" if triggers else ""),
        style=_bars(found, over, looks, span[1]),
        data_m=" ".join(map(str, over)) or None,
        data_end=" ".join(str(at) for at in over if found[at].span[1] == span[1]) or None,
        data_t=" ".join(map(str, triggers)) or None,
        data_n=",".join(str(number + 1) for number in begun) or None,
        data_label=_label(found, over, span) or None,
        tabindex="0" if names else None,
        role="button" if names else None,
        aria_label=". ".join(names) or None,
    )


def _label(found: list[Mark], over: list[int], span: Span) -> str:
    ended = [name for at in over if found[at].span[1] == span[1] for name in found[at].names]
    names = list(dict.fromkeys(ended))
    return " · ".join(names[:2]) + (f" +{len(names) - 2}" if len(names) > 2 else "")


def _bars(found: list[Mark], over: list[int], looks: Mapping[str, Look], end: int) -> str | None:
    """Return the style that draws one line for each mark, in the colours of its roles; script draws the same."""
    if not over:
        return None
    layers: dict[int, list[str]] = defaultdict(list)
    for at in over:
        layers[min(found[at].lane, LANES - 1)].extend(f"var(--c{looks[name].colour})" for name in found[at].names)
    images = ",".join(_stripes(list(dict.fromkeys(colours))) for colours in layers.values())
    places = ",".join(f"0 calc(100% - {4 * (LANES - 1 - lane)}px)" for lane in layers)
    ended = list(dict.fromkeys(name for at in over if found[at].span[1] == end for name in found[at].names))
    label = f";--lc:var(--c{looks[ended[0]].colour})" if len(ended) == 1 else ""
    return f"background-image:{images};background-position:{places}{label}"


def _stripes(colours: list[str]) -> str:
    """Return a line in one colour, or in dashes of several: it is cut into pieces that must look alike."""
    stops = ",".join(f"{colour} {DASH * at}px {DASH * (at + 1)}px" for at, colour in enumerate(colours))
    return f"repeating-linear-gradient(90deg,{stops})"


def _event_name(result: Result, number: int) -> str:
    event = result.events[number]
    return f"Event {number + 1}, {event.type}: trigger {result.text[slice(*event.trigger.span)]}"


def _mark_name(result: Result, mark: Mark) -> str:
    roles = ", ".join(f"{role} in event {event + 1}" for event, _, role in mark.roles)
    return f"{mark.words}: {roles}"


def _inside(span: Span, text: str) -> bool:
    return 0 <= span[0] < span[1] <= len(text)


def _overlap(first: Span, second: Span) -> bool:
    return first[0] < second[1] and second[0] < first[1]
