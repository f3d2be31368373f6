"""Raw text with nothing but a trigger."""

from __future__ import annotations

import re
import unicodedata

from backbones.core.errors import FrostlineError
from backbones.core.letters import spaceless
from benchmarks.passages.agree import occurrences
from benchmarks.passages.nodes import Note, unheard
from benchmarks.passages.offsets import joined
from benchmarks.passages.types import Event, Passage, Span, Trigger

_OFFSETS = re.compile(r"(\d{1,12})(?:-(\d{1,12}))?")
_WORD = re.compile(r"\w")
_ALIKE = {
    **dict.fromkeys("‘’‚‛ʼ′´`", "'"), **dict.fromkeys("“”„‟«»″", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
}  # fmt: skip
_UNSEEN = "\u00ad\u200b\u200c\u200d\u2060\ufeff"  # soft hyphens, joiners


def raw_passage(
    text: str, doc_id: str, where: str, *, trigger: str | Span | None, event_type: str | None,
    language: str | None = None, note: Note = unheard,
) -> Passage:  # fmt: skip
    """Make a passage of a raw text: one event, candidates found in the text.

    Args:
        text: the text as it is; doc_id: its name; where: file, for messages.
        trigger: the word or words, which stand once in the text, whatever the white space between them, the kind of
            quotes, apostrophes and hyphens, and composition of letters; a part of a word where no whole word is meant;
            or its characters, end-exclusive, as a pair or written ``"30-35"``; or the first character of a word,
            written ``"30"``.
        event_type: event type of the ontology.
        language: of the text, as a BCP 47 tag or an English name; None: English.
        note: told if the trigger is a part of a word.

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
    start, end = _place(text, trigger, where, note)
    event = Event(id="E1", type=event_type, trigger=Trigger(start=start, end=end), candidates="auto")
    return Passage(doc_id=doc_id, language=language or "en", text=text, events=(event,))


def _place(text: str, trigger: str | Span, where: str, note: Note) -> Span:
    if not isinstance(trigger, str):
        return trigger
    numbers = _OFFSETS.fullmatch(trigger)
    if numbers is not None:
        start = int(numbers[1])
        return start, int(numbers[2]) if numbers[2] else _word_end(text, start)
    whole = _found(text, trigger)
    words = [span for span in whole if not joined(text, span[0]) and not joined(text, span[1])]
    found = words or whole
    if len(found) == 1:
        if not words:
            start, end = found[0]
            note(f"{where}: trigger: {trigger!r} is a part of the word {_around(text, found[0])!r} at {start}-{end}")
        return found[0]
    if not found:
        folded = next(iter(_found(text.lower(), trigger.lower())), None)  # lower() keeps nearly every offset
        hint = f" Did you mean {text[slice(*folded)]!r}?" if folded is not None else ""
        raise FrostlineError(
            f"{where}: trigger: expected words of the text, found {trigger!r}, which is not in it.{hint}"
        )
    places = ", ".join(f"{start}-{end}" for start, end in found[:8])
    raise FrostlineError(
        f"{where}: trigger: expected words that stand once, found {trigger!r} at {places}"
        f"{' and more' if len(found) > 8 else ''}. Give the offsets instead, such as '{found[0][0]}-{found[0][1]}'."
    )


def _found(text: str, said: str) -> list[Span]:
    """Return where ``said`` stands in the text, both as a reader sees them."""
    seen, stops = _seen(text)
    plain = _seen(said)[0].strip()
    return [
        (stops[start], stops[end - 1] + 1)
        for start, end in occurrences(seen, plain)
        if not _in_letter(seen, stops, start) and not _in_letter(seen, stops, end)
    ]


def _in_letter(seen: str, stops: list[int], at: int) -> bool:
    """Whether a letter and its marks, or the parts of a syllable, go on across ``at``."""
    return 0 < at < len(seen) and (stops[at] == stops[at - 1] or unicodedata.combining(seen[at]) > 0)


def _seen(text: str) -> tuple[str, list[int]]:
    """Return the text with one kind of spaces, quotes and hyphens, letters decomposed, and where each character was."""
    letters: list[str] = []
    stops: list[int] = []
    for at, letter in enumerate(text):
        for part in unicodedata.normalize("NFD", letter):
            plain = " " if part.isspace() else _ALIKE.get(part, part)
            if part not in _UNSEEN and not (plain == " " and letters[-1:] == [" "]):
                letters.append(plain)
                stops.append(at)
    return "".join(letters), stops


def _around(text: str, span: Span) -> str:
    start, end = span
    while joined(text, start):
        start -= 1
    while joined(text, end):
        end += 1
    return text[start:end]


def _word_end(text: str, start: int) -> int:
    end = start
    while end < len(text) and _WORD.match(text[end]) and not spaceless(text[max(start, end - 1)]):
        end += 1
    return max(end, start + 1)
