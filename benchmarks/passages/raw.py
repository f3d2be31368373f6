"""Raw text with nothing but a trigger."""

from __future__ import annotations

import re

from backbones.core.errors import FrostlineError
from benchmarks.passages.agree import occurrences
from benchmarks.passages.types import Event, Passage, Span, Trigger

_OFFSETS = re.compile(r"(\d{1,12})(?:-(\d{1,12}))?")
_WORD = re.compile(r"\w")


def raw_passage(text: str, doc_id: str, where: str, *, trigger: str | Span | None, event_type: str | None) -> Passage:
    """Make a passage of a raw text: one event, candidates found in the text.

    Args:
        text: the text as it is; doc_id: its name; where: file, for messages.
        trigger: the word or words, which stand once in the text; or its characters, end-exclusive, as a pair or
            written ``"30-35"``; or the first character of a word, written ``"30"``.
        event_type: event type of the ontology.

    Raises:
        FrostlineError: no trigger or type, a trigger that is nowhere or in several places, an empty text.
    """
    if trigger is None or event_type is None:
        missing = " and ".join(
            name for name, value in (("a trigger", trigger), ("an event type", event_type)) if value is None
        )
        raise FrostlineError(
            f"{where}: no trigger: expected {missing} for a raw text, found none. Pass both, such as trigger 'fired' "
            "and type 'Conflict:Attack', or write the passage as JSON."
        )
    if not text.strip():
        raise FrostlineError(f"{where}: empty: expected a text, found none.")
    start, end = _place(text, trigger, where)
    event = Event(id="E1", type=event_type, trigger=Trigger(start=start, end=end), candidates="auto")
    return Passage(doc_id=doc_id, text=text, events=(event,))


def _place(text: str, trigger: str | Span, where: str) -> Span:
    if not isinstance(trigger, str):
        return trigger
    numbers = _OFFSETS.fullmatch(trigger)
    if numbers is not None:
        start = int(numbers[1])
        return start, int(numbers[2]) if numbers[2] else _word_end(text, start)
    found = list(_words(text, trigger))
    if len(found) == 1:
        return found[0]
    if not found:
        folded = next(iter(_words(text.lower(), trigger.lower())), None)  # lower() keeps nearly every offset
        hint = f" Did you mean {text[slice(*folded)]!r}?" if folded is not None else ""
        raise FrostlineError(
            f"{where}: trigger: expected words of the text, found {trigger!r}, which is not in it.{hint}"
        )
    places = ", ".join(f"{start}-{end}" for start, end in found[:8])
    raise FrostlineError(
        f"{where}: trigger: expected words that stand once, found {trigger!r} at {places}"
        f"{' and more' if len(found) > 8 else ''}. Give the offsets instead, such as '{found[0][0]}-{found[0][1]}'."
    )


def _words(text: str, said: str) -> list[Span]:
    """Return where ``said`` stands as whole words."""
    return [
        (start, end)
        for start, end in occurrences(text, said)
        if not (_WORD.match(said[0]) and start > 0 and _WORD.match(text[start - 1]))
        and not (_WORD.match(said[-1]) and end < len(text) and _WORD.match(text[end]))
    ]


def _word_end(text: str, start: int) -> int:
    end = start
    while end < len(text) and _WORD.match(text[end]):
        end += 1
    return max(end, start + 1)
