"""Values of a JSON document that know where they stand, so that every error names file, path and what was found."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from backbones.core.errors import FrostlineError, nearest

MAX_DEPTH = 64
"""Levels of nesting that a record may have; every format that is read needs fewer than ten."""

MAX_INTEGER = 2**53
"""Greatest integer, in magnitude, that JSON carries between programs without loss."""

Note = Callable[[str], None]


def unheard(note: str) -> None:
    """A Note that tells nobody."""


def brief(value: object, limit: int = 60) -> str:
    """Return ``value`` as JSON in at most ``limit`` characters, safe to print."""
    if isinstance(value, (dict, list)):
        kind = "an object" if isinstance(value, dict) else "an array"
        return f"{kind} of {len(value)}" if value else f"{kind} that is empty"
    words = json.dumps(value) if isinstance(value, (str, int, float, type(None))) else type(value).__name__
    return words if len(words) <= limit else words[: limit - 3] + "..."


def similar(value: str, options: Iterable[str]) -> list[str]:
    """Return names that read most like ``value``; of long lists and long names, only so many that it stays quick."""
    return nearest(value, (name for name in islice(options, 400) if len(name) <= 80)) if len(value) <= 80 else []


def some(names: Iterable[str], limit: int = 12) -> str:
    """Return the first names in quotes, for a message."""
    shown = [brief(name) for name in islice(names, limit + 1)]
    return ", ".join(shown[:limit]) + (" and others" if len(shown) > limit else "") if shown else "none"


def misread(where: str, path: str, found: str, expected: str, fix: str = "") -> FrostlineError:
    """Make the error for a value: file, path, what was expected, what was found, how to mend it."""
    path = path if len(path) <= 200 else f"{path[:120]}...{path[-70:]}"
    return FrostlineError(f"{where}: {path}: expected {expected}, found {found}." + (f" {fix}" if fix else ""))


@dataclass(frozen=True, slots=True)
class Node:
    """A JSON value and its place; its path is put together when a message needs it, since there are many nodes.

    Args:
        value: the decoded value; where: file and record; note: told what was mended while reading.
        parent: the value that it is in; part: its key or index there.
    """

    value: Any
    where: str
    note: Note = unheard
    parent: Node | None = None
    part: str | int = "$"

    @property
    def path(self) -> str:
        """JSON path from the record, such as ``$.events[0].id``."""
        parts: list[str] = []
        node: Node | None = self
        while node is not None:
            parts.append(f"[{node.part}]" if isinstance(node.part, int) else f".{node.part}")
            node = node.parent
        return "".join(reversed(parts))[1:]

    def fail(self, expected: str, fix: str = "", found: str | None = None) -> FrostlineError:
        """Make the error for this value."""
        return misread(self.where, self.path, found or brief(self.value), expected, fix)

    def tell(self, words: str) -> None:
        """Say what was mended here."""
        self.note(f"{self.where}: {self.path}: {words}")

    def _at(self, part: str | int, value: Any) -> Node:
        return Node(value, self.where, self.note, self, part)

    def object(self) -> dict[str, Any]:
        """Return the value as an object."""
        if not isinstance(self.value, dict):
            raise self.fail("an object")
        return self.value

    def get(self, key: str) -> Node | None:
        """Return the value of ``key``, None if it is absent or null."""
        value = self.object().get(key)
        return None if value is None else self._at(key, value)

    def need(self, key: str, fix: str = "") -> Node:
        """Return the value of ``key``; raises FrostlineError with the nearest key if it is absent or null."""
        found = self.get(key)
        if found is None:
            held = self.object()
            close = similar(key, held)
            hint = f"Did you mean to call {close[0]!r} {key!r}?" if close and key not in held else fix
            here = "null" if key in held else f"the keys {some(held)}"
            raise misread(self.where, self.path, here, f"the key {key!r}", hint)
        return found

    def items(self) -> list[Node]:
        """Return the elements of an array."""
        if not isinstance(self.value, list):
            raise self.fail("an array")
        return [self._at(index, value) for index, value in enumerate(self.value)]

    def all(self, key: str) -> list[Node]:
        """Return the elements of the array under ``key``, none if it is absent or null."""
        found = self.get(key)
        return found.items() if found is not None else []

    def row(self, least: int, expected: str) -> list[Node]:
        """Return the elements of an array that has at least ``least`` of them."""
        found = self.items()
        if len(found) < least:
            raise self.fail(expected)
        return found

    def string(self) -> str:
        """Return the value as a string."""
        if not isinstance(self.value, str):
            raise self.fail("a string")
        return self.value

    def name(self) -> str:
        """Return the value as a string that is not empty."""
        if not self.string():
            raise self.fail("a name", found="an empty string")
        return self.string()

    def identifier(self) -> str:
        """Return the value as an id: a string that is not empty, or an integer, which is the same id in quotes."""
        if isinstance(self.value, int) and not isinstance(self.value, bool):
            return str(self.value)
        return self.name()

    def integer(self) -> int:
        """Return the value as an integer; true, false and numbers in quotes are none."""
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            raise self.fail("an integer", "Write it without quotes and without a fraction.")
        return self.value

    def optional(self, key: str) -> str | None:
        """Return the string under ``key``, None if it is absent, null or empty."""
        found = self.get(key)
        return (found.string() or None) if found is not None else None

    def named(self, *keys: str) -> str | None:
        """Return the id under the first of ``keys`` that holds one, None if all are absent, null or empty."""
        held = [found for key in keys if (found := self.get(key)) is not None and found.value != ""]
        return held[0].identifier() if held else None


def tidy(value: Any, where: str, depth: int = MAX_DEPTH) -> None:
    """Check what JSON allows and no format uses: depth, huge integers, infinities, half characters.

    It keeps one iterator for each level, so its memory grows with the depth of the value, not with its size.

    Raises:
        FrostlineError: names the path of the value and the rule.
    """
    path: list[str] = ["$"]
    stack: list[Iterator[tuple[str, Any]]] = [iter([("", value)])]
    while stack:
        part, held = next(stack[-1], (None, None))
        if part is None:
            stack.pop()
            path.pop()
        elif isinstance(held, (dict, list)):
            path.append(part)
            if len(stack) > depth:
                raise misread(where, _joined(path), "more", f"at most {depth} levels of nesting", "Flatten it.")
            stack.append(_children(held, where, path))
        else:
            _tidy_leaf(held, where, path, part)


def _joined(path: list[str], part: str = "") -> str:
    """Put a path together, once there is a message to write: keys may be long and values many."""
    return "".join((*path, part))


def _children(held: dict[str, Any] | list[Any], where: str, path: list[str]) -> Iterator[tuple[str, Any]]:
    if isinstance(held, list):
        for index, item in enumerate(held):
            yield f"[{index}]", item
        return
    for key, item in held.items():
        if not isinstance(key, str):
            raise misread(where, _joined(path), f"the key {key!r}", "keys that are strings")
        _tidy_leaf(key, where, path, f".{key}")
        yield f".{key}", item


def _tidy_leaf(held: Any, where: str, path: list[str], part: str) -> None:
    if isinstance(held, str):
        if not held.isascii() and any("\ud800" <= letter <= "\udfff" for letter in held):
            raise misread(
                where, ascii(_joined(path, part))[1:-1], f"half of a surrogate pair in {held[:40]!a}",
                "whole characters", "Write characters beyond U+FFFF as themselves or as two \\u escapes.",
            )  # fmt: skip
    elif isinstance(held, float):
        if not math.isfinite(held):
            raise misread(where, _joined(path, part), str(held), "a finite number")
    elif isinstance(held, int):
        if abs(held) > MAX_INTEGER:
            rule = f"an integer of at most {MAX_INTEGER} in magnitude"
            raise misread(where, _joined(path, part), "a greater one", rule)
    elif held is not None:
        raise misread(where, _joined(path, part), f"a Python {type(held).__name__}", "a JSON value")
