"""Whether a passage holds together: by itself, and against the ontology that it is read with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import TypeVar

from backbones.core.errors import FrostlineError
from benchmarks.ontologies.types import EventType, Ontology, verbal
from benchmarks.passages.agree import misfit
from benchmarks.passages.nodes import Note, brief, misread, similar, some, unheard
from benchmarks.passages.offsets import doubtful, in_words, ruler_of
from benchmarks.passages.types import Argument, Event, Mention, Passage, Span, Trigger, UserRule

MAX_COVERED = 2**24
"""Characters that all spans of a passage may cover together; more is taken for wrong offsets, and would fill memory."""

SLIP = 0.75
"""Likeness (difflib) from which a part of a type is taken for a misspelling of another one."""

Spanned = TypeVar("Spanned", Mention, Trigger)

_BETWEEN = re.compile(r"[\W_]+")


def check_passage(passage: Passage, where: str) -> Passage:
    """Check ids and spans and fill in every ``text`` from its slice.

    Args:
        passage: as it was read or made; where: file and record, for messages.

    Raises:
        FrostlineError: empty text, duplicate or dangling id, span out of range, text that differs from its slice,
            rule of the user about an event or entity that does not exist; names the JSON path and the fix.
    """
    if not passage.text.strip():
        raise misread(where, "$.text", brief(passage.text[:40]), "a text", "There is nothing to read.")
    _half_characters(passage, where)
    try:
        return _checked(passage, where)
    except MisplacedError as error:
        held = _marked(passage)
        ruler = ruler_of(passage.text, [(each.span, each.text) for each in held])
        raise FrostlineError(f"{error}{in_words(ruler)}") from None


def _marked(passage: Passage) -> list[Mention | Trigger]:
    return [*passage.entities, *(event.trigger for event in passage.events)]


class MisplacedError(FrostlineError):
    """A span that is not where its text says."""


def _checked(passage: Passage, where: str) -> Passage:
    _unique(where, "$.entities", [mention.id for mention in passage.entities])
    _unique(where, "$.events", [event.id for event in passage.events])
    _ordered(passage, where)
    spans = [*(mention.span for mention in passage.entities), *(event.trigger.span for event in passage.events)]
    if sum(max(0, end - start) for start, end in spans) > max(MAX_COVERED, len(passage.text)):
        raise misread(where, "$", "more", f"spans that cover at most {MAX_COVERED} characters together")
    entities = tuple(
        _filled(mention, passage.text, where, f"$.entities[{at}]") for at, mention in enumerate(passage.entities)
    )
    events = tuple(
        _with_trigger(event, _filled(event.trigger, passage.text, where, f"$.events[{at}].trigger"))
        for at, event in enumerate(passage.events)
    )
    _named(passage, where)
    for at, mention in enumerate(passage.entities):
        if mention.head is not None:
            _in_range(mention.head, len(passage.text), where, f"$.entities[{at}].head")
    same = all(new is old for new, old in zip((*entities, *events), (*passage.entities, *passage.events), strict=True))
    return passage if same else passage.model_copy(update={"entities": entities, "events": events})


def doubt(passage: Passage, where: str, note: Note) -> None:
    """Say which spans begin or end inside a word or with white space; sources that count tokens have none."""
    held = _marked(passage) if passage.tokens is None else []
    odd = [each for each in held if doubtful(passage.text, each.span)]
    if odd:
        spans = [(each.span, None) for each in held]
        first, many = odd[0], "spans begin or end" if len(held) > 1 else "span begins or ends"
        note(
            f"{where}: {len(odd)} of {len(held)} {many} inside a word or with white space, such as "
            f"{brief(passage.text[slice(*first.span)])} at {first.start}-{first.end}."
            + (in_words(ruler_of(passage.text, spans)) or " Are the offsets right?")
        )


def _with_trigger(event: Event, trigger: Trigger) -> Event:
    return event if trigger is event.trigger else event.model_copy(update={"trigger": trigger})


def _half_characters(passage: Passage, where: str) -> None:
    try:
        passage.text.encode()
    except UnicodeEncodeError as error:
        raise misread(
            where, "$.text", f"half of a surrogate pair at character {error.start}", "whole characters",
            "Decode the text with errors='replace'.",
        ) from None  # fmt: skip


def _unique(where: str, path: str, names: list[str]) -> None:
    seen: dict[str, int] = {}
    for at, name in enumerate(names):
        if name in seen:
            raise misread(
                where, f"{path}[{at}].id", f"the id {brief(name)}", "an id of its own",
                f"{path}[{seen[name]}] has it too: rename one, and what refers to it.",
            )  # fmt: skip
        seen[name] = at


def _ordered(passage: Passage, where: str) -> None:
    """Check that tokens and sentences lie in the text, one after the other."""
    for key, spans in (("tokens", passage.tokens), ("sentences", passage.sentences)):
        at = 0
        for number, (start, end) in enumerate(spans or ()):
            if not at <= start <= end <= len(passage.text):
                raise misread(
                    where, f"$.{key}[{number}]", f"{start}-{end}", f"{at} <= start <= end <= {len(passage.text)}",
                    "Spans are characters, end-exclusive, in the order of the text.",
                )  # fmt: skip
            at = end


def _in_range(span: Span, length: int, where: str, path: str) -> None:
    start, end = span
    if not 0 <= start < end <= length:
        backwards = "the end is not after the start" if start >= end else "it lies outside the text"
        found, rule = f"start {start}, end {end}", f"0 <= start < end <= {length} (characters, end-exclusive)"
        fix = f"A span out of range: {backwards}. Are the offsets inclusive, or those of another text?"
        raise MisplacedError(str(misread(where, path, found, rule, fix)))


def _filled(held: Spanned, text: str, where: str, path: str) -> Spanned:
    _in_range(held.span, len(text), where, path)
    start, end = held.span
    if held.text is None:
        return held.model_copy(update={"text": text[start:end]})
    if len(held.text) != end - start or held.text != text[start:end]:
        raise MisplacedError(
            f"{where}: {path}: the text differs from the offsets: {misfit(text, held.span, held.text)}"
        )
    return held


def _named(passage: Passage, where: str) -> None:
    """Check that every id that is referred to exists."""
    entities = {mention.id for mention in passage.entities}
    events = {event.id for event in passage.events}
    for at, event in enumerate(passage.events):
        for number, argument in enumerate(event.arguments):
            _known(argument.entity, entities, "entity", where, f"$.events[{at}].arguments[{number}].entity")
    for at, rule in enumerate(passage.constraints):
        _known(rule.event, events, "event", where, f"$.constraints[{at}].event")
        _known(rule.entity, entities, "entity", where, f"$.constraints[{at}].entity")


def _known(name: str, names: set[str], kind: str, where: str, path: str) -> None:
    if name not in names:
        listed = sorted(names)
        close = similar(name, listed)
        hint = f"Did you mean {close[0]!r}?" if close else f"There are {some(listed)}."
        raise misread(where, path, brief(name), f"the id of an {kind} of this passage", hint)


def check_against(
    passage: Passage, ontology: Ontology, where: str, *, gold: bool = True, note: Note = unheard
) -> Passage:
    """Check a passage against an ontology and spell its event types and roles as the ontology does.

    Args:
        passage: one that ``check_passage`` returned; where: file and record, for messages.
        gold: whether gold roles must be roles of the ontology; if not, those that are none stay as they are.
        note: told of types that are read as another one.

    Raises:
        FrostlineError: unknown event type or role, with the closest names; an event whose candidates are given and
            that has none.
    """
    events = []
    for at, event in enumerate(passage.events):
        path = f"$.events[{at}]"
        kind = _spelled_type(ontology, event.type, where, f"{path}.type")
        if _letters(kind) != _letters(event.type):
            note(f"{where}: {path}.type: {event.type!r} is read as {kind!r}, a type of the ontology {ontology.name!r}")
        arguments = tuple(
            _spelled_argument(ontology, kind, argument, where, f"{path}.arguments[{number}].role", gold)
            for number, argument in enumerate(event.arguments)
        )
        _has_candidates(passage, event, where, f"{path}.candidates")
        events.append(event.model_copy(update={"type": kind, "arguments": arguments}))
    kinds = {event.id: event.type for event in events}
    rules = tuple(_spelled_rule(ontology, kinds, rule, where, at) for at, rule in enumerate(passage.constraints))
    return passage.model_copy(update={"events": tuple(events), "constraints": rules})


def _has_candidates(passage: Passage, event: Event, where: str, path: str) -> None:
    given = event.candidates
    if (given == "arguments" and not event.arguments) or (given == "entities" and not passage.entities):
        raise misread(
            where, path, f"{given!r} and no {given}", "candidates",
            f"List {given}, or write 'auto' to have them found in the text.",
        )  # fmt: skip


def _spelled_type(ontology: Ontology, name: str, where: str, path: str) -> str:
    try:
        return resolve_event_type(ontology, name)
    except FrostlineError as error:
        raise FrostlineError(f"{where}: {path}: {error}") from None


def _spelled_role(ontology: Ontology, kind: str, name: str, where: str, path: str) -> str:
    roles = ontology.events[kind].roles
    found = resolve_role(ontology.events[kind], name)
    if found is None:
        close = similar(name, roles)
        hint = f"Did you mean {close[0]!r}?" if close else ""
        rule = f"a role of {kind} in the ontology {ontology.name!r}: {some(roles, 40)}"
        raise misread(where, path, f"the unknown role {brief(name)}", rule, hint)
    return found


def _spelled_argument(ontology: Ontology, kind: str, argument: Argument, where: str, path: str, gold: bool) -> Argument:
    if argument.role is None or (not gold and resolve_role(ontology.events[kind], argument.role) is None):
        return argument
    role = _spelled_role(ontology, kind, argument.role, where, path)
    return argument if role == argument.role else argument.model_copy(update={"role": role})


def _spelled_rule(ontology: Ontology, kinds: Mapping[str, str], rule: UserRule, where: str, at: int) -> UserRule:
    if rule.role is None:
        return rule
    role = _spelled_role(ontology, kinds[rule.event], rule.role, where, f"$.constraints[{at}].role")
    return rule if role == rule.role else rule.model_copy(update={"role": role})


def resolve_role(kind: EventType, name: str) -> str | None:
    """Return the role of an event type that ``name`` spells, whatever case and separators; None if none or several."""
    return kind.role(name) or _only(role for role in kind.roles if _letters(role) == _letters(name))


def resolve_event_type(ontology: Ontology, name: str) -> str:
    """Return the event type of the ontology that ``name`` spells.

    ``Conflict:Attack``, ``conflict.attack``, ``CONFLICT_ATTACK`` and ``Conflict.Attack.Unspecified`` are one type; a
    last part alone is enough where no other type has it; a finer type than the ontology's, such as
    ``Contact.RequestCommand.Broadcast``, is the one that it is a part of, unless it looks like a slip of the pen.

    Raises:
        FrostlineError: no type has that name or several could be meant; names the closest.
    """
    known = ontology.event_type(name)
    if known is not None:
        return known
    plain = _letters(name)
    last = [kind for kind in ontology.events if _letters(verbal(kind)) == plain]
    found = _only(kind for kind in ontology.events if _letters(kind) == plain) or _only(iter(last))
    found = found or _coarser(ontology, name)
    if found is not None:
        return found
    close = last or similar(name, ontology.events)
    hint = f" Did you mean {' or '.join(map(repr, close[:3]))}?" if close else ""
    raise FrostlineError(
        f"unknown event type {brief(name)}: the ontology {ontology.name!r} has {len(ontology.events)} types.{hint} "
        f"Known: {some(ontology.events, 150)}."
    )


def _coarser(ontology: Ontology, name: str) -> str | None:
    """Return the type that ``name`` without its last part spells; None if its last part reads like one beside it."""
    above, _, last = re.sub("[:_]", ".", name).rpartition(".")
    found = ontology.event_type(above) if "." in above else None
    beside = [
        kind for kind in ontology.events if kind != found and ontology.event_type(kind.rpartition(".")[0]) == found
    ]
    slip = any(SequenceMatcher(None, _letters(last), _letters(verbal(kind))).ratio() > SLIP for kind in beside)
    return None if slip else found


def _only(names: Iterator[str]) -> str | None:
    found = list(names)
    return found[0] if len(found) == 1 else None


def _letters(name: str) -> str:
    return _BETWEEN.sub("", name).casefold()
