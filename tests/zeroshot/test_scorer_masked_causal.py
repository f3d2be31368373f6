"""Masked and causal scorers: equal to one pass per label, with as few passes and tokens as they claim."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.core.errors import FrostlineError
from backbones.lm import LanguageModel, load_language_model
from benchmarks.perf.scoring import naive_score
from zeroshot.scorers import SCORERS, Request
from zeroshot.scorers.causal import Causal
from zeroshot.scorers.forward import batches
from zeroshot.scorers.language import LanguageScorer
from zeroshot.scorers.masked import Masked
from zeroshot.scorers.tree import grow
from zeroshot.testing_models import CAUSAL, MASKED, tiny_bert, tiny_gpt2, tiny_neox

ULPS = 2**-22  # two units in the last place of float32: beyond a score of 84, 1e-5 is less than one
CLOSE = {"atol": 1e-5, "rtol": ULPS}
TEXT = 'The soldiers fired at two men near the bridge on Monday, and the {company} said [MASK] "no" — é.'
SPANS = ("The soldiers", "two men", "the bridge", "Monday", "é", "é.")
ROLES = ("attacker", "target", "place", "job title", "instrument")
TYPES = ("person", "number", "geo-political entity")


def ask(span: str, label: str, kind: str = "role", text: str = TEXT) -> Request:
    start, fired = text.index(span), text.index("fired")
    return Request(text, (start, start + len(span)), (fired, fired + 5), "attack", label, kind=kind)  # type: ignore[arg-type]


EVENT = [ask(span, label) for span in SPANS for label in ROLES] + [ask("two men", label, "type") for label in TYPES]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], LanguageModel]:
    torch.set_num_threads(1)
    made: dict[str, LanguageModel] = {}

    def get(kind: str, name: str) -> LanguageModel:
        if name not in made:
            folder = (MASKED if kind == "masked" else CAUSAL)[name](tmp_path_factory.mktemp(name))
            made[name] = load_language_model(str(folder), kind, device="cpu")  # type: ignore[arg-type]
        return made[name]

    return get


@contextmanager
def passes(model: LanguageModel) -> Iterator[list[tuple[int, ...]]]:
    """Collect the shape of every batch of tokens that enters the model."""
    shapes: list[tuple[int, ...]] = []
    hook = model.module.get_input_embeddings().register_forward_pre_hook(lambda _, args: shapes.append(args[0].shape))
    try:
        yield shapes
    finally:
        hook.remove()


def naive(scorer: LanguageScorer, requests: list[Request]) -> np.ndarray:
    with torch.inference_mode():
        return np.array([naive_score(scorer, request) for request in requests])


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("mode", ["paper", "label"])
def test_masked_equals_one_pass_per_label(load: Any, name: str, mode: str) -> None:
    scorer = Masked(mode=mode, batch_tokens=300).with_model(load("masked", name))  # type: ignore[arg-type]
    np.testing.assert_allclose(scorer.score(EVENT), naive(scorer, EVENT), **CLOSE)


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("mode", ["paper", "label", "label+suffix"])
@pytest.mark.parametrize("route", ["auto", "tails", "whole"])
def test_causal_equals_one_pass_per_label(load: Any, name: str, mode: str, route: str) -> None:
    scorer = Causal(mode=mode, route=route, batch_tokens=200, suffix=5).with_model(load("causal", name))  # type: ignore[arg-type]
    np.testing.assert_allclose(scorer.score(EVENT), naive(scorer, EVENT), **CLOSE)


def test_masked_suffix_is_the_passage_after_the_visible_label(load: Any) -> None:
    model = load("masked", "bert")
    request = ask("two men", "target")
    plain = Masked(mode="label").with_model(model).score([request])[0]
    both = Masked(mode="label+suffix", suffix=3).with_model(model).score([request])[0]
    scorer = Masked().with_model(model)
    question = scorer.questions([request])[0]
    ids = torch.tensor([question.ids])
    places = list(range(question.label[1], question.label[1] + 3))
    assert model.tokenizer.decode(ids[0, places]).startswith("near")
    masked = ids.clone()
    masked[0, places] = model.tokenizer.mask_token_id
    with torch.inference_mode():
        table = model.module(input_ids=masked).logits[0].log_softmax(-1)
    assert both - plain == pytest.approx(sum(float(table[at, ids[0, at]]) for at in places), abs=1e-5, rel=ULPS)


def test_labels_of_equal_length_share_one_masked_row(load: Any) -> None:
    scorer = Masked().with_model(load("masked", "bert"))
    asked = [ask("two men", label) for label in ROLES] + [ask("two men", label, "type") for label in TYPES]
    counts = {q.label[1] - q.label[0] for q in scorer.questions(asked)}
    with passes(scorer.model) as shapes:
        scorer.score(asked)
    assert sum(rows for rows, _ in shapes) == len(counts) < len(asked)


def test_an_event_is_encoded_as_one_tree(load: Any) -> None:
    scorer = Causal(mode="label").with_model(load("causal", "neox"))
    scorer.score(EVENT)  # proves the route
    with passes(scorer.model) as shapes:
        scorer.score(EVENT)
    trees = scorer.trees(scorer.questions(EVENT))
    assert len(trees) == 1
    nodes, texts = len(trees[0][0].tokens), sum(len(question.ids) for question in scorer.questions(EVENT))
    encoded = sum(rows * length for rows, length in shapes)
    assert nodes <= encoded <= 1.6 * nodes and 6 * encoded < texts
    assert len(shapes) == 1 + len(batches([len(tail) for tail in trees[0][0].tails], scorer.batch_tokens))


def test_a_model_that_takes_no_packed_mask_is_scored_another_way_and_said_so(load: Any) -> None:
    scorer = Causal().with_model(load("causal", "bloom"))
    scorer.score(EVENT[:4])
    assert len(scorer.notes()) == 1 and "route 'packed'" in scorer.notes()[0]
    neox = Causal().with_model(load("causal", "neox"))
    neox.score(EVENT[:4])
    assert neox.notes() == ()


def test_a_model_that_changes_logits_after_its_head_is_left_to_do_so(load: Any, monkeypatch: Any) -> None:
    model = load("causal", "gpt2")
    inner = model.module.forward

    def capped(*args: Any, **kwargs: Any) -> Any:
        output = inner(*args, **{**kwargs, "labels": None})
        output.logits = 0.3 * torch.tanh(output.logits / 0.3)
        return output

    plain = Causal(mode="label").with_model(model).score(EVENT[:6])
    monkeypatch.setattr(model.module, "forward", capped)
    model = replace(model)  # what is known of a model is known of it as it was loaded
    scores = {
        route: Causal(mode="label", route=route).with_model(model).score(EVENT[:6]) for route in ("packed", "whole")
    }
    scorer = Causal(mode="label").with_model(model)
    with torch.inference_mode():
        question = scorer.questions(EVENT[:1])[0]
        table = model.module(input_ids=torch.tensor([question.ids])).logits[0].log_softmax(-1)
    wanted = sum(float(table[at - 1, question.ids[at]]) for at in range(*question.label))
    assert scores["whole"][0] == pytest.approx(wanted, abs=1e-5, rel=ULPS)
    np.testing.assert_allclose(scores["packed"], scores["whole"], **CLOSE)
    assert np.abs(plain - scores["whole"]).max() > 1e-2, "the cap is felt"


@pytest.mark.parametrize(("kind", "name"), [("masked", "bert"), ("causal", "gpt2")])
def test_memory_that_runs_out_halves_batches(load: Any, monkeypatch: Any, kind: str, name: str) -> None:
    scorer = SCORERS.load(kind).parse({"mode": "label"}, "x").with_model(load(kind, name))
    wanted = scorer.score(EVENT)
    inner = scorer.model.module.forward

    def small(*args: Any, **kwargs: Any) -> Any:
        if kwargs["input_ids"].shape[0] > 2:
            raise torch.OutOfMemoryError("out of memory")
        return inner(*args, **kwargs)

    monkeypatch.setattr(scorer.model.module, "forward", small)
    np.testing.assert_allclose(scorer.score(EVENT), wanted, **CLOSE)
    assert "memory ran out" in scorer.notes()[0]


@pytest.mark.parametrize(("kind", "name"), [("masked", "bert"), ("causal", "neox")])
def test_scores_that_are_not_finite_are_an_error(load: Any, kind: str, name: str) -> None:
    model = load(kind, name)
    weight = next(model.module.parameters())
    kept = weight.detach().clone()
    weight.data.fill_(float("nan"))
    try:
        with pytest.raises(FrostlineError, match=r"not finite for 3 of 3 questions.*'attacker'.*fp32"):
            SCORERS.load(kind)().with_model(model).score(EVENT[:3])
    finally:
        weight.data.copy_(kept)


def test_a_long_passage_is_windowed_and_said_so(tmp_path: Path) -> None:
    long = "It rained all day. " * 40 + TEXT + " It rained all night." * 40
    for scorer in (
        Masked(lm=str(tiny_bert(tmp_path / "bert", window=160))),
        Causal(lm=str(tiny_neox(tmp_path / "neox", window=160))),
        Causal(lm=str(tiny_gpt2(tmp_path / "gpt2", window=400)), window=200),
    ):
        asked = [ask(span, label, text=long) for span in ("two men", "Monday") for label in ("attacker", "agent")]
        with passes(scorer.model) as shapes:
            scores = scorer.score(asked)
        assert np.isfinite(scores).all() and max(length for _, length in shapes) <= 200
        (note,) = scorer.notes()
        assert f"window {scorer.limit}: kept characters" in note and "'fired'" in note and "1 more pairs" in note
        np.testing.assert_allclose(scorer.score(asked[2:3]), scores[2:3], **CLOSE)


def test_a_label_longer_than_the_window_is_an_error(load: Any) -> None:
    scorer = Masked(window=150).with_model(load("masked", "bert"))
    with pytest.raises(FrostlineError, match="leaves 0 tokens for the passage"):
        scorer.score([ask("two men", "zq " * 60)])


def test_a_label_without_tokens_is_an_error(load: Any) -> None:
    with pytest.raises(FrostlineError, match="no token for the label"):
        Masked().with_model(load("masked", "bert")).score([ask("two men", "\u200b")])


def test_no_model_and_wrong_settings() -> None:
    with pytest.raises(FrostlineError, match="needs a language model: pass --lm"):
        Masked().score(EVENT)
    with pytest.raises(FrostlineError, match=r"template = 'expresed'.*Did you mean 'expressed'"):
        Masked.parse({"template": "expresed"}, "scorer 'masked'")
    with pytest.raises(FrostlineError, match="mode = 'published'"):
        Causal.parse({"mode": "published"}, "scorer 'causal'")


def test_an_unknown_route_names_the_known(load: Any) -> None:
    with pytest.raises(FrostlineError, match=r"unknown route 'pact'.*packed"):
        Causal(route="pact").with_model(load("causal", "gpt2")).score(EVENT[:1])


def test_fingerprints_follow_what_decides_scores(load: Any) -> None:
    model = load("masked", "bert")
    changes = (
        {},
        {"mode": "label"},
        {"mode": "label+suffix"},
        {"mode": "label+suffix", "suffix": 2},
        {"template": "none"},
        {"window": 99},
    )
    prints = [Masked.model_validate(change).with_model(model).fingerprint() for change in changes]
    assert len(set(prints)) == len(prints)
    assert Masked(batch_tokens=64).with_model(model).fingerprint() == prints[0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=12))
def test_trees_hold_every_sequence_once(tails: list[list[int]]) -> None:
    sequences = [[7, *tail] for tail in tails]
    tree = grow(sequences, [range(1, len(sequence)) for sequence in sequences])
    for sequence, path in zip(sequences, tree.paths, strict=True):
        assert [tree.tokens[node] for node in path] == sequence
        assert all(tree.parents[child] == parent for parent, child in pairwise(path))
    prefixes = {tuple(sequence[: at + 1]) for sequence in sequences for at in range(len(sequence))}
    assert len(tree.tokens) == len(prefixes)
    parts = [*tree.shared, *(node for tail in tree.tails for node in tail)]
    assert sorted(parts) == list(range(len(tree.tokens))), "every node is shared or in one tail"
    for index, node in enumerate(tree.shared):
        chain = {node}
        while tree.parents[node] >= 0:
            node = tree.parents[node]
            chain.add(node)
        assert chain == {tree.shared[at] for at in np.flatnonzero(tree.ancestors[index])}


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(16, 200))
def test_batches_hold_every_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    found = batches(lengths, budget)
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    assert all(len(batch) * max(lengths[index] for index in batch) <= budget or len(batch) == 1 for batch in found)
