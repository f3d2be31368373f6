"""Minimal pairs by pseudo-log-likelihood: exact sums, ties, batches that do not matter."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from backbones.analysis import pairs as under_test
from backbones.analysis.pairs import Pairs, minimal_pairs, pseudo_log_likelihood, pseudo_perplexity
from backbones.analysis.phenomena import PHENOMENA, by_phenomenon, phenomenon_of
from backbones.core.errors import FrostlineError
from backbones.lm import LanguageModel, load_language_model
from zeroshot import testing_models

SENTENCES = [
    "The company bought a smaller firm.",
    "The company bought a smaller victim.",
    "Two soldiers were injured.",
    "A man threw stones at the police near the bridge.",
    "The minister met the workers.",
]


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return load_language_model(str(testing_models.tiny_bert(tmp_path_factory.mktemp("bert"))), "masked")


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return load_language_model(str(testing_models.tiny_gpt2(tmp_path_factory.mktemp("gpt2"))), "causal")


def one_at_a_time(model: LanguageModel, sentence: str) -> float:
    """The definition, spelled out: one pass for each token, the head at all places."""
    ids = model.encode([sentence])[0][0]
    total = 0.0
    for place in range(1, len(ids) - 1):
        shown = torch.tensor([ids])
        shown[0, place] = model.tokenizer.mask_token_id
        logits = model.module(input_ids=shown).logits[0, place].double()
        total += (logits[ids[place]] - logits.logsumexp(0)).item()
    return total


def flat(model: LanguageModel) -> LanguageModel:
    """Make every token equally likely everywhere."""
    head = model.module.get_output_embeddings()
    head.weight = torch.nn.Parameter(torch.zeros_like(head.weight))
    head.bias.data.zero_()
    return model


def test_masked_is_the_definition(masked: LanguageModel) -> None:
    wanted = [one_at_a_time(masked, sentence) for sentence in SENTENCES]
    assert pseudo_log_likelihood(masked, SENTENCES) == pytest.approx(wanted, abs=1e-4)


def test_causal_is_the_chain_rule(causal: LanguageModel) -> None:
    found = pseudo_log_likelihood(causal, SENTENCES)
    for sentence, value in zip(SENTENCES, found, strict=True):
        ids = torch.tensor([[causal.tokenizer.bos_token_id, *causal.encode([sentence], special=False)[0][0]]])
        loss = causal.module(input_ids=ids, labels=ids).loss.item()  # transformers' own mean over predicted tokens
        assert value == pytest.approx(-loss * (ids.shape[1] - 1), abs=1e-3)


def test_uniform_model_gives_n_log_v(tmp_path: Path) -> None:
    model = flat(load_language_model(str(testing_models.tiny_bert(tmp_path)), "masked"))
    counts = [len(ids) for ids in model.encode(SENTENCES, special=False)[0]]
    wanted = [-count * math.log(len(model.tokenizer)) for count in counts]
    assert pseudo_log_likelihood(model, SENTENCES) == pytest.approx(wanted, abs=1e-9)
    perplexity, tokens = pseudo_perplexity(model, SENTENCES)
    assert perplexity == pytest.approx(len(model.tokenizer)) and tokens == sum(counts)
    equal = {"same length": [(SENTENCES[0], SENTENCES[1])] * 3}
    found = minimal_pairs(model, equal)
    assert counts[0] == counts[1]
    assert (found.accuracy, found.ties) == ({"same length": 0.5}, 1.0)  # it cannot tell them apart: chance


def test_ties_count_half() -> None:
    good = np.array([-5.0, -5.0, -5.0, -5.0])
    bad = np.array([-6.0, -4.0, -5.0, -5.0 + under_test.TIED / 2])
    found = Pairs({"p": good, "q": good[:1]}, {"p": bad, "q": bad[:1]})
    assert found.accuracy == {"p": 0.5, "q": 1.0}
    assert found.overall == 0.75  # of paradigms, not of pairs
    assert found.ties == pytest.approx(2 / 5)


@pytest.mark.parametrize("kind", ["masked", "causal"])
def test_batches_and_order_do_not_matter(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = request.getfixturevalue(kind)
    whole = pseudo_log_likelihood(model, SENTENCES)
    back = pseudo_log_likelihood(model, [*SENTENCES[::-1], *SENTENCES])
    monkeypatch.setattr(under_test, "TOKENS", 1)
    monkeypatch.setattr(under_test, "TOGETHER", 2)
    alone = pseudo_log_likelihood(model, SENTENCES)
    for other in (back[:5][::-1], back[5:], alone):
        assert other == pytest.approx(whole, abs=1e-4)


def test_special_tokens_are_seen_and_never_masked(masked: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    forward = masked.module.forward

    def listening(input_ids: torch.Tensor) -> object:
        seen.append(input_ids)
        return forward(input_ids)

    monkeypatch.setattr(masked.module, "forward", listening)
    pseudo_log_likelihood(masked, [*SENTENCES, "The [MASK] met the [SEP] workers."])
    tokenizer = masked.tokenizer
    for ids in seen:
        assert (ids[:, 0] == tokenizer.cls_token_id).all() and (ids[:, -1] == tokenizer.sep_token_id).all()
        assert ((ids == tokenizer.mask_token_id).sum(1) == 1).all()  # one at a time; none is read out of the text
        assert not (ids == tokenizer.pad_token_id).any()


def test_equal_inputs_run_once_and_progress_ends(masked: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 0
    forward = masked.module.forward

    def counted(input_ids: torch.Tensor) -> object:
        nonlocal rows
        rows += len(input_ids)
        return forward(input_ids)

    monkeypatch.setattr(masked.module, "forward", counted)
    told: list[tuple[str, int, int]] = []
    found = minimal_pairs(masked, {"p": [(SENTENCES[0], SENTENCES[0])]}, lambda *state: told.append(state))
    assert rows == len(masked.encode([SENTENCES[0]], special=False)[0][0])
    assert found.ties == 1.0
    assert told[-1] == ("likelihoods", 2, 2)


def test_bad_input(masked: LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(FrostlineError, match="'' has no token; leave empty sentences out"):
        pseudo_log_likelihood(masked, ["A man.", ""])
    with pytest.raises(FrostlineError, match=r"tokens and .* takes 160"):
        pseudo_log_likelihood(masked, ["police " * 200])
    with pytest.raises(FrostlineError, match="paradigm 'q' holds no pairs"):
        minimal_pairs(masked, {"p": [("A.", "B.")], "q": []})
    with pytest.raises(FrostlineError, match="the set holds no pairs"):
        minimal_pairs(masked, {})
    folder = testing_models.tiny_bert(tmp_path / "headless", head=False)
    with pytest.raises(FrostlineError, match="predicts no tokens; load it as masked or causal"):
        pseudo_log_likelihood(load_language_model(str(folder), "encoder"), ["A man."])


def test_phenomena_of_blimp() -> None:
    assert len(PHENOMENA) == 12
    assert phenomenon_of("existential_there_quantifiers_1") == "quantifiers"
    assert phenomenon_of("existential_there_object_raising") == "control and raising"
    assert phenomenon_of("my_own") == "other"
    found = by_phenomenon({"passive_1": 0.5, "transitive": 1.0, "my_own": 0.25})
    assert found == {"argument structure": (0.75, 2), "other": (0.25, 1)}


@pytest.mark.data
def test_blimp_has_67_paradigms_of_12_phenomena(shared_data: Path) -> None:
    from backbones.analysis.pair_files import read_pairs

    pairs = read_pairs(shared_data / "text" / "blimp.json.xz")
    counts = {name: count for name, (_, count) in by_phenomenon(dict.fromkeys(pairs, 1.0)).items()}
    assert {len(rows) for rows in pairs.values()} == {1000}
    assert list(counts.values()) == [2, 9, 7, 5, 8, 2, 7, 2, 8, 7, 4, 6]
