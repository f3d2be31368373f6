"""Mentions found in the raw text of a passage, by spaCy where there is a pipeline, else by rules."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from backbones.core.errors import FrostlineError, unknown
from benchmarks.languages import main
from benchmarks.ontologies import Ontology
from benchmarks.passages import Mention, Passage
from benchmarks.passages.types import Span
from zeroshot.candidates import pipeline
from zeroshot.candidates.groups import Extent, Shape
from zeroshot.candidates.kinds import entity_type
from zeroshot.candidates.rules import Found, by_rules
from zeroshot.candidates.text import sentences

Finder = Literal["auto", "rules", "spacy"]
LIMIT = 500
"""Mentions that are found in one passage unless the caller says otherwise: a news article has some 200."""


def find_mentions(
    passage: Passage,
    *,
    finder: Finder = "auto",
    spacy_model: str | None = None,
    ontology: Ontology | None = None,
    extent: Extent = "bare",
    pronouns: bool = True,
    modifiers: bool = False,
    limit: int = LIMIT,
    distance: int | None = None,
) -> tuple[tuple[Mention, ...], tuple[str, ...]]:
    """Return the mentions found in the raw text of a passage, and what the user must know of them.

    Args:
        passage: checked text with its events.
        finder: ``rules`` (English), ``spacy`` (an installed pipeline), or ``auto``: spaCy if there is a pipeline for
            the passage's language, else rules.
        spacy_model: name of the pipeline; None: the best installed one for the language.
        ontology: where entity types that are certain by form, or that a tagger gives, are looked up; None: no types.
        extent: how much of a noun group is a mention: all (``full``), all but a leading determiner (``bare``), or a
            name or the last word alone (``head``); take the one that the ontology's annotation guide asks for.
        pronouns: whether personal and possessive pronouns and quantities that stand alone ("two") are mentions.
        modifiers: whether nouns before the head are mentions too ("oil" in "oil prices").
        limit: greatest number of found mentions; those nearest to a trigger are kept.
        distance: greatest number of sentences between a mention and the nearest trigger; None: any.

    Returns:
        (mentions ordered by span, no span twice; notes). A mention is trimmed, not empty, touches no trigger and has
        the id ``found-START-END``. Spans that the passage gives as entities are not found again.

    Raises:
        FrostlineError: unknown finder or extent; a negative limit or distance; spaCy or its pipeline is missing.
    """
    _check(finder, extent, limit, distance)
    spans = passage.sentences or sentences(passage.text)
    found, notes = _search(passage, spans, finder, spacy_model, Shape(extent, pronouns, modifiers))
    own = {mention.span for mention in passage.entities}
    found, cut = _limited(passage, [item for item in found if item.span not in own], spans, limit, distance)
    names = {mention.id for mention in passage.entities}
    return tuple(_mention(passage.text, item, ontology, names) for item in found), (*notes, *cut)


def _check(finder: str, extent: str, limit: int, distance: int | None) -> None:
    if finder not in get_args(Finder):
        raise unknown("finder", finder, get_args(Finder))
    if extent not in get_args(Extent):
        raise unknown("extent", extent, get_args(Extent))
    if limit < 1:
        raise FrostlineError(f"limit = {limit}: at least 1 mention must be allowed; the default is {LIMIT}.")
    if distance is not None and distance < 0:
        raise FrostlineError(f"distance = {distance}: a number of sentences, 0 for the trigger's own, None for any.")


def _search(
    passage: Passage, spans: Sequence[Span], finder: str, model: str | None, shape: Shape
) -> tuple[list[Found], tuple[str, ...]]:
    """Run the finder that was asked for, or the best there is."""
    triggers = [event.trigger.span for event in passage.events]
    language = main(passage.language)
    if finder == "spacy" or (finder == "auto" and (model or pipeline.installed(language))):
        nlp = pipeline.load(model, language)
        return pipeline.by_spacy(nlp, passage.text, triggers, shape), ()
    notes: tuple[str, ...] = ()
    if language != "en":
        notes = (
            f"passage {passage.doc_id}: mentions were found by rules for English, but its language is "
            f"{passage.language!r}; install a spaCy pipeline for it, or give entities",
        )
    return by_rules(passage.text, spans, triggers, shape), notes


def _limited(
    passage: Passage, found: list[Found], spans: Sequence[Span], limit: int, distance: int | None
) -> tuple[list[Found], list[str]]:
    """Drop what is too far from every trigger, then what exceeds the limit, and say so."""
    notes: list[str] = []
    place = _placed(spans)
    homes = sorted({place(event.trigger.start) for event in passage.events})
    starts = sorted({event.trigger.start for event in passage.events})
    if distance is not None and homes:
        near = [item for item in found if _gap(homes, place(item.span[0])) <= distance]
        if len(near) < len(found):
            notes.append(
                f"passage {passage.doc_id}: {len(found) - len(near)} of {len(found)} mentions that were found lie more "
                f"than {distance} sentences from every trigger and were left out"
            )
        found = near
    if len(found) > limit:
        notes.append(
            f"passage {passage.doc_id}: {len(found)} mentions were found; the {limit} nearest to a trigger were kept"
        )
        order = sorted(
            found, key=lambda item: (_gap(homes, place(item.span[0])), _gap(starts, item.span[0]), item.span)
        )
        found = sorted(order[:limit], key=lambda item: item.span)
    return found, notes


def _placed(spans: Sequence[Span]) -> Callable[[int], int]:
    """Return the function from a character to the number of its sentence (of the one before, between two)."""
    starts = sorted(start for start, _ in spans)
    return lambda character: max(0, bisect_right(starts, character) - 1)


def _gap(ordered: Sequence[int], value: int) -> int:
    """Return the distance from ``value`` to the nearest of ``ordered``."""
    at = bisect_right(ordered, value)
    return min((abs(value - ordered[near]) for near in (at - 1, at) if 0 <= near < len(ordered)), default=0)


def _mention(text: str, item: Found, ontology: Ontology | None, names: set[str]) -> Mention:
    start, end = item.span
    name = f"found-{start}-{end}"
    while name in names:
        name += "x"
    kind = entity_type(item.kind, ontology) if item.kind is not None else None
    return Mention(id=name, start=start, end=end, text=text[start:end], type=kind, head=item.head)
