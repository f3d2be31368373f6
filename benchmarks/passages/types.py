"""What flows on the text side: passages with triggers, mentions, events and the user's own rules."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from backbones.core.settings import Settings
from benchmarks.languages import canonical

Span = tuple[int, int]
Candidates = Literal["arguments", "entities", "auto"]


class Mention(Settings):
    """A stretch of the text that may be an argument.

    Args:
        id: unique within the passage.
        start: first character, counted from 0; end: one after the last character.
        text: the slice itself, checked by the reader; None is filled in from the offsets.
        type: entity type as the ontology spells it or an alias of it; None if it is not known.
        coref: name of the coreference cluster; mentions of one cluster are one thing in the world.
        head: characters of the syntactic head (end-exclusive), for head match in evaluation.
    """

    id: str = Field(min_length=1)
    start: int
    end: int
    text: str | None = None
    type: str | None = None
    coref: str | None = None
    head: Span | None = None

    @property
    def span(self) -> Span:
        return self.start, self.end


class Trigger(Settings):
    """The word or words that express an event most clearly; offsets as in Mention."""

    start: int
    end: int
    text: str | None = None

    @property
    def span(self) -> Span:
        return self.start, self.end


class Argument(Settings):
    """A mention that takes part in an event; ``role`` is the gold answer, used by ``evaluate`` alone."""

    entity: str
    role: str | None = None


class Event(Settings):
    """One event.

    Args:
        id: unique within the passage.
        type: event type of the ontology.
        trigger: where the text expresses it.
        arguments: mentions known to take part in it.
        candidates: what is given a role: these ``arguments`` (none of them may be left without a role), all
            ``entities`` of the passage, or mentions found in the raw text (``auto``); with the last two a mention may
            have no role. None: arguments if there are any, else entities if there are any, else auto.
        coref: name of the cluster of events that are one event in the world.
    """

    id: str = Field(min_length=1)
    type: str
    trigger: Trigger
    arguments: tuple[Argument, ...] = ()
    candidates: Candidates | None = None
    coref: str | None = None


class UserRule(Settings):
    """The user's own word on one pair: the role that ``entity`` has in ``event`` (force) or cannot have (forbid).

    ``role`` None means no role at all: force it to keep the mention out of the event, forbid it to keep it in.
    """

    rule: Literal["force", "forbid"]
    event: str
    entity: str
    role: str | None = None


class Passage(Settings):
    """A text with its events; the native format is this object as JSON.

    Args:
        doc_id: name of the passage in outputs and messages.
        ontology: name or file of the ontology; None for the one that the caller chooses.
        language: of the text, for verbalisations: a BCP 47 tag; other codes and English names become one.
        text: the raw text; every offset counts its characters (Unicode code points).
        entities: mentions; events: events over them; constraints: the user's own rules.
        tokens: characters of each token, end-exclusive, where the source was tokenised; kept to write it back.
        sentences: characters of each sentence, end-exclusive; None to find them.
    """

    doc_id: str
    ontology: str | None = None
    language: Annotated[str, AfterValidator(canonical)] = "en"
    text: str
    entities: tuple[Mention, ...] = ()
    events: tuple[Event, ...] = ()
    constraints: tuple[UserRule, ...] = ()
    tokens: tuple[Span, ...] | None = None
    sentences: tuple[Span, ...] | None = None

    def mention(self, name: str) -> Mention:
        """Return the mention with the id ``name``; raises KeyError if there is none (the reader has checked)."""
        for mention in self.entities:
            if mention.id == name:
                return mention
        raise KeyError(name)
