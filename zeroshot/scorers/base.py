"""What a scorer is: log-scores of labels in the place of an argument's role or type, one for each request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from backbones.core.samples import Progress, silent


@dataclass(frozen=True)
class Request:
    """One question: how well does ``label`` say what the span is?

    Args:
        text: the passage, raw.
        span: characters of the mention, end-exclusive.
        trigger: characters of the event's trigger, end-exclusive; None where entity types are asked for.
        event: the event type in words, such as ``"attack"``; empty where entity types are asked for.
        label: the role or entity type in words, such as ``"attacker"``; empty for "no role at all".
        description: one sentence about the label, None if the ontology has none.
        kind: what is asked.
        hypothesis: the event type's own sentence with ``{role}`` and ``{span}``, None for the scorer's.
        language: ISO 639-1 code of the text.
    """

    text: str
    span: tuple[int, int]
    trigger: tuple[int, int] | None
    event: str
    label: str
    description: str | None = None
    kind: Literal["role", "type"] = "role"
    hypothesis: str | None = None
    language: str = "en"


class Scorer(Protocol):
    """Anything that answers requests; equal requests get equal answers, whatever else is in the call."""

    def fingerprint(self) -> str:
        """Return a digest of everything that decides the scores (weights, template, mode), for caches."""
        ...

    def score(self, requests: Sequence[Request], progress: Progress = silent) -> NDArray[np.float64]:
        """Return log-scores: float64, shape (n,), finite, higher is better.

        Scores are compared between labels of one cell (same text, span, trigger and kind) alone: what is added to all
        labels of a cell changes nothing.
        """
        ...

    def notes(self) -> tuple[str, ...]:
        """Return what a user must know of the last call, such as "passage d1 was windowed", without repetition."""
        ...


def load(scorer: Scorer) -> None:
    """Load the models of a scorer, of what it wraps and of its members, where they would be loaded at first use."""
    own = getattr(scorer, "load", None)
    if own is not None:
        own()
    for inner in (getattr(scorer, "scorer", None), *(member for member, _ in getattr(scorer, "members", ()))):
        if inner is not None:
            load(inner)
