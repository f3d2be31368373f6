"""Patterns as data: cues between two noun phrases, and the small words by which noun phrases are told."""

from __future__ import annotations

import tomllib
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from backbones.core.errors import FrostlineError, nearest
from backbones.core.reading import read_toml
from backbones.core.settings import Settings

NONE = "none"  # what a pair that stands in no relation is labelled with
CLITIC = ",'’"  # cues that begin so follow a word without a space
Where = Literal["none", "left", "right", "both"]


class Pattern(Settings):
    """One way to say a relation: LEFT cue RIGHT.

    Args:
        relation: what the head is to the tail.
        left: which of the two stands left of the cue.
        cues: words or signs between the two, as they are written.
        names: where a proper name is demanded.
        lists: where an enumeration may stand, each item of which makes a pair.
        opening: words of which one stands directly before what is left; none for any.
        closing: what follows what is right; empty for anything.
    """

    relation: str = Field(min_length=1)
    left: Literal["head", "tail"]
    cues: tuple[str, ...] = Field(min_length=1)
    names: Where = "none"
    lists: Literal["none", "right"] = "none"
    opening: tuple[str, ...] = ()
    closing: str = ""

    @field_validator("relation")
    @classmethod
    def _not_none(cls, value: str) -> str:
        if value == NONE:
            raise ValueError(f"{NONE!r} is what pairs without a relation are called; choose another word")
        return value

    @field_validator("cues")
    @classmethod
    def _not_blank(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not cue.strip() for cue in value):
            raise ValueError("a cue is blank; every cue needs a word or a sign")
        return tuple(cue.strip() for cue in value)


class Words(Settings):
    """Small words of a language, in lower case; see ``patterns.toml``."""

    determiners: frozenset[str]
    stop: frozenset[str]
    generic: frozenset[str]
    closers: frozenset[str]
    verbal: frozenset[str]


class Grammar(Settings):
    """Patterns and words."""

    patterns: tuple[Pattern, ...] = Field(min_length=1)
    words: Words

    @cached_property
    def relations(self) -> tuple[str, ...]:
        """The relations, sorted."""
        return tuple(sorted({pattern.relation for pattern in self.patterns}))

    @cached_property
    def places(self) -> list[tuple[str, str, Pattern]]:
        """What to look for: (the cue with the spaces around it, the cue, its pattern)."""
        return [(spaced(cue), cue, pattern) for pattern in self.patterns for cue in pattern.cues]

    @cached_property
    def listing(self) -> list[str]:
        """The cues, with the spaces around them, that examples of what stands before them follow."""
        return [literal for literal, _, pattern in self.places if pattern.lists == "right"]


def spaced(cue: str) -> str:
    """Return a cue with the spaces around it; a clitic or a comma stands directly behind a word."""
    return ("" if cue[0] in CLITIC else " ") + cue + (" " if cue[-1].isalnum() or cue[-1] in CLITIC + "." else "")


def read_grammar(path: Path | None = None) -> Grammar:
    """Read patterns.

    Args:
        path: a TOML file of the form of ``patterns.toml``, whose words are taken where the file has none; None for
            that file itself.

    Raises:
        FrostlineError: no such file, no TOML, or an entry of another form.
    """
    shipped = files("backbones.lifecycle.infuse").joinpath("patterns.toml").read_text(encoding="utf-8")
    usual = tomllib.loads(shipped)
    if path is None:
        return Grammar.parse(usual, "the shipped patterns")
    values = _toml(path)
    words = values.get("words", {})
    if isinstance(words, dict):
        values = {**values, "words": {**usual["words"], **words}}
    if not values.get("patterns"):
        close = nearest("patterns", values)
        hint = f" Did you mean 'patterns' by {close[0]!r}?" if close and close[0] != "patterns" else ""
        raise FrostlineError(f"{path} has no [[patterns]].{hint} Each needs relation, left (head or tail) and cues.")
    return Grammar.parse(values, str(path))


def _toml(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except FileNotFoundError as error:
        raise FrostlineError(f"patterns {path} do not exist; pass a TOML file, or leave it out.") from error
    except (OSError, ValueError) as error:
        raise FrostlineError(f"patterns {path} cannot be read as TOML ({error}).") from error
