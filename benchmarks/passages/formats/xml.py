"""XML that strangers wrote: no entities, no outside files, no depth without end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

from backbones.core.errors import FrostlineError
from backbones.core.reading import limits

_ROOT = re.compile(rb"<\s*(?:[\w.-]+:)?([A-Za-z_][\w.-]*)")
_BETWEEN = re.compile(rb"<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(?:\[.*?\]\s*)?>", re.S)


@dataclass
class Element:
    """An element: its name as ``namespace}name`` or plain, its attributes, its text and what is in it."""

    tag: str
    attributes: Mapping[str, str]
    line: int
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, *path: str) -> list[Element]:
        """Return the elements that a path of names leads to, in order."""
        found = [self]
        for name in path:
            found = [child for each in found for child in each.children if child.tag == name]
        return found

    def first(self, *path: str) -> Element | None:
        """Return the first of ``all``, None if there is none."""
        return next(iter(self.all(*path)), None)


def root_of(head: bytes) -> str | None:
    """Return the name of the root element, without its prefix, of what begins like XML; None for anything else."""
    bare = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not bare.startswith(b"<"):
        return None
    found = _ROOT.match(_BETWEEN.sub(b"", bare).lstrip())
    return found[1].decode() if found is not None else "?"


def parse_xml(content: bytes, where: str) -> Element:
    """Return the root element.

    Raises:
        FrostlineError: malformed; an entity is declared; nested beyond the limit.
    """
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    top = Element("", {}, 0)
    stack, deepest = [top], limits().nesting

    def refuse(name: str, *rest: object) -> None:
        raise FrostlineError(
            f"{where}: line {parser.CurrentLineNumber}: expected XML without declarations of entities, found one of "
            f"{name[:40]!r}: they can be made to fill the memory or to read other files. Write the text itself."
        )

    def start(tag: str, attributes: dict[str, str]) -> None:
        if len(stack) > deepest:
            raise FrostlineError(f"{where}: expected at most {deepest} levels of elements, found more. Flatten it.")
        made = Element(tag, attributes, parser.CurrentLineNumber)
        stack[-1].children.append(made)
        stack.append(made)

    def text(words: str) -> None:
        stack[-1].text += words

    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda tag: stack.pop()
    parser.CharacterDataHandler = text
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        what = expat.errors.messages.get(error.code, str(error))
        raise FrostlineError(
            f"{where}: malformed XML at line {error.lineno}, column {error.offset + 1}: {what}."
        ) from None
    except (LookupError, ValueError) as error:  # an encoding that nobody knows
        raise FrostlineError(f"{where}: malformed XML: {error}.") from None
    return top.children[0]
