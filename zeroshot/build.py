"""From a passage and an ontology to a problem: which mentions may take a role in which event."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from backbones.core.errors import FrostlineError
from benchmarks.ontologies import Ontology
from benchmarks.passages import Event, Mention, Passage
from benchmarks.passages.types import Candidates, Span
from zeroshot.problem import Pair, Problem

Find = Callable[[Passage], tuple[tuple[Mention, ...], tuple[str, ...]]]
"""Finds mentions in raw text: mentions and notes."""


def build(
    passage: Passage,
    ontology: Ontology,
    *,
    find: Find,
    sentences: Callable[[str], tuple[Span, ...]],
    candidates: Candidates | None = None,
    types: Literal["given", "infer"] = "given",
    reach: int | None = 1,
) -> tuple[Problem, tuple[str, ...]]:
    """Lay out the cells of a passage.

    Args:
        passage: checked; ``candidates`` of an event decides what may take a role in it.
        ontology: knows every event type of the passage.
        find: finds mentions where candidates are ``auto``.
        sentences: finds sentences, used where the passage does not bring its own.
        candidates: overrides the events' own choice, None to follow it.
        types: take entity types as ``given``, or ``infer`` them all.
        reach: with candidates ``entities`` or ``auto``, sentences before and after the trigger's in which candidates
            may lie; None for the whole passage.

    Returns:
        The problem and notes for the user.

    Raises:
        FrostlineError: an event has no candidate.
    """
    chosen = [candidates or event.candidates or default_candidates(passage) for event in passage.events]
    notes: list[str] = []
    mentions = passage.entities
    if "auto" in chosen:
        found, said = find(passage)
        taken = {mention.span for mention in passage.entities}
        mentions = (*mentions, *(mention for mention in found if mention.span not in taken))
        notes.extend(said)
    mentions = tuple(sorted(mentions, key=lambda mention: (mention.start, mention.end, mention.id)))
    number = {mention.id: index for index, mention in enumerate(mentions)}
    bounds = passage.sentences or sentences(passage.text)
    pairs: list[Pair] = []
    far = bare = 0
    for index, (event, source) in enumerate(zip(passage.events, chosen, strict=True)):
        if source == "arguments":
            members = sorted({number[argument.entity] for argument in event.arguments})
        else:
            every = [at for at, mention in enumerate(mentions) if not _overlap(mention.span, event.trigger.span)]
            members = [at for at in every if _near(mentions[at].span, event.trigger.span, bounds, reach)]
            far += len(every) - len(members)
        if not members and source != "arguments":
            raise _nothing(passage, event, source)
        bare += not members
        pairs.extend(Pair(index, at, source != "arguments") for at in members)
    if bare:
        notes.append(f"{bare} of {len(passage.events)} events list no argument and are given none (--candidates).")
    if far:
        notes.append(
            f"{far} pairs of event and mention were left out because they lie "
            f"{'in different sentences' if reach == 0 else f'more than {reach} sentences apart'} (--reach)."
        )
    kinds = tuple(_kinds(mention, ontology, types, notes) for mention in mentions)
    passage = passage.model_copy(update={"entities": mentions})
    return Problem(passage, ontology, mentions, tuple(pairs), kinds), tuple(dict.fromkeys(notes))


def default_candidates(passage: Passage) -> Candidates:
    """Return where the candidates of an event come from if it does not say.

    Its arguments where the passage lists arguments of any event (an event without them then has none), else the
    entities, else the raw text.
    """
    if any(each.arguments for each in passage.events):
        return "arguments"
    return "entities" if passage.entities else "auto"


def _nothing(passage: Passage, event: Event, source: Candidates) -> FrostlineError:
    fix = {
        "entities": "List entities other than the trigger, raise --reach, or set candidates to 'auto'.",
        "auto": "Nothing that could be an argument was found near the trigger: list entities, or raise --reach.",
    }[source]
    return FrostlineError(
        f"document {passage.doc_id!r}, event {event.id!r} ({event.type}): no candidate with candidates = {source!r}. "
        + fix
    )


def _overlap(first: Span, second: Span) -> bool:
    return first[0] < second[1] and second[0] < first[1]


def _near(span: Span, trigger: Span, sentences: tuple[Span, ...], reach: int | None) -> bool:
    if reach is None:
        return True
    return min(abs(a - b) for a in _places(span, sentences) for b in _places(trigger, sentences)) <= reach


def _places(span: Span, sentences: tuple[Span, ...]) -> Iterator[int]:
    """Yield the sentences that the span touches; one between two sentences counts to the one after."""
    inside = [index for index, sentence in enumerate(sentences) if _overlap(span, sentence)]
    yield from inside or [sum(sentence[1] <= span[0] for sentence in sentences)]


def _kinds(mention: Mention, ontology: Ontology, types: str, notes: list[str]) -> tuple[str, ...]:
    every = tuple(ontology.entity_types)
    if types == "infer" or mention.type is None or not every:
        return every
    known = ontology.entity_type(mention.type)
    if known is None:
        notes.append(
            f"entity type {mention.type!r} is not one of the ontology {ontology.name!r}: "
            "the types of such mentions are inferred."
        )
        return every
    return (known,)
