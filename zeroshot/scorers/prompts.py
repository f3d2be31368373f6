"""Prompts: how a request becomes a text in which a language model meets the label.

Source: Lin, Zhang, Song, "Global Constraints with Prompting for Zero-Shot Event Argument Classification", Findings of
EACL 2023 (arXiv 2302.04459): a prefix prompt names event and trigger, a cloze prompt follows the argument.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from backbones.core.errors import FrostlineError, nearest, unknown
from zeroshot.scorers.base import Request

PREFIXES = {
    "expressed": 'This is a {type} event whose occurrence is most clearly expressed by "{trigger}". ',
    "trigger": 'This is a {type} event whose trigger is "{trigger}". ',
    "type-expressed": 'The event type is {type}, and its occurrence is most clearly expressed by "{trigger}". ',
    "type-trigger": 'The event type is {type} and the trigger is "{trigger}". ',
    "none": "",
}
"""The four published prefix prompts (66.1, 65.2, 65.6 and 63.0 F1 on ACE in the paper), and none."""

FIELDS = ("type", "trigger", "passage", "span", "role", "description")
ANSWERS = ("role", "description")
NOTHING = "thing"
"""What stands in the place of the empty label: the word that says least."""

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")


@dataclass(frozen=True)
class Part:
    """A stretch of a template: literal text, or the name of a field."""

    text: str
    field: bool


@dataclass(frozen=True)
class Rendered:
    """The text that a model reads, cut around the label: ``left + label + right``."""

    left: str
    label: str
    right: str

    @property
    def text(self) -> str:
        return self.left + self.label + self.right

    @property
    def span(self) -> tuple[int, int]:
        """Characters of the label, end-exclusive."""
        return len(self.left), len(self.left) + len(self.label)


@dataclass(frozen=True)
class Template:
    """A prompt.

    Args:
        prefix: goes before the passage; fields ``{type}``, ``{trigger}``, ``{span}``; left out if a request lacks one.
        frame: None: the published cloze, `` and any other {role}`` right after the span. Else a text with ``{role}`` or
            ``{description}`` once, which is what is scored; with ``{passage}`` it encloses the passage, without it
            follows the passage.

    Braces of passages are text; in a template ``{{`` and ``}}`` stand for braces.
    """

    prefix: str = PREFIXES["expressed"]
    frame: str | None = None

    def __post_init__(self) -> None:
        for field in (part.text for part in parse(self.prefix) if part.field):
            if field in (*ANSWERS, "passage"):
                raise FrostlineError(f"prefix prompt {self.prefix!r}: {{{field}}} cannot stand before the passage.")
        if self.frame is not None:
            _check_frame(self.frame)

    def render(self, request: Request) -> Rendered:
        """Return the text for ``request``; an ontology's own hypothesis goes before ``frame``, for roles alone."""
        label = request.label.strip() or NOTHING
        values = _values(request)
        own = request.hypothesis if request.kind == "role" else None
        frame = own if own is not None else self.frame
        prefix = _fill(parse(self.prefix), values) or ""
        if frame is None:
            return _cloze(prefix, request.text, request.span[1], label)
        parts = _check_frame(frame)
        if not any(part.field and part.text == "passage" for part in parts):
            passage = request.text.rstrip()
            prefix += passage + " " if passage else ""
        at = next(index for index, part in enumerate(parts) if part.field and part.text in ANSWERS)
        if parts[at].text == "description":
            label = (request.description or "").strip().rstrip(".") or label
        sides = [_fill(side, values, empty="") or "" for side in (parts[:at], parts[at + 1 :])]
        return Rendered(prefix + sides[0], label, sides[1])


def make_template(words: str) -> Template:
    """Return the template that ``words`` name or spell.

    Args:
        words: a name of PREFIXES, a prefix prompt of one's own (it has fields but no ``{role}``), or a whole frame
            (with ``{role}`` or ``{description}``).

    Raises:
        FrostlineError: unknown name or field, a lone brace, or a frame with several answers.
    """
    if words in PREFIXES:
        return Template(PREFIXES[words])
    if "{" not in words and "}" not in words:
        raise unknown("template (one of your own has fields such as {role} or {type})", words, PREFIXES)
    fields = [part.text for part in parse(words) if part.field]
    if any(field in (*ANSWERS, "passage") for field in fields):
        return Template("", words)
    return Template(words if words.endswith(" ") else words + " ")


@lru_cache(maxsize=512)
def parse(template: str) -> tuple[Part, ...]:
    """Split a template into text and fields; raises FrostlineError for an unknown field or a lone brace."""
    parts: list[Part] = []
    for match in _PART.finditer(template):
        token, field = match.group(0), match.group(1)
        if token in ("{{", "}}"):
            parts.append(Part(token[0], False))
        elif token in ("{", "}"):
            raise FrostlineError(f"template {template!r}: a lone {token!r}; write {token * 2!r} for a brace as text.")
        elif field is None:
            parts.append(Part(token, False))
        elif field in FIELDS:
            parts.append(Part(field, True))
        else:
            close = nearest(field, FIELDS)
            hint = f" Did you mean {{{close[0]}}}?" if close else ""
            names = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise FrostlineError(f"template {template!r}: unknown field {{{field}}}.{hint} Known: {names}.")
    return tuple(parts)


def _check_frame(frame: str) -> tuple[Part, ...]:
    parts = parse(frame)
    answers = [part.text for part in parts if part.field and part.text in ANSWERS]
    if len(answers) != 1:
        raise FrostlineError(
            f"template {frame!r} has {len(answers)} answers; it needs {{role}} or {{description}} exactly once."
        )
    return parts


def _values(request: Request) -> dict[str, str]:
    """Return field -> text for the fields that the request can fill."""
    values = {"passage": request.text, "span": request.text[slice(*request.span)]}
    if request.event:
        values["type"] = request.event
    if request.trigger is not None:
        values["trigger"] = request.text[slice(*request.trigger)]
    return values


def _fill(parts: tuple[Part, ...], values: dict[str, str], empty: str | None = None) -> str | None:
    """Return the text of ``parts``; a field without a value becomes ``empty``, or makes the whole None."""
    texts = [values.get(part.text, empty) if part.field else part.text for part in parts]
    return None if any(text is None for text in texts) else "".join(text for text in texts if text is not None)


def _cloze(prefix: str, passage: str, end: int, label: str) -> Rendered:
    rest = passage[end:]
    if not rest.strip():
        rest = "."
    elif rest[0].isalnum():  # the span ends within a word: the label must not run into what is left of it
        rest = " " + rest
    return Rendered(f"{prefix}{passage[:end]} and any other ", label, rest)
