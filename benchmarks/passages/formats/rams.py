"""RAMS (Ebner et al. 2020), "Multi-Sentence Argument Linking": tokens of the document, the last one counted in."""

from __future__ import annotations

import re
from typing import Any

from backbones.core.errors import FrostlineError
from benchmarks.languages import three_letters
from benchmarks.passages.build import Builder, Found, join_tokens
from benchmarks.passages.formats.base import Form
from benchmarks.passages.formats.layout import lay_out, role_of
from benchmarks.passages.nodes import Node, brief
from benchmarks.passages.types import Passage, Span

_ROLE = re.compile(r"evt\d+arg\d+(.+)")


def read_sentences(record: Node) -> tuple[str, tuple[Span, ...], tuple[Span, ...]]:
    """Return text, tokens and sentences of a document that is a list of lists of tokens."""
    rows = [[token.string() for token in row.items()] for row in record.need("sentences").items()]
    text, tokens = join_tokens([word for row in rows for word in row])
    sentences, at = [], 0
    for row in rows:
        if row:
            sentences.append((tokens[at][0], tokens[at + len(row) - 1][1]))
        at += len(row)
    return text, tokens, tuple(sentences)


def _read(record: Node) -> Passage:
    builder = Builder(record, *read_sentences(record), inclusive=True)
    for span in record.need("ent_spans").items():
        builder.mention_at(_span(builder, span))
    links: dict[Span, list[tuple[str, str | None]]] = {}
    triggers = [(row, _pair(row)) for row in record.need("evt_triggers").items()]
    known = {pair for _, pair in triggers}
    for link in record.need("gold_evt_links").items():
        trigger, argument, role = link.row(3, "[[start, end], [start, end], role]")[:3]
        if _pair(trigger) not in known:
            raise trigger.fail(f"a trigger of evt_triggers, which has {', '.join(map(str, sorted(known))) or 'none'}")
        name = _ROLE.fullmatch(role.name())
        entity = builder.mention_at(_span(builder, argument))
        links.setdefault(_pair(trigger), []).append((entity, name[1] if name else role.name()))
    for row, pair in triggers:
        builder.event(row, _type(row), _span(builder, row), links.get(pair, []))
    return builder.passage(record.named("doc_key"), record.optional("language_id") or "en")


def _pair(row: Node) -> Span:
    start, end = row.row(2, "[start, end ...]")[:2]
    return start.integer(), end.integer()


def _span(builder: Builder, row: Node) -> Found:
    start, end = row.row(2, "[start, end ...]")[:2]
    return builder.span(row, start, end)


def _type(row: Node) -> str:
    types = row.row(3, "[start, end, [[type, score]]]")[2]
    if len(types.items()) != 1:
        raise types.fail("one [type, score]", "Give each event a trigger of its own.")
    return types.items()[0].row(1, "[type, score]")[0].name()


def _write(passage: Passage) -> dict[str, Any]:
    layout = lay_out(passage)
    mentions = {held.id: layout.tokens(held.span, f"the mention {held.id}") for held in passage.entities}
    seen: dict[Span, str] = {}
    roles: dict[Span, list[str]] = {}
    triggers, links = [], []
    for number, event in enumerate(passage.events):
        start, end = layout.trigger(event)
        other = seen.setdefault((start, end), event.id)
        if other != event.id:
            raise FrostlineError(
                f"passage {passage.doc_id!r}: {other} and {event.id} have the same trigger, "
                f"{brief(passage.text[event.trigger.start : event.trigger.end])}; RAMS links arguments to triggers, "
                "so it cannot say whose they are. Write one of the events, or another format."
            )
        triggers.append([start, end - 1, [[event.type, 1.0]]])
        for place, argument in enumerate(event.arguments):
            first, last = mentions[argument.entity]
            role = f"evt{number + 1:03}arg{place + 1:02}{role_of(passage, event, argument, 'rams')}"
            links.append([[start, end - 1], [first, last - 1], role])
            roles.setdefault((first, last - 1), []).append(role)
    return {
        "doc_key": passage.doc_id,
        "language_id": three_letters(passage.language),
        "sentences": [layout.words[first:last] for first, last in layout.sentences],
        "evt_triggers": triggers,
        "ent_spans": [
            [first, last - 1, [[role, 1.0] for role in roles.get((first, last - 1), [])]]
            for first, last in dict.fromkeys(mentions.values())
        ],
        "gold_evt_links": links,
    }


RAMS = Form(
    keys=("sentences", "evt_triggers", "ent_spans", "gold_evt_links"),
    offsets="tokens of the document, the last one counted in",
    keeps=frozenset({"mentions"}),
    reader=_read,
    writer=_write,
)
