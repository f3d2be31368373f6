"""What gold and prediction of one document say, as sets that can be compared under each criterion."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable
from dataclasses import dataclass

from backbones.core.errors import FrostlineError
from benchmarks.passages import Event, Mention, Passage
from benchmarks.passages.types import Span
from zeroshot.evaluate.heads import head_word

CRITERIA = (
    "identification", "classification", "head_identification", "head_classification",
    "coref_identification", "coref_classification",
)  # fmt: skip
Counts = tuple[int, int, int]
"""Right, predicted, gold."""


@dataclass(frozen=True)
class Claim:
    """One argument of either side: ``event`` names the gold event, or is a key of its own for one that is not gold."""

    event: str
    type: str
    mention: Mention
    role: str


@dataclass(frozen=True)
class Facts:
    """Counts of one document.

    Args:
        criteria: criterion -> counts; roles, types: of classification, by role and by event type.
        confusion: (gold role, predicted role) -> number of pairs; None: no argument.
        right: given arguments with the right role; given: whether exactly the gold spans were predicted; pairs: gold
            pairs of event and span.
        clusters: whether the gold has coreference clusters.
    """

    criteria: dict[str, Counts]
    roles: dict[str, Counts]
    types: dict[str, Counts]
    confusion: Counter[tuple[str | None, str | None]]
    right: int
    pairs: int
    given: bool
    clusters: bool


def compare_documents(gold: Passage, predicted: Passage) -> Facts:
    """Count what ``predicted`` has right.

    Events are matched by id, else by type and trigger. Arguments of predicted events that match none are wrong; pairs
    that the gold lists without a role are not counted.

    Raises:
        FrostlineError: the texts differ, so that offsets mean different things.
    """
    _same_text(gold, predicted)
    partner = _partners(gold, predicted)
    truth = _claims(gold, {event.id: event.id for event in gold.events})
    guess = _claims(predicted, {event.id: partner.get(event.id, f"\0{event.id}") for event in predicted.events})
    known = {(claim.event, claim.mention.span) for claim in truth}
    unknown = _open_pairs(gold) - known
    guess = [claim for claim in guess if (claim.event, claim.mention.span) not in unknown]
    clusters = _clusters(gold)
    sides = {name: [_keys(gold.text, claims, name, clusters) for claims in (truth, guess)] for name in CRITERIA}
    criteria = {name: _count(wanted, got) for name, (wanted, got) in sides.items()}
    confusion, right, pairs = _confusion(truth, guess)
    return Facts(
        criteria,
        _table(truth, guess, "role"),
        _table(truth, guess, "type"),
        confusion,
        right,
        pairs,
        sides["identification"][0] == sides["identification"][1],
        any(mention.coref is not None for mention in gold.entities),
    )


def _same_text(gold: Passage, predicted: Passage) -> None:
    if gold.text == predicted.text:
        return
    shared = zip(gold.text, predicted.text, strict=False)
    shortest = min(len(gold.text), len(predicted.text))
    at = next((place for place, (one, other) in enumerate(shared) if one != other), shortest)
    raise FrostlineError(
        f"document {gold.doc_id!r}: the text of gold and prediction differs from character {at} on "
        f"({gold.text[at : at + 20]!r} and {predicted.text[at : at + 20]!r}); predict the gold's own text."
    )


def _partners(gold: Passage, predicted: Passage) -> dict[str, str]:
    """Return predicted event id -> gold event id."""
    names = {event.id for event in gold.events}
    partner = {event.id: event.id for event in predicted.events if event.id in names}
    free: dict[Hashable, list[str]] = defaultdict(list)
    for event in gold.events:
        if event.id not in partner:
            free[_what(event)].append(event.id)
    for event in predicted.events:
        if event.id not in partner and free[_what(event)]:
            partner[event.id] = free[_what(event)].pop(0)
    return partner


def _what(event: Event) -> Hashable:
    return event.type, event.trigger.span


def _claims(passage: Passage, names: dict[str, str]) -> list[Claim]:
    mentions = {mention.id: mention for mention in passage.entities}
    return [
        Claim(names[event.id], event.type, mentions[argument.entity], argument.role)
        for event in passage.events
        for argument in event.arguments
        if argument.role is not None
    ]


def _open_pairs(gold: Passage) -> set[tuple[str, Span]]:
    """Return pairs that the gold lists without saying the role."""
    mentions = {mention.id: mention for mention in gold.entities}
    return {
        (event.id, mentions[argument.entity].span)
        for event in gold.events
        for argument in event.arguments
        if argument.role is None
    }


def _clusters(gold: Passage) -> dict[Span, str]:
    """Return head word -> coreference cluster; a head that two clusters share tells nothing."""
    names: dict[Span, set[str]] = defaultdict(set)
    for mention in gold.entities:
        if mention.coref is not None:
            names[head_word(gold.text, mention)].add(mention.coref)
    return {head: next(iter(found)) for head, found in names.items() if len(found) == 1}


def _keys(text: str, claims: list[Claim], criterion: str, clusters: dict[Span, str]) -> set[tuple[Hashable, ...]]:
    """Return what each claim is under a criterion; equal keys are one."""
    keys: set[tuple[Hashable, ...]] = set()
    for claim in claims:
        place: Hashable = claim.mention.span
        if not criterion.startswith(("identification", "classification")):
            place = head_word(text, claim.mention)
            if criterion.startswith("coref"):
                place = clusters.get(place, place)
        keys.add((claim.event, place, claim.role) if criterion.endswith("classification") else (claim.event, place))
    return keys


def _count(gold: set[tuple[Hashable, ...]], predicted: set[tuple[Hashable, ...]]) -> Counts:
    return len(gold & predicted), len(predicted), len(gold)


def _table(truth: list[Claim], guess: list[Claim], field: str) -> dict[str, Counts]:
    """Return the counts of classification for each role, or for each event type (of gold, where there is one)."""
    kinds = {claim.event: claim.type for claim in (*guess, *truth)}
    sides: tuple[dict[str, set[tuple[Hashable, ...]]], ...] = (defaultdict(set), defaultdict(set))
    for side, claims in zip(sides, (truth, guess), strict=True):
        for claim in claims:
            name = claim.role if field == "role" else kinds[claim.event]
            side[name].add((claim.event, claim.mention.span, claim.role))
    return {name: _count(sides[0][name], sides[1][name]) for name in sorted({*sides[0], *sides[1]})}


def _confusion(truth: list[Claim], guess: list[Claim]) -> tuple[Counter[tuple[str | None, str | None]], int, int]:
    """Return the pairs of roles, the number of gold pairs with a right role, and the number of gold pairs."""
    roles: tuple[dict[Hashable, set[str]], ...] = (defaultdict(set), defaultdict(set))
    for side, claims in zip(roles, (truth, guess), strict=True):
        for claim in claims:
            side[claim.event, claim.mention.span].add(claim.role)
    table: Counter[tuple[str | None, str | None]] = Counter()
    for pair in {**roles[0], **roles[1]}:
        wanted, got = roles[0].get(pair, set()), roles[1].get(pair, set())
        table.update((role, role) for role in wanted & got)
        missed, wrong = sorted(wanted - got), sorted(got - wanted)
        table.update(zip(missed, wrong, strict=False))
        table.update((role, None) for role in missed[len(wrong) :])
        table.update((None, role) for role in wrong[len(missed) :])
    return table, sum(bool(found & roles[1].get(pair, set())) for pair, found in roles[0].items()), len(roles[0])
