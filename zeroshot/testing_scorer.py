"""The public contract of scorers: ``check_scorer`` is a guest's whole test."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from backbones.core.seed import numpy_generator
from zeroshot.scorers.base import Request, Scorer

TOLERANCE = 1e-5
TEXT = 'Two {soldiers} fired {0} shots near the %s bridge in Łódź, and the firm lost "$5" — on Monday [MASK].'


def sample_requests(*, none: bool = False) -> list[Request]:
    """Return requests that a scorer must bear: braces, accents, marks, missing triggers, passages without words.

    Args:
        none: ask about "no role at all" too.
    """
    fired = TEXT.index("fired")
    trigger = (fired, fired + len("fired"))
    labels = ["attacker", "target", "job title", *([""] if none else [])]
    spans = [_find("{soldiers}"), _find("the %s bridge"), _find("Łódź"), _find("[MASK].")]
    roles = [Request(TEXT, span, trigger, "attack", label) for span in spans for label in labels]
    types = [
        Request(TEXT, spans[0], trigger, "attack", label, kind="type") for label in ("person", "geo-political entity")
    ]
    bare = [Request(TEXT, spans[0], None, "", label, kind="type") for label in ("person", "vehicle")]
    described = Request(TEXT, spans[0], trigger, "attack", "attacker", description="the one {who} attacks.")
    sentence = Request(TEXT, spans[0], trigger, "attack", "attacker", hypothesis="{span} is the {role}.")
    empty = [Request(text, (0, 0), None, "", "attacker") for text in ("", " ", ".", "\ud800")]
    short = Request("He fired", (0, 2), (3, 8), "attack", "attacker", language="de")
    return [*roles, *types, *bare, described, sentence, *empty, short]


def check_scorer(scorer: Scorer, requests: Sequence[Request] | None = None) -> None:
    """Raise AssertionError where ``scorer`` breaks the contract.

    Checked: one finite float64 for each request, none for none; the same answers again, for each request alone, in
    another order and repeated (to 1e-5, or that share of large scores); a fingerprint that stays; notes without
    repetition; progress that ends at its total; no touch of a global random generator.

    Args:
        scorer: what to check.
        requests: what to ask, None for ``sample_requests``.
    """
    asked = list(requests if requests is not None else sample_requests(none=getattr(scorer, "scores_none", False)))
    before = _generators()
    fingerprint = scorer.fingerprint()
    assert isinstance(fingerprint, str) and fingerprint, "the fingerprint is no text"
    calls: list[tuple[int, int]] = []
    whole = scorer.score(asked, lambda phase, done, total: calls.append((done, total)))
    _check_answers(whole, len(asked))
    assert all(0 <= done <= total for done, total in calls), "progress goes beyond its total"
    assert not calls or calls[-1][0] == calls[-1][1], "progress does not end at its total"
    notes = scorer.notes()
    assert isinstance(notes, tuple) and all(isinstance(note, str) for note in notes), "notes are no tuple of texts"
    assert len(set(notes)) == len(notes), "a note is repeated"
    _check_answers(scorer.score([]), 0)
    _same(scorer.score(asked), whole, "the same call gives other scores")
    _same(np.concatenate([scorer.score([request]) for request in asked]), whole, "a request alone has another score")
    order = numpy_generator(0, "check scorer").permutation(len(asked))
    _same(scorer.score([asked[index] for index in order]), whole[order], "another order gives other scores")
    twice = scorer.score([asked[0], *asked, asked[0]])
    assert twice[0] == twice[1] == twice[-1], "equal requests of one call have different scores"
    assert scorer.fingerprint() == fingerprint, "the fingerprint changes with use"
    assert _generators() == before, "a global random generator was touched"


def _generators() -> tuple[object, ...]:
    """Return the states of the global generators of torch, numpy and Python."""
    numpy_state: object = [np.asarray(part).tobytes() for part in np.random.get_state()]
    return torch.get_rng_state().numpy().tobytes(), numpy_state, random.getstate()


def _find(words: str) -> tuple[int, int]:
    start = TEXT.index(words)
    return start, start + len(words)


def _check_answers(answers: NDArray[np.float64], count: int) -> None:
    assert isinstance(answers, np.ndarray), f"scores are a {type(answers).__name__}, not an array"
    assert answers.dtype == np.float64, f"scores are {answers.dtype}, not float64"
    assert answers.shape == (count,), f"scores of {count} requests have shape {answers.shape}"
    assert np.isfinite(answers).all(), "scores are not finite"


def _same(found: NDArray[np.float64], wanted: NDArray[np.float64], what: str) -> None:
    gap = np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted))
    assert (gap <= TOLERANCE).all(), f"{what} (by {gap.max():.2g})"
