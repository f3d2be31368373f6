"""What a user gets: the passage with a role for every argument, and how it came about; written as JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from backbones.core.outputs import made_by
from backbones.core.settings import Settings
from benchmarks.passages import Mention, Passage, Trigger, UserRule


class Alternative(Settings):
    """A role and its local score: log-probability among the roles of the cell, in nats; None is "no role"."""

    role: str | None
    score: float


class Cause(Settings):
    """A rule that changed a role: its name, its words, and what breaking it to keep the local role would cost."""

    rule: str
    family: str
    reason: str
    cost: float | None  # None: no assignment that keeps the hard rules has the local role


class ArgumentResult(Settings):
    """One argument.

    Args:
        entity: id of the mention; role: what it was given, None for none.
        score: local score of that role, in nats (log-probability among the roles of the cell).
        margin: what the assignment as a whole loses if this role must change, in nats; None: it cannot change.
        entity_type: type of the mention after joint decoding, None if the ontology has none.
        alternatives: all roles with their local scores, best first.
        local_role: the role that scores alone would give.
        changed_by: the rules that made ``role`` differ from ``local_role``.
    """

    entity: str
    role: str | None
    score: float
    margin: float | None
    entity_type: str | None
    alternatives: tuple[Alternative, ...]
    local_role: str | None
    changed_by: tuple[Cause, ...] = ()


class EventResult(Settings):
    """One event with its arguments; mentions that were candidates and got no role are in ``rejected``."""

    id: str
    type: str
    trigger: Trigger
    arguments: tuple[ArgumentResult, ...]
    rejected: tuple[ArgumentResult, ...] = ()
    coref: str | None = None


class BrokenRule(Settings):
    """A priced rule that the assignment breaks (see zeroshot.decoding.Violation)."""

    rule: str
    family: str
    reason: str
    amount: float
    cost: float


class Solver(Settings):
    """How the assignment was found (see zeroshot.decoding.Decoding).

    Args:
        violations: priced rules that are broken; evidence: what rows cost that weigh choices and are no rules, in nats.
    """

    status: Literal["optimal", "time limit"]
    objective: float
    bound: float
    gap: float
    seconds: float
    components: int
    violations: tuple[BrokenRule, ...]
    evidence: float = 0.0


class Assignment(Settings):
    """One of the next best assignments: its objective and only the roles that differ from the best one."""

    objective: float
    changes: tuple[tuple[str, str, str | None], ...]  # event id, entity id, role


class Result(Settings):
    """The document with what was predicted.

    Args:
        doc_id, language, text, entities, constraints, tokens: as in the passage; entities that were found are added.
        ontology: name of the ontology; scorer: name and fingerprint; rules: constraints in force.
        notes: what the user must know: windows, ignored gold roles, fallbacks.
        made_by: the mark by which a file of results is known as ours, so that it may be written over.
    """

    made_by: str = Field(default_factory=made_by)
    doc_id: str
    ontology: str
    language: str
    text: str
    entities: tuple[Mention, ...]
    events: tuple[EventResult, ...]
    constraints: tuple[UserRule, ...] = ()
    scorer: str
    rules: tuple[str, ...]
    solver: Solver
    alternatives: tuple[Assignment, ...] = ()
    notes: tuple[str, ...] = ()


def as_passage(result: Result) -> Passage:
    """Return the prediction as a passage whose roles are the predicted ones, for writers and evaluation."""
    events = [
        {
            "id": event.id,
            "type": event.type,
            "trigger": event.trigger,
            "arguments": [{"entity": found.entity, "role": found.role} for found in event.arguments],
            "candidates": None,
            "coref": event.coref,
        }
        for event in result.events
    ]
    return Passage(
        doc_id=result.doc_id,
        ontology=result.ontology,
        language=result.language,
        text=result.text,
        entities=result.entities,
        events=tuple(events),  # type: ignore[arg-type]
        constraints=result.constraints,
    )
