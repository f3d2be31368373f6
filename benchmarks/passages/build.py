"""Passages from foreign records: tokens become characters, ids are kept or made, texts are compared with slices."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import Any

from backbones.core.errors import FrostlineError
from benchmarks.passages.agree import Squeezed, closest, misfit, widen
from benchmarks.passages.nodes import Node, brief, similar, some
from benchmarks.passages.offsets import in_words, ruler_of
from benchmarks.passages.types import Argument, Event, Mention, Passage, Span, Trigger

SLIPS = 0.25
"""Share of the spans of a tokenised record whose text may stand elsewhere before its offsets are held to be wrong."""

MOST_SLIPS = 20
"""Number of spans of one record that are mended at most."""

EVENT_AS_ARGUMENT = "an event as an argument of an event was left out: arguments are mentions"

_COREF = re.compile(r"(.*-[EVT]\d+)-\d+")  # ids of ACE and its kin: document, entity, mention


def place_tokens(text: str, words: Sequence[str]) -> tuple[Span, ...] | None:
    """Return the characters of each word in ``text``; None if anything but white space stands between them.

    White space at the edges of a word belongs to no word, since nothing tells it from that between words.
    """
    spans, at = [], 0
    for word in map(str.strip, words):
        while word and at < len(text) and text[at].isspace():
            at += 1
        if not text.startswith(word, at):
            return None
        spans.append((at, at + len(word)))
        at += len(word)
    return tuple(spans) if not text[at:].strip() else None


def join_tokens(words: Sequence[str]) -> tuple[str, tuple[Span, ...]]:
    """Return the words, trimmed, with single spaces between them, and the characters of each."""
    trimmed = [word.strip() for word in words]
    spans, at = [], 0
    for word in trimmed:
        spans.append((at, at + len(word)))
        at += len(word) + 1
    return " ".join(trimmed), tuple(spans)


def cluster_of(name: str) -> str | None:
    """Return the entity that an ACE mention id belongs to (``doc-E4-12`` to ``doc-E4``), None for other ids."""
    found = _COREF.fullmatch(name)
    return found[1] if found is not None else None


@dataclass(frozen=True)
class Found:
    """A span as the source writes it.

    Args:
        node: where it stands in the record; span: characters; said: its text in the source, None if it gives none.
        unit: what the source counts, such as ``"tokens 3-5"``; empty for characters.
    """

    node: Node
    span: Span
    said: str | None = None
    unit: str = ""


@dataclass
class Builder:
    """Collects mentions and events of one record and makes the passage.

    Args:
        root: the record; text: the whole text.
        tokens: characters of each token, for formats that count tokens.
        sentences: characters of each sentence; inclusive: whether the last token of a span is counted in.
        slack: characters by which a span may be off its text and is mended.
    """

    root: Node
    text: str
    tokens: tuple[Span, ...] | None = None
    sentences: tuple[Span, ...] | None = None
    inclusive: bool = False
    slack: int = 0
    _mentions: list[dict[str, Any]] = field(default_factory=list)
    _events: list[dict[str, Any]] = field(default_factory=list)
    _ids: dict[tuple[str, str], Node] = field(default_factory=dict)  # kind and id -> owner
    _spans: dict[tuple[Span, str | None], str] = field(default_factory=dict)  # span and type -> mention
    _counts: dict[str, int] = field(default_factory=dict)  # letter -> ids made
    _events_to_come: frozenset[str] = frozenset()
    _empty: int = 0

    @cached_property
    def _squeezed(self) -> Squeezed:
        return Squeezed(self.text)

    @cached_property
    def _filled(self) -> tuple[list[int], list[int]]:
        """For each token the first one at or after it that has characters, and the last one at or before it."""
        tokens = self.tokens or ()
        after, before = [len(tokens)] * len(tokens), [-1] * len(tokens)
        for at, (start, end) in enumerate(tokens):
            before[at] = at if start < end else before[at - 1] if at else -1
        for at in range(len(tokens) - 1, -1, -1):
            filled = tokens[at][0] < tokens[at][1]
            after[at] = at if filled else after[at + 1] if at + 1 < len(tokens) else len(tokens)
        return after, before

    @cached_property
    def _names(self) -> dict[str, Span]:
        return {}

    def chars(self, node: Node, start: Node, end: Node, said: str | None = None) -> Found:
        """Read a span of characters, end-exclusive; whether it lies in the text is seen when all spans are known."""
        return Found(node, (start.integer(), end.integer()), said)

    def span(self, node: Node, start: Node, end: Node, said: str | None = None) -> Found:
        """Read a span of tokens and turn it into characters."""
        tokens = self.tokens or ()
        first, last = start.integer(), end.integer()
        stop = last + 1 if self.inclusive else last
        kind = "the last counted in" if self.inclusive else "end-exclusive"
        unit = f"tokens {first}-{last}"
        # 0-0 is what CrudeOil writes where it has not found the tokens of a part of a word
        lost = first == last == stop == 0 and said and self._empty < MOST_SLIPS
        if lost and said and (place := self._squeezed.only(said)):
            self._empty += 1
            node.tell(f"an empty span of tokens; {said!r} stands once, at characters {place[0]}-{place[1]}")
            return Found(node, place, None, unit)
        held = range(0)
        if 0 <= first < stop <= len(tokens):  # without tokens at the edges that have no characters
            held = range(self._filled[0][first], self._filled[1][stop - 1] + 1)
        if not held:
            rule = "0 <= start <= end <" if self.inclusive else "0 <= start < end <="
            raise node.fail(
                f"{rule} {len(tokens)} (tokens, {kind})",
                "Are the offsets characters, or those of another text?", found=f"start {first}, end {last}",
            )  # fmt: skip
        return Found(node, (tokens[held[0]][0], tokens[held[-1]][1]), said, unit)

    def _claim(self, node: Node, kind: str, name: str | None) -> str:
        name = name or self._fresh(kind)
        if (kind, name) in self._ids:
            other = self._ids[kind, name].path
            raise node.fail("an id of its own", f"{other} has it too: rename one.", found=f"the id {brief(name)}")
        self._ids[kind, name] = node
        return name

    def _fresh(self, letter: str) -> str:
        while True:
            self._counts[letter] = self._counts.get(letter, 0) + 1
            name = f"{letter}{self._counts[letter]}"
            if (letter, name) not in self._ids:
                return name

    def mention(
        self, found: Found, *, id: str | None = None, type: str | None = None, coref: str | None = None,
        head: Span | None = None,
    ) -> str:  # fmt: skip
        """Add a mention and return its id; one is made if the source has none."""
        name = self._claim(found.node, "T", id)
        self._names[name] = found.span
        self._mentions.append({"found": found, "id": name, "type": type, "coref": coref, "head": head})
        self._spans.setdefault((found.span, type), name)
        self._spans.setdefault((found.span, None), name)
        return name

    def mention_at(self, found: Found, type: str | None = None, coref: str | None = None) -> str:
        """Return the mention at a span (of that type, if it is known), adding one that only arguments know of."""
        name = self._spans.get((found.span, type)) or (self._spans.get((found.span, None)) if type is None else None)
        return name if name is not None else self.mention(found, type=type, coref=coref)

    def spans(self, name: str) -> Span:
        """Return the characters of a mention that was added."""
        return self._names[name]

    def expect(self, events: Sequence[Node]) -> None:
        """Learn the ids of the events of the record, which arguments may name."""
        self._events_to_come = frozenset(name for event in events if (name := event.named("id")) is not None)

    def arguments(self, event: Node, place: Callable[[Node], str] | None = None) -> list[tuple[str, str | None]]:
        """Return mention and role of each of the ``arguments`` of an event; events among them are told and left out.

        Args:
            place: finds the mention of a row without ``entity_id``; None: each row must have one.
        """
        rows = []
        for row in event.all("arguments"):
            if place is not None and row.get("entity_id") is None:
                rows.append((place(row), row.optional("role")))
                continue
            named = row.need("entity_id")
            if named.identifier() in self._events_to_come - self._names.keys():
                row.tell(EVENT_AS_ARGUMENT)
            else:
                rows.append((self.known(named, row.optional("text")), row.optional("role")))
        return rows

    def _nameless(self, said: str | None) -> str | None:
        """Return the one mention of that text, if its source has no name for it but a number at most."""
        rows = [row for row in self._mentions if said is not None and row["found"].said == said]
        bare = len(rows) == 1 and not isinstance(rows[0]["found"].node.object().get("id"), str)
        return rows[0]["id"] if bare else None

    def known(self, node: Node, said: str | None = None) -> str:
        """Return the mention that ``node`` names; ``said``: its text, which finds one that has no name.

        Raises:
            FrostlineError: there is none; names the nearest ids.
        """
        name = node.identifier()
        if name not in self._names:
            nameless = self._nameless(said)
            if nameless is not None:
                node.tell(f"no mention has this id; the mention {nameless!r} has the text {said!r} and was taken")
                return nameless
            close = similar(name, self._names)
            hint = f"Did you mean {close[0]!r}?" if close else f"Mentions: {some(self._names)}."
            raise node.fail("the id of a mention", hint)
        return name

    def event(
        self, node: Node, type: str, trigger: Found, arguments: Sequence[tuple[str, str | None]], *,
        id: str | None = None, coref: str | None = None,
    ) -> str:  # fmt: skip
        """Add an event over mentions that are known; returns its id."""
        name = self._claim(node, "E", id)
        rows = tuple(Argument(entity=entity, role=role) for entity, role in dict.fromkeys(arguments))
        self._events.append({"found": trigger, "id": name, "type": type, "arguments": rows, "coref": coref})
        return name

    def passage(self, doc_id: str | None, language: str = "en") -> Passage:
        """Compare texts with slices and return the passage.

        Raises:
            FrostlineError: a text is not what its span covers.
        """
        spans = self._agreed([row["found"] for row in (*self._mentions, *self._events)])
        mentions, events = [], []
        for row, (start, end) in zip(self._mentions, spans, strict=False):
            rest = {key: value for key, value in row.items() if key != "found"}
            mentions.append(Mention(start=start, end=end, **rest))
        for row, (start, end) in zip(self._events, spans[len(mentions) :], strict=True):
            rest = {key: value for key, value in row.items() if key != "found"}
            events.append(Event(trigger=Trigger(start=start, end=end), **rest))
        return Passage(
            doc_id=doc_id or PurePath(self.root.where).name,
            language=language,
            text=self.text,
            entities=tuple(mentions),
            events=tuple(events),
            tokens=self.tokens,
            sentences=self.sentences,
        )

    def _agreed(self, founds: list[Found]) -> list[Span]:
        """Return the spans, mended where a corpus slips inside a word or, seldom, takes another word."""
        spans = [self._same(found) for found in founds]
        wrong = [at for at, span in enumerate(spans) if span is None]
        many = len(wrong) > min(MOST_SLIPS, SLIPS * len(founds))
        for at in wrong:
            found = founds[at]
            place = self._mended(found, many)
            if place is None:
                raise self._differs(found, founds)
            if found.unit:
                found.node.tell(f"{misfit(self.text, found.span, found.said or '', found.unit)} The text was taken.")
            spans[at] = place
        near = [at for at in wrong if not founds[at].unit]
        if near:
            found = founds[near[0]]
            words = misfit(self.text, found.span, found.said or "").partition(": are")[0]
            found.node.tell(
                f"{words}; so are {len(near)} of {len(founds)} spans off by one, and their texts were taken"
            )
        return [span for span in spans if span is not None]

    def _mended(self, found: Found, many: bool) -> Span | None:
        if not found.said:
            return None
        if found.unit:
            return self._squeezed.only(found.said) if not many else None
        place = closest(self.text, found.said, found.span[0])
        near = place is not None and abs(place[0] - found.span[0]) <= self.slack >= abs(place[1] - found.span[1])
        return place if near else None

    def _differs(self, found: Found, founds: Sequence[Found]) -> FrostlineError:
        start, end = found.span
        if not 0 <= start < end <= len(self.text):
            error = found.node.fail(
                f"0 <= start < end <= {len(self.text)} (characters, end-exclusive)",
                "Are the offsets inclusive, or those of another text?", found=f"start {start}, end {end}",
            )  # fmt: skip
        else:
            words = misfit(self.text, found.span, found.said or "", found.unit)
            error = FrostlineError(f"{found.node.where}: {found.node.path}: the text differs from the offsets: {words}")
        counted = [] if found.unit else [(each.span, each.said) for each in founds]
        return FrostlineError(f"{error}{in_words(ruler_of(self.text, counted))}")

    def _same(self, found: Found) -> Span | None:
        start, end = found.span
        if not 0 <= start < end <= len(self.text):
            return None
        if found.said is None or (len(found.said) == end - start and found.said == self.text[start:end]):
            return found.span
        if not found.unit:  # tools write a line end inside a span as a blank
            same = len(found.said) == end - start and _blanks(found.said) == _blanks(self.text[start:end])
            return found.span if same else None
        mended = widen(self.text, found.span, found.said)
        if mended is not None and mended != found.span:
            found.node.tell(f"the text {found.said!r} ends inside a word of {found.unit}; the word was taken")
        return mended


def _blanks(text: str) -> str:
    return "".join(" " if letter.isspace() else letter for letter in text)
