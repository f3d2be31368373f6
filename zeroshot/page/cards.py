"""Cards of events: a chip for each argument, with its scores, its margin and the reasons behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.passages import Mention
from zeroshot.page.colours import Look
from zeroshot.page.markup import Markup, element, join
from zeroshot.result import ArgumentResult, EventResult, Result

SHOWN = 6  # alternatives with a bar; the others share one line


@dataclass(frozen=True)
class Sheet:
    """What the cards of one document share: the document, its mentions by id, looks of roles, prefix of ids."""

    result: Result
    mentions: Mapping[str, Mention]
    looks: Mapping[str, Look]
    prefix: str

    def words(self, entity: str) -> str:
        """Return the text of a mention, its id if the document does not list it."""
        found = self.mentions.get(entity)
        return self.result.text[slice(*found.span)] if found is not None else entity


def card(sheet: Sheet, number: int) -> Markup:
    """Return the card of the event ``number``."""
    event = sheet.result.events[number]
    trigger = sheet.result.text[slice(*event.trigger.span)]
    head = element(
        "button",
        element("span", str(number + 1), class_="number"),
        element("bdi", trigger, class_="word"),
        element("span", event.type, class_="type", dir="auto"),
        element("bdi", event.id, class_="id"),
        type="button",
        class_="head",
        aria_pressed="false",
        title=f"one event with the others of {event.coref}" if event.coref else None,
    )
    chips = [_chip(sheet, found, f"{sheet.prefix}e{number}a{at}") for at, found in enumerate(event.arguments)]
    body = element("ul", *chips, class_="chips") if chips else element("p", "No arguments.", class_="quiet")
    parts = [element("h3", head), body, _rejected(sheet, event)]
    return element("article", *parts, class_="card", id=f"{sheet.prefix}e{number}", data_e=str(number))


def _rejected(sheet: Sheet, event: EventResult) -> Markup:
    if not event.rejected:
        return Markup("")
    items = [
        element("li", element("bdi", sheet.words(found.entity)), *_details(sheet, found)) for found in event.rejected
    ]
    count = len(items)
    title = element("summary", f"{count} candidate{'s' if count > 1 else ''} without a role")
    return element("details", title, element("ul", *items), class_="rejected")


def _chip(sheet: Sheet, found: ArgumentResult, name: str) -> Markup:
    role = found.role or "no role"
    changed = found.role != found.local_role
    head = element(
        "button",
        element("span", class_="swatch", aria_hidden="true"),
        element("bdi", role, class_="role"),
        element("bdi", sheet.words(found.entity), class_="words"),
        element("span", "changed", class_="flag") if changed else Markup(""),
        element("span", percent(found.score), class_="chance"),
        type="button",
        class_="chiphead",
        aria_expanded="false",
        aria_controls=f"{name}m",
    )
    look = sheet.looks.get(found.role or "", Look(0, 0))
    more = element("div", *_details(sheet, found), class_="more", id=f"{name}m")
    return element("li", head, more, class_=f"chip {look.classes}", id=name, data_role=role, data_c=str(look.colour))


def _details(sheet: Sheet, found: ArgumentResult) -> list[Markup]:
    facts = [f"score {percent(found.score)}"]
    if found.margin is not None:
        facts.append(f"margin {found.margin:.2f} nats")
    if found.entity_type is not None:
        facts.append(f"entity type {found.entity_type}")
    facts.append(f"mention {found.entity}")
    parts = [element("p", " · ".join(facts), class_="facts")]
    if found.role != found.local_role:
        parts.append(_reasons(found))
    parts.append(_bars(sheet, found))
    return parts


def _reasons(found: ArgumentResult) -> Markup:
    local = element("b", element("bdi", found.local_role or "no role"))
    if not found.changed_by:
        return element("p", join(["By its score alone: ", local, "."]), class_="why")
    items = [
        element(
            "li", element("span", each.rule, class_="rule"), " ", element("bdi", each.reason), " ", _cost(each.cost)
        )
        for each in found.changed_by
    ]
    return element("div", join(["By its score alone: ", local, ". Changed by"]), element("ul", *items), class_="why")


def _cost(cost: float | None) -> Markup:
    said = "cannot be kept" if cost is None else f"keeping it would cost {cost:.2f} nats"
    return element("span", f"({said})", class_="quiet")


def _bars(sheet: Sheet, found: ArgumentResult) -> Markup:
    rows = []
    for each in found.alternatives[:SHOWN]:
        look = sheet.looks.get(each.role or "")
        width = f"width:{100 * math.exp(min(0.0, each.score)):.1f}%"
        own = each.role == found.role
        rows.append(
            element(
                "li",
                element("bdi", each.role or "no role", class_="name"),
                element("span", element("span", style=width), class_="bar", aria_hidden="true"),
                element("span", percent(each.score), class_="chance"),
                class_=" ".join(filter(None, ("own" if own else "", look.classes if look else ""))) or None,
            )
        )
    left = len(found.alternatives) - SHOWN
    if left > 0:
        rest = math.fsum(math.exp(each.score) for each in found.alternatives[SHOWN:])
        word = "other" if left == 1 else "others"
        rows.append(
            element(
                "li",
                element("span", f"{left} {word}", class_="name quiet"),
                element("span", element("span", style=f"width:{100 * min(1.0, rest):.1f}%"), class_="bar"),
                element("span", percent(math.log(rest) if rest > 0 else -math.inf), class_="chance"),
            )
        )
    return element("ul", *rows, class_="bars") if rows else Markup("")


def percent(score: float) -> str:
    """Return a log-probability as a percentage."""
    value = 100 * math.exp(min(0.0, score))
    return f"{value:.0f} %" if value >= 1 or value == 0 else "< 1 %"
