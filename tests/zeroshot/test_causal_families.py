"""The causal scorer gives every family of models its own numbers, whatever was scored before."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from causal_families import FAMILIES, WINDOW, family

from backbones.lm import LanguageModel
from benchmarks.perf.scoring import naive_score
from zeroshot.scorers import Request
from zeroshot.scorers.causal import Causal
from zeroshot.scorers.proofs import Proofs
from zeroshot.scorers.tree import grow

SHORT = "He fired at two men."
WIDE = 'The soldiers fired at two men near the bridge on Monday, and the company said "no" in the capital. '
LONG = "It rained all day in the capital. " * 6 + WIDE + "They left at night. " * 4
LABELS = ("attacker", "target", "job title")
QUICK = ("mistral", "gemma2", "gpt_oss", "gpt_neo", "longrope", "bloom", "mamba")


def ask(text: str, *spans: str) -> list[Request]:
    places = [(text.index(span), text.index(span) + len(span)) for span in spans]
    fired = text.index("fired")
    return [Request(text, place, (fired, fired + 5), "attack", label) for place in places for label in LABELS]


DOCUMENTS = {
    "short": ask(SHORT, "He", "two men"),
    "wide": ask(WIDE, "The soldiers", "two men", "the bridge", "Monday", "company"),
    "long": ask(LONG, "day", "two men", "the bridge", "left"),
}


def made(name: str) -> LanguageModel:
    model = family(name)
    if model is None:
        pytest.skip(f"this transformers has no {name}")
    return model


def scorer(model: LanguageModel, route: str = "auto") -> Causal:
    return Causal(mode="label", template="none", route=route).with_model(model)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in FAMILIES]
)
def test_every_family_has_the_scores_of_plain_passes_in_any_order_of_documents(name: str) -> None:
    model = made(name)
    plain = scorer(model, "whole")
    wanted = {which: plain.score(asked) for which, asked in DOCUMENTS.items()}
    if not any("original_max" in key for key in FAMILIES[name][1]):  # where what follows the label tells
        with torch.inference_mode():
            naive = [naive_score(plain, request) for request in DOCUMENTS["wide"]]
        np.testing.assert_allclose(wanted["wide"], naive, atol=1e-4)
    for order in list(permutations(DOCUMENTS))[:: 5 if name in QUICK else 1]:
        one = scorer(model)
        for which in (*order, order[0]):
            np.testing.assert_allclose(
                one.score(DOCUMENTS[which]), wanted[which], atol=1e-4, err_msg=f"{which} of {order}"
            )


def test_the_documents_lie_on_both_sides_of_the_window() -> None:
    model = made("gpt2")
    shapes = {which: _tree(model, asked) for which, asked in DOCUMENTS.items()}
    assert shapes["short"].together < WINDOW
    assert shapes["wide"].shape[0] < WINDOW < shapes["wide"].together, "no text, but the tree is longer"
    assert shapes["long"].shape[0] > 2 * WINDOW, "where positions are rescaled, too"


def _tree(model: LanguageModel, asked: Sequence[Request]):  # type: ignore[no-untyped-def]
    one = scorer(model)
    return one.trees(one.questions(asked))[0][0]


@pytest.mark.parametrize("name", ["mistral", "starcoder2", "gpt_oss"])
def test_limited_attention_is_read_off_the_configuration(name: str) -> None:
    model = made(name)
    assert model.thresholds[0] == WINDOW
    one = scorer(model)
    one.score(DOCUMENTS["short"])
    assert one.notes() == (), "within the window all documents of an event are one pass"
    one.score(DOCUMENTS["wide"])
    (note,) = one.notes()
    assert "route 'packed'" in note and f"its attention is limited to {WINDOW}" in note
    one.score(DOCUMENTS["short"])
    assert one.notes() == ()


def test_full_attention_has_no_limits() -> None:
    assert made("gpt2").thresholds == made("llama").thresholds == ()
    assert made("gpt_neo").thresholds == (WINDOW,), "told by the configuration, kept inside the module"


def test_a_proof_holds_for_trees_that_are_no_longer_and_no_wider() -> None:
    def tree(length: int, branches: int):  # type: ignore[no-untyped-def]
        rows = [[1, *range(2, length), 10_000 + number, label] for number in range(branches) for label in (0, 1)]
        return grow(rows, [[len(row) - 1] for row in rows])

    model, proofs = made("gpt2"), Proofs()
    assert proofs.known("packed", model, tree(30, 1)) is None
    proofs.keep("packed", model, tree(30, 1), None)
    assert proofs.known("packed", model, tree(20, 1)) is True
    assert proofs.known("packed", model, tree(31, 1)) is None, "longer"
    assert proofs.known("packed", model, tree(20, 3)) is None, "wider: a chain says nothing of branches"
    assert proofs.known("tails", model, tree(20, 1)) is None, "another route"
    proofs.keep("packed", model, tree(20, 3), "it differs")
    assert proofs.known("packed", model, tree(25, 4)) is False
    assert proofs.known("packed", model, tree(20, 1)) is True
    other = replace(model, module=model.module)
    other.module.config._attn_implementation, before = "eager", other.module.config._attn_implementation
    try:
        assert proofs.known("packed", other, tree(20, 1)) is None, "another attention"
    finally:
        other.module.config._attn_implementation = before
    limited = replace(model)
    limited.__dict__["thresholds"] = (25,)
    assert proofs.known("packed", limited, tree(27, 1)) is None, "a limit lies between"


def test_a_route_that_goes_wrong_on_later_trees_alone_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hidden limit, as in a layer that no setting tells of: positions from 48 on see the last 48 tokens alone."""
    model = made("gpt_neo")
    model.__dict__["thresholds"] = ()
    wanted = scorer(model, "whole").score(DOCUMENTS["long"])
    one = scorer(model)
    one.score(DOCUMENTS["short"])
    if one.notes():
        pytest.skip("this transformers has no cache of its own for the family, so that every text is scored plainly")
    np.testing.assert_allclose(one.score(DOCUMENTS["long"]), wanted, atol=1e-4)
    assert "scores would differ" in one.notes()[0]


@pytest.mark.parametrize("route", ["packed", "tails"])
@pytest.mark.parametrize("name", ["llama", "mistral"])
def test_nothing_that_is_deprecated_is_used(name: str, route: str) -> None:
    model = made(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        warnings.simplefilter("error", DeprecationWarning)
        one = scorer(model, route)
        one.score(DOCUMENTS["short"])
    assert one.notes() == ()


@pytest.mark.parametrize(("name", "last"), [("gpt2", True), ("cohere", False), ("gemma2", False), ("granite", False)])
def test_what_a_model_does_to_logits_after_its_head_is_noticed_and_left_to_it(name: str, last: bool) -> None:
    assert made(name).head_is_last is last
