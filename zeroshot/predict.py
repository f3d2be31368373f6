"""Prediction: a passage in, a role for every argument out; no annotation is looked at."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbones.core.errors import FrostlineError, unknown
from backbones.core.samples import Progress, silent
from benchmarks.ontologies import Ontology, fitting_ontology, load_ontology, registered_ontology
from benchmarks.passages import Passage, check_against, check_passage, read_record
from zeroshot.build import build
from zeroshot.candidates import find_mentions, sentences
from zeroshot.constraints import CONSTRAINTS, Constraint
from zeroshot.decode import decode
from zeroshot.decoding import Decoding
from zeroshot.explain import Explanation, explain
from zeroshot.predict_settings import PredictSettings as PredictSettings
from zeroshot.problem import Problem
from zeroshot.report import to_result
from zeroshot.result import Result
from zeroshot.scorers.base import Scorer, load
from zeroshot.scoring import score

EACH = 10.0  # seconds for decoding one passage, and as many for explaining it, where no limit is given


def make_constraints(
    rules: Mapping[str, Mapping[str, Any]] | None = None, without: tuple[str, ...] = ()
) -> dict[str, Constraint]:
    """Make every registered constraint but those in ``without``, with the settings in ``rules``.

    Raises:
        FrostlineError: a name that nobody claims, or a setting that the constraint does not have.
    """
    rules = rules or {}
    for name in (*rules, *without):
        if name not in CONSTRAINTS:
            raise unknown("constraint", name, CONSTRAINTS.names())
    made: dict[str, Constraint] = {}
    for name in CONSTRAINTS.names():
        if name not in without:
            made[name] = CONSTRAINTS.load(name).parse(rules.get(name, {}), f"constraint {name!r}")
    return made


@dataclass(frozen=True)
class Prepared:
    """A scored passage: decode it as often as you like, with any constraints, free of forwards.

    Args:
        problem: its cells; scores: log-probabilities, float64, shape (len(problem.columns),), in nats.
        notes: what the user must know; seconds: what laying out and scoring took.
    """

    problem: Problem
    scores: NDArray[np.float64]
    notes: tuple[str, ...]
    seconds: float = 0.0


class Predictor:
    """Predicts the roles of passages with one scorer.

    Args:
        scorer: answers requests; see zeroshot.scorers.make_scorer.
        ontology: name, file or object; it wins over the passage's own. None: the passage names one, or its event
            types tell which.
        settings: how roles are decided.
        name: what results call the scorer.

    Raises:
        FrostlineError: unknown constraint or setting, unreadable ontology.
    """

    def __init__(
        self,
        scorer: Scorer,
        ontology: str | Ontology | None = None,
        settings: PredictSettings | None = None,
        *,
        name: str | None = None,
    ) -> None:
        self.scorer = scorer
        self.ontology = load_ontology(ontology) if isinstance(ontology, str) else ontology
        self.settings = settings or PredictSettings()
        self.name = name or type(scorer).__name__.lower()
        self.constraints = make_constraints(self.settings.rules, self.settings.without)

    def __call__(self, document: Passage | Mapping[str, Any], progress: Progress = silent) -> Result:
        """Predict a passage, or a record in any format that is read."""
        passage = document if isinstance(document, Passage) else read_record(dict(document), "document")
        return self.predict(passage, progress)

    def spell(self, passage: Passage, *, gold: bool = True) -> tuple[Passage, Ontology, tuple[str, ...]]:
        """Check a passage and spell its types and roles as its ontology does; returns both, and notes.

        Args:
            passage: as it was read; gold: whether its gold roles must be roles of the ontology.
        """
        ontology, notes = self._ontology(passage)
        where = f"document {passage.doc_id!r}"
        mended: list[str] = []
        checked = check_against(check_passage(passage, where), ontology, where, gold=gold, note=mended.append)
        return checked, ontology, (*notes, *mended)

    def lay_out(self, passage: Passage) -> tuple[Problem, tuple[str, ...]]:
        """Check the passage and lay out its cells; returns the problem and notes.

        Raises:
            FrostlineError: offsets, names or rules of the passage do not hold, no ontology, no candidates.
        """
        passage, ontology, notes = self.spell(passage, gold=False)
        if any(argument.role is not None for event in passage.events for argument in event.arguments):
            notes += ("gold roles of the input are ignored; `eae-zero evaluate` uses them.",)
        if not passage.events:
            notes += ("the document has no events, so there is nothing to predict.",)
        chosen = self.settings
        find = partial(
            find_mentions,
            finder=chosen.finder,
            spacy_model=chosen.spacy_model,
            extent=chosen.extent,
            ontology=ontology,
        )
        problem, said = build(
            passage,
            ontology,
            find=find,
            sentences=sentences,
            candidates=chosen.candidates,
            types=chosen.types,
            reach=chosen.reach,
        )
        return problem, notes + said

    def prepare(self, passage: Passage, progress: Progress = silent) -> Prepared:
        """Lay out and score a passage; raises FrostlineError as ``lay_out`` and ``score`` do."""
        chosen, said = self.settings, dict[str, None]()
        if chosen.time_limit is not None:
            load(self.scorer)  # once, and no part of any passage
        began = time.monotonic()
        problem, notes = self.lay_out(passage)
        scores = score(
            problem,
            self.scorer,
            type_weight=chosen.type_weight,
            none_bias=chosen.none_bias,
            progress=progress,
            until=math.inf if chosen.time_limit is None else began + chosen.time_limit,
            say=lambda note: said.setdefault(note),
        )
        return Prepared(problem, scores, notes + tuple(said), time.monotonic() - began)

    def _left(self, prepared: Prepared, decoding: Decoding | None = None) -> float:
        """Return the seconds that are left of those for a passage."""
        limit = self.settings.time_limit
        if limit is None:
            return EACH
        return max(0.0, limit - prepared.seconds - (0.0 if decoding is None else decoding.seconds))

    def decode(self, prepared: Prepared, without: tuple[str, ...] = (), *, plain: bool = False) -> Decoding:
        """Decode a scored passage.

        Args:
            prepared: see ``prepare``; without: constraints in force to leave out.
            plain: the best assignment alone, without margins and alternatives.
        """
        rules = {name: rule for name, rule in self.constraints.items() if name not in without}
        chosen = self.settings
        return decode(
            prepared.problem,
            prepared.scores,
            rules,
            time_limit=self._left(prepared),
            best=1 if plain else chosen.best,
            margins=chosen.margins and not plain,
        )

    def explain(self, prepared: Prepared, decoding: Decoding) -> tuple[Explanation, ...]:
        """Say of every pair why it has its role."""
        limit = self._left(prepared, decoding)
        return explain(prepared.problem, prepared.scores, self.constraints, decoding, time_limit=limit)

    def finish(self, prepared: Prepared) -> Result:
        """Decode and explain a scored passage."""
        decoding = self.decode(prepared)
        reasons = self.explain(prepared, decoding)
        return to_result(
            prepared.problem, decoding, reasons, scorer=self.name, rules=tuple(self.constraints), notes=prepared.notes
        )

    def predict(self, passage: Passage, progress: Progress = silent) -> Result:
        """Predict one passage.

        Args:
            passage: gold roles in it are ignored, and the result says so.
            progress: told of requests answered.

        Raises:
            FrostlineError: see ``prepare``; an infeasible set of hard rules is reported as a minimal conflict.
        """
        return self.finish(self.prepare(passage, progress))

    def _ontology(self, passage: Passage) -> tuple[Ontology, tuple[str, ...]]:
        if self.ontology is not None:
            own = passage.ontology
            if own is not None and own != self.ontology.name:
                return self.ontology, (f"ontology {self.ontology.name!r} is used; the document names {own!r}.",)
            return self.ontology, ()
        if passage.ontology is None:
            fitting = fitting_ontology(event.type for event in passage.events)
            if fitting is None:
                raise FrostlineError(
                    f"document {passage.doc_id!r} names no ontology: "
                    "pass one, such as --ontology ace or --ontology my.toml."
                )
            note = f"the document names no ontology; {fitting!r} has all its event types and was taken"
            return registered_ontology(fitting), (f"{note}; --ontology chooses another.",)
        try:
            return registered_ontology(passage.ontology), ()
        except FrostlineError as error:
            raise FrostlineError(f"document {passage.doc_id!r}: {error}") from None
