"""What every registered PAT would do to a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.registry import Entry
from backbones.pat import PATS
from continual.plan import load_for, resolve
from continual.settings import RunSettings


@dataclass(frozen=True)
class PatFacts:
    """One PAT with its default settings on one backbone.

    Attributes:
        name, summary, origin: as registered.
        trains: number of trainable parameters, None where the PAT does not fit the backbone.
        identity: whether it starts as the identity.
        mergeable: whether it can be folded into the frozen weights.
        touches: what it changes, in words.
    """

    name: str
    trains: int | None
    identity: bool
    mergeable: bool
    touches: str
    summary: str
    origin: str


def measured_on(settings: RunSettings) -> Backbone:
    """Load the backbone that a run with these settings would take."""
    return load_for(resolve(settings)[0])


def facts(backbone: Backbone) -> Sequence[PatFacts]:
    """Return the facts of every registered PAT in alphabetical order."""
    found = []
    for entry in PATS.entries():
        found.append(_facts(entry, backbone))
    return found


def _facts(entry: Entry, backbone: Backbone) -> PatFacts:
    try:
        pat = entry.load()()
    except FrostlineError as error:  # a guest that does not import hurts nobody else
        return PatFacts(entry.name, None, False, False, f"nothing: {error}", entry.summary, entry.origin)
    try:
        trains = pat.parameter_count(backbone)
    except FrostlineError:
        trains = None
    identity, mergeable = pat.starts_as_identity, pat.mergeable
    return PatFacts(entry.name, trains, identity, mergeable, pat.touches, entry.summary, entry.origin)
