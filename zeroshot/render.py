"""Results as one self-contained HTML page: marked texts, cards of events, scores and reasons."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files

from backbones.core.outputs import made_by
from zeroshot.page.cards import Sheet, card
from zeroshot.page.colours import Look, looks, variables
from zeroshot.page.markup import Markup, element, join
from zeroshot.page.passage import passage
from zeroshot.result import Assignment, Result


def render(results: Sequence[Result], *, title: str = "Event arguments") -> str:
    """Return an HTML page that needs no network and no other file.

    Equal results give equal pages. Everything that comes from a result is escaped, and the page forbids itself to
    load or run anything but its own style and script.

    Args:
        results: documents in the order in which they are shown.
        title: of the page.
    """
    results = [_in_order(result) for result in results]
    colours = looks(results)
    style, script = Markup(variables() + _asset("page.css")), Markup(_asset("page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        element("meta", name="generator", content=made_by()),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", style),
    )
    several = len(results) > 1
    main = [_document(result, colours, f"d{number}") for number, result in enumerate(results)]
    body = element(
        "body",
        _top(results, title),
        element(
            "div",
            _contents(results) if several else Markup(""),
            element("main", *(main or [element("p", "No documents.", class_="quiet")])),
            class_="page several" if several else "page",
        ),
        element("div", class_="tip", role="status", hidden=True),
        element("script", script),
    )
    return f'<!doctype html>\n<html lang="en">\n{head}\n{body}\n</html>\n'


def _in_order(result: Result) -> Result:
    """Number events as they are read, not as they are listed."""
    events = sorted(result.events, key=lambda event: event.trigger.span)
    return result.model_copy(update={"events": tuple(events)})


def _asset(name: str) -> str:
    return files("zeroshot").joinpath("page", name).read_text("utf-8")


def _top(results: Sequence[Result], title: str) -> Markup:
    events = sum(len(result.events) for result in results)
    arguments = sum(len(event.arguments) for result in results for event in result.events)
    counts = [(len(results), "document"), (events, "event"), (arguments, "argument")]
    said = " · ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)
    switch = element("button", "Theme: system", type="button", class_="theme", hidden=True)
    return element("header", element("h1", title, dir="auto"), element("p", said, class_="quiet"), switch, class_="top")


def _contents(results: Sequence[Result]) -> Markup:
    items = [
        element(
            "li",
            element("a", element("bdi", result.doc_id), href=f"#d{number}"),
            element("span", str(len(result.events)), class_="count", title="events"),
        )
        for number, result in enumerate(results)
    ]
    field = element("input", type="search", class_="filter", placeholder="filter", aria_label="Filter documents")
    box = element("details", element("summary", "Documents"), field, element("ol", *items), open=True)
    return element("nav", box, class_="contents", aria_label="Documents")


def _document(result: Result, colours: Mapping[str, Look], prefix: str) -> Markup:
    sheet = Sheet(result, {mention.id: mention for mention in result.entities}, colours, prefix)
    cards = [card(sheet, number) for number in range(len(result.events))]
    named = {"ontology": result.ontology, "scorer": result.scorer, "language": result.language}
    facts = [join([f"{word} ", element("bdi", name)]) for word, name in named.items()]
    about = Markup(" · ".join(facts))
    left = element("div", passage(result, colours), _legend(result, colours), _how(sheet), class_="left")
    right = element("div", *(cards or [element("p", "No events.", class_="quiet")]), class_="cards")
    heading = element("h2", element("bdi", result.doc_id))
    head = element("div", heading, element("p", about, class_="quiet"), class_="dochead")
    return element("section", head, element("div", left, right, class_="columns"), class_="doc", id=prefix)


def _legend(result: Result, colours: Mapping[str, Look]) -> Markup:
    count = Counter(found.role for event in result.events for found in event.arguments if found.role is not None)
    items = [
        element(
            "li",
            element("span", class_="swatch", aria_hidden="true"),
            element("bdi", role, class_="role"),
            element("span", str(count[role]), class_="count"),
            class_=colours[role].classes,
        )
        for role in sorted(count, key=lambda role: (-count[role], role))
    ]
    key = element("li", element("span", "word", class_="seg trigger sample", data_n="1"), "trigger of event 1")
    return element("ul", key, *items, class_="legend", aria_label="Legend: roles and how often they occur")


def _how(sheet: Sheet) -> Markup:
    """Return how the assignment was found, what it breaks, what comes next and what the user must know."""
    result, solver = sheet.result, sheet.result.solver
    if solver.status == "optimal":
        proof = element("b", "Proven to be the best assignment", class_="good")
    else:
        proof = element("b", f"Best assignment found in time, within {solver.gap:.3g} nats of the best", class_="bad")
    facts = f": objective {solver.objective:.3f} nats, {_parts(solver.components)}, {_time(solver.seconds)}."
    rules = ", ".join(result.rules) or "none"
    pieces = [element("p", proof, facts), element("p", f"Rules in force: {rules}.", class_="quiet")]
    pieces.append(
        _listed(
            "Rules it breaks, and their price",
            [
                join([element("span", each.rule, class_="rule"), f" {each.reason} ({each.cost:.2f} nats)"])
                for each in solver.violations
            ],
        )
    )
    pieces.append(_listed("What the user said", _user_rules(sheet)))
    pieces.append(_listed("Next best assignments", [_assignment(sheet, other) for other in result.alternatives]))
    pieces.append(_listed("Notes", [join([note]) for note in result.notes]))
    return element("section", *pieces, class_="how", aria_label="How it was decided")


def _parts(components: int) -> str:
    return f"{components} independent part{'' if components == 1 else 's'}"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def _listed(title: str, items: Sequence[Markup]) -> Markup:
    if not items:
        return Markup("")
    return join([element("h4", title), element("ul", *(element("li", item, dir="auto") for item in items))])


def _user_rules(sheet: Sheet) -> list[Markup]:
    return [
        join(
            [f"{each.rule} ", _cell(sheet, each.event, each.entity), " to have ", element("b", each.role or "no role")]
        )
        for each in sheet.result.constraints
    ]


def _assignment(sheet: Sheet, other: Assignment) -> Markup:
    less = sheet.result.solver.objective - other.objective
    pieces: list[str] = [f"{less:.2f} nats less: "]
    was = {
        (event.id, found.entity): found.role
        for event in sheet.result.events
        for found in (*event.arguments, *event.rejected)
    }
    for number, (event, entity, role) in enumerate(other.changes):
        pieces += ["; "] if number else []
        change = f" {was.get((event, entity)) or 'no role'} → "
        pieces += [_cell(sheet, event, entity), change, element("b", role or "no role")]
    return join(pieces)


def _cell(sheet: Sheet, event: str, entity: str) -> Markup:
    numbers = {each.id: number for number, each in enumerate(sheet.result.events)}
    place = f"event {numbers[event] + 1}" if event in numbers else event
    return join([element("bdi", sheet.words(entity)), f" in {place}"])
