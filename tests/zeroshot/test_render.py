"""The page of results: well-formed, complete, self-contained, safe with any text, and true to every offset."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.passages import Mention, Trigger, UserRule
from zeroshot.page import colours
from zeroshot.page.markup import VOID, shown
from zeroshot.page.passage import marks
from zeroshot.render import render
from zeroshot.result import (
    Alternative,
    ArgumentResult,
    Assignment,
    BrokenRule,
    Cause,
    EventResult,
    Result,
    Solver,
)

TEXT = "Ann shot Bob in Rome"
EVIL = "</span><script>alert(\"x\")</script>' onclick='y' &amp; \u2028"
HALF = "\ud800"  # half of a surrogate pair: ids cannot hold it, texts can


class Page(HTMLParser):
    """Reads a page, holds that every tag is closed in order, and keeps what was met."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[tuple[str, dict]] = []
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.passages: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names))
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append((tag, dict(attributes)))
        if dict(attributes).get("class") == "text":
            self.passages.append("")

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if any(tag in ("style", "script") for tag, _ in self.open):
            return
        self.words.append(data)
        if any(given.get("class") == "text" for _, given in self.open):
            self.passages[-1] += data


def argument(entity="T1", role="Attacker", local=None, **values):
    scores = (Alternative(role=role, score=math.log(0.7)), Alternative(role=local or "Target", score=math.log(0.3)))
    standard = {"score": math.log(0.7), "margin": 1.25, "entity_type": "PER", "alternatives": scores}
    return ArgumentResult(entity=entity, role=role, local_role=local or role, **(standard | values))


def result(text=TEXT, *, spans=None, events=None, **values) -> Result:
    spans = {"T1": (0, 3), "T2": (9, 12), "T3": (16, 20)} if spans is None else spans
    entities = tuple(Mention(id=name, start=start, end=end) for name, (start, end) in spans.items())
    if events is None:
        arguments = (argument(), argument("T2", "Target"))
        events = (EventResult(id="E1", type="Attack", trigger=Trigger(start=4, end=8), arguments=arguments),)
    solver = Solver(
        status="optimal", objective=-1.5, bound=-1.5, gap=0, seconds=0.0042, components=3, violations=()
    )  # fmt: skip
    standard = {"doc_id": "d1", "ontology": "ace", "language": "en", "scorer": "toy", "rules": (), "solver": solver}
    return Result(text=text, entities=entities, events=events, **(standard | values))


def words(page: str) -> str:
    return " ".join(" ".join(Page(page).words).split())


def test_every_event_argument_and_role_is_on_the_page():
    said = words(render([result()], title="My page"))
    for word in ("My page", "1 event", "2 arguments", "d1", "Attack", "shot", "Attacker Ann", "Target Bob", "70 %"):
        assert word in said
    assert "margin 1.25 nats" in said and "entity type PER" in said
    assert "Proven to be the best assignment : objective -1.500 nats, 3 independent parts, 4.2 ms." in said


def test_what_changed_a_role_and_what_it_cost_is_told():
    causes = (
        Cause(rule="types", family="cross-task", reason="a Target is a PER", cost=2.0),
        Cause(rule="user", family="user", reason="you said so", cost=None),
    )
    event = EventResult(
        id="E1", type="Attack", trigger=Trigger(start=4, end=8),
        arguments=(argument(role="Place", local="Target", changed_by=causes),),
        rejected=(argument("T3", None, local="Place"),),
    )  # fmt: skip
    said = words(render([result(events=(event,))]))
    assert "changed" in said and "By its score alone: Target . Changed by" in said
    assert "types a Target is a PER (keeping it would cost 2.00 nats)" in said
    assert "user you said so (cannot be kept)" in said
    assert "1 candidate without a role Rome" in said


def test_solver_rules_alternatives_user_rules_and_notes_are_told():
    solver = Solver(
        status="time limit", objective=-3.0, bound=-2.5, gap=0.5, seconds=10.0, components=1,
        violations=(
            BrokenRule(rule="maps", family="cross-event", reason="the Target is the Victim", amount=1, cost=2.5),
        ),
    )  # fmt: skip
    said = words(
        render(
            [
                result(
                    solver=solver,
                    rules=("maps", "types"),
                    notes=("windowed",),
                    alternatives=(Assignment(objective=-3.25, changes=(("E1", "T1", None), ("E1", "T2", "Place"))),),
                    constraints=(UserRule(rule="forbid", event="E1", entity="T2", role="Place"),),
                )
            ]
        )
    )
    assert "Best assignment found in time, within 0.5 nats of the best" in said and "10.0 s" in said
    assert "maps the Target is the Victim (2.50 nats)" in said and "Rules in force: maps, types." in said
    assert "0.25 nats less: Ann in event 1 Attacker → no role ; Bob in event 1 Target → Place" in said
    assert "forbid Bob in event 1 to have Place" in said and "Notes windowed" in said


def test_nothing_that_a_result_says_becomes_markup():
    event = EventResult(
        id=EVIL, type=EVIL, trigger=Trigger(start=0, end=4), coref=EVIL,
        arguments=(
            argument(EVIL, EVIL, local="<b>", entity_type=EVIL,
                     changed_by=(Cause(rule=EVIL, family=EVIL, reason=EVIL, cost=1.0),)),
        ),
        rejected=(argument("<i>missing", None),),
    )  # fmt: skip
    evil = dict.fromkeys(("doc_id", "ontology", "language", "scorer"), EVIL)
    made = result(
        EVIL + HALF, spans={EVIL: (0, 7)}, events=(event,), rules=(EVIL,), notes=(EVIL + HALF,), **evil
    )  # fmt: skip
    page = render([made] * 2, title=EVIL + HALF)
    plain, read = render([result()] * 2), Page(page)
    assert page.encode()  # no half of a surrogate pair is left
    assert [tag for tag, _ in read.tags].count("script") == [tag for tag, _ in Page(plain).tags].count("script") == 1
    assert not any(name.startswith("on") for _, given in read.tags for name in given)
    assert {name for _, given in read.tags for name in given} <= {
        "aria-controls", "aria-expanded", "aria-hidden", "aria-label", "aria-pressed", "charset", "class", "content",
        "data-c", "data-e", "data-end", "data-label", "data-m", "data-marks", "data-n", "data-role", "data-t", "dir",
        "focusable", "hidden", "href", "http-equiv", "id", "lang", "name", "open", "placeholder", "role", "style",
        "tabindex", "title", "type",
    }  # fmt: skip
    assert read.passages == [EVIL + "\ufffd"] * 2


def test_the_page_loads_nothing_and_allows_only_its_own_script():
    page = render([result(), result(doc_id="https://example.org/")])
    assert not re.search(r"\b(src|action|srcset|formaction)\s*=|url\(|@import", page)
    links = [given["href"] for _, given in Page(page).tags if "href" in given]
    assert links == ["#d0", "#d1"]
    script = re.search(r"<script>(.*)</script>", page, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page


def test_ids_are_unique_and_what_points_to_them_finds_them():
    tags = Page(render([result(), result()])).tags
    names = [given["id"] for _, given in tags if "id" in given]
    assert len(names) == len(set(names))
    assert {given["aria-controls"] for _, given in tags if "aria-controls" in given} <= set(names)
    for number in range(2):
        assert {f"d{number}e0a0", f"d{number}e0a1"} <= set(names)


def test_equal_results_give_equal_pages_and_none_give_a_page():
    assert render([result()]) == render([result()])
    assert "No documents." in words(render([]))
    assert "No events." in words(render([result(events=())]))


def test_events_are_numbered_as_they_are_read():
    made = [
        EventResult(id=name, type="Attack", trigger=Trigger(start=start, end=start + 3), arguments=())
        for name, start in (("late", 9), ("early", 0))
    ]
    said = words(render([result(events=tuple(made))]))
    assert re.search(r"1 Ann Attack early.*2 Bob Attack late", said)


def test_mentions_and_triggers_are_reached_by_keyboard_and_have_names():
    named = {given["aria-label"] for _, given in Page(render([result()])).tags if given.get("tabindex") == "0"}
    assert named == {"Ann: Attacker in event 1", "Event 1, Attack: trigger shot", "Bob: Target in event 1"}


def test_spans_outside_the_text_are_left_out_of_it():
    event = EventResult(id="E", type="Attack", trigger=Trigger(start=90, end=99), arguments=(argument(),))
    page = Page(render([result(spans={"T1": (15, 99)}, events=(event,))]))
    assert page.passages == [TEXT]


SPANS = st.tuples(st.integers(0, 30), st.integers(0, 30)).filter(lambda span: span[0] < span[1])
LETTERS = st.characters(codec=None) | st.sampled_from("<>&\"'\r\n\t\x00\u202e\u2028 ")


@settings(max_examples=80, deadline=None)
@given(st.text(LETTERS, min_size=31, max_size=40), st.lists(SPANS, max_size=6), st.lists(SPANS, min_size=1, max_size=3))
def test_the_marked_text_is_the_text_and_marks_cover_their_spans(text, spans, triggers):
    named = {f"T{number}": span for number, span in enumerate(spans)}
    arguments = tuple(argument(name, f"Role{number % 4}") for number, name in enumerate(named))
    events = tuple(
        EventResult(id=f"E{number}", type="Attack", trigger=Trigger(start=start, end=end), arguments=arguments)
        for number, (start, end) in enumerate(triggers)
    )
    made = result(text, spans=named, events=events)
    page = Page(render([made]))
    assert page.passages == [shown(text)] and len(shown(text)) == len(text)
    found = marks(made)
    covered: dict[int, set[int]] = {number: set() for number in range(len(found))}
    for start, end, over in pieces(render([made])):
        for number in over:
            covered[number].update(range(start, end))
    assert [covered[number] for number in range(len(found))] == [set(range(*mark.span)) for mark in found]
    for one in found:
        for other in found:
            apart = one.span[1] <= other.span[0] or other.span[1] <= one.span[0]
            assert one is other or apart or one.lane != other.lane


def pieces(page: str):
    """Yield start, end and marks of every marked piece of the passage."""

    class Pieces(Page):
        at = 0
        found: list = []  # noqa: RUF012 (one page)

        def handle_data(self, data):
            if any(given.get("class") == "text" for _, given in self.open):
                over = (self.open[-1][1].get("data-m") or "").split()
                self.found.append((self.at, self.at + len(data), [int(each) for each in over]))
                self.at += len(data)

    Pieces.found = []
    return Pieces(page).found


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    ("palette", "grounds"), [(colours.LIGHT, ("#ffffff", "#f6f6f4")), (colours.DARK, ("#15171a", "#1e2125"))]
)
def test_colours_of_roles_are_legible_in_both_themes(palette, grounds):
    assert len(set(palette)) == len(colours.LIGHT) == len(colours.DARK)
    page = render([])
    for ground in grounds:
        assert f":{ground}" in page or ground == "#ffffff"  # the grounds are those of the page
        for colour in palette:
            one, other = sorted((luminance(colour), luminance(ground)))
            assert (other + 0.05) / (one + 0.05) >= 4.5, colour


def test_a_role_has_one_look_on_the_page_and_roles_of_a_document_differ():
    roles = [f"Role{number}" for number in range(30)]
    made = [
        result(events=(EventResult(id="E", type="A", trigger=Trigger(start=4, end=8),
                                   arguments=tuple(argument("T1", role) for role in some)),))
        for some in (roles[:12], roles[12:24], roles[20:])
    ]  # fmt: skip
    found = colours.looks(made)
    assert set(found) == set(roles)
    assert len({found[role].colour for role in roles[:12]}) == 12
    assert len({found[role] for role in roles}) == len(roles)  # colour and pattern together
