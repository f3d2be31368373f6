"""Prefix tuning and PEFT: with shifted positions both compute the same, whoever wrote the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.seed import torch_generator
from backbones.deltas import load_delta, save_delta
from backbones.pat.peft_files import read_peft, write_peft
from backbones.pat.prefix import Prefix
from backbones.testing import check_pat
from backbones.testing_models import raw_batch, tiny_bert, tiny_distilbert, tiny_roberta, tiny_vit

MODELS = {"bert": tiny_bert, "roberta": tiny_roberta}
SHIFTED = Prefix(length=4, std=0.5, shift=True)


def features(backbone: Backbone) -> torch.Tensor:
    with torch.no_grad():
        return backbone.features(backbone.preprocessing(raw_batch(backbone)))


def mean(wrapped: Any, backbone: Backbone) -> torch.Tensor:
    """The mean over tokens of what a model of PEFT computes from plain ids and a plain mask."""
    batch = backbone.preprocessing(raw_batch(backbone))
    with torch.no_grad():
        states = wrapped(input_ids=batch[:, 0], attention_mask=batch[:, 1]).last_hidden_state
    weights = batch[:, 1, :, None].float()
    return (states * weights).sum(dim=1) / weights.sum(dim=1)


def by_peft(kind: str, folder: Path) -> torch.Tensor:
    peft = pytest.importorskip("peft")
    backbone = MODELS[kind]()
    return mean(peft.PeftModel.from_pretrained(backbone.module, str(folder)).eval(), backbone)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("projection", [None, 7])
def test_peft_gives_the_features_of_what_we_wrote(kind: str, projection: int | None, tmp_path: Path) -> None:
    backbone = MODELS[kind]()
    plain = features(backbone)
    pat = SHIFTED.model_copy(update={"projection": projection})
    delta = pat.grow(backbone, 0).eval()
    wanted = features(backbone)
    assert (wanted - plain).abs().max() > 1e-2
    save_delta(delta, tmp_path)
    torch.testing.assert_close(by_peft(kind, tmp_path), wanted, atol=1e-6, rtol=1e-6)
    again = load_delta(tmp_path, MODELS[kind]())
    assert again.settings == pat and torch.equal(features(again.backbone), wanted)
    assert again.parameter_count == delta.parameter_count and again.notes == ()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("projected", [False, True])
def test_a_prefix_of_peft_gives_its_features_here(kind: str, projected: bool, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    backbone = MODELS[kind]()
    config = peft.PrefixTuningConfig(
        task_type="FEATURE_EXTRACTION", num_virtual_tokens=5, prefix_projection=projected, encoder_hidden_size=9
    )
    with torch.random.fork_rng(devices=[]):
        wrapped = peft.get_peft_model(backbone.module, config).eval()
    wrapped.save_pretrained(str(tmp_path))
    wanted = mean(wrapped, backbone)
    fresh = MODELS[kind]()
    delta = load_delta(tmp_path, fresh)
    torch.testing.assert_close(features(fresh), wanted, atol=1e-6, rtol=1e-6)
    assert delta.settings == Prefix(length=5, shift=True) and delta.notes == ()


def test_the_head_of_a_classifier_is_left_out_with_a_note(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    from transformers import BertForSequenceClassification

    backbone = tiny_bert()
    with torch.random.fork_rng(devices=[]):
        whole = BertForSequenceClassification(backbone.module.config)  # type: ignore[arg-type]
        whole.bert.load_state_dict(backbone.module.state_dict(), strict=False)
        wrapped = peft.get_peft_model(whole, peft.PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3)).eval()
    wrapped.save_pretrained(str(tmp_path))
    batch = backbone.preprocessing(raw_batch(backbone))
    # PEFT 0.21 cannot run its own classifiers with prefixes on transformers 5.24, so that the model itself is asked.
    seen = torch.cat([torch.ones(len(batch), 3, dtype=batch.dtype), batch[:, 1]], dim=1)
    with torch.no_grad():
        prompt = wrapped.get_prompt(len(batch))
        wanted = whole.bert(input_ids=batch[:, 0], attention_mask=seen, past_key_values=prompt).last_hidden_state
    weights = batch[:, 1, :, None].float()
    fresh = tiny_bert()
    delta = load_delta(tmp_path, fresh)
    torch.testing.assert_close(
        features(fresh), (wanted * weights).sum(dim=1) / weights.sum(dim=1), atol=1e-6, rtol=1e-6
    )
    assert "left out base_model.classifier" in delta.notes[0]


@pytest.mark.parametrize("values", [{"shift": False}, {"layers": "1-2"}, {"length": 0}], ids=str)
def test_what_peft_lacks_is_written_in_our_own_format(values: dict[str, Any], tmp_path: Path) -> None:
    backbone = tiny_bert()
    delta = SHIFTED.model_copy(update=values).grow(backbone, 0).eval()
    wanted = features(backbone)
    save_delta(delta, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["delta.safetensors", "pat_config.json"]
    again = load_delta(tmp_path, tiny_bert())
    assert torch.equal(features(again.backbone), wanted)


def test_a_table_that_peft_wrote_anew_wins_over_our_projection(tmp_path: Path) -> None:
    save_delta(SHIFTED.model_copy(update={"projection": 7}).grow(tiny_bert(), 0), tmp_path)
    config, tensors = read_peft(tmp_path)
    write_peft(tmp_path, config, {name: tensor + 0.1 for name, tensor in tensors.items()})
    delta = load_delta(tmp_path, tiny_bert())
    assert delta.settings == Prefix(length=4, shift=True) and "describes other weights" in delta.notes[0]
    torch.testing.assert_close(features(delta.backbone), by_peft("bert", tmp_path), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", MODELS)
def test_a_shifted_prefix_meets_the_contract(kind: str) -> None:
    backbone = MODELS[kind]()
    check_pat(SHIFTED, backbone, raw_batch(backbone))


def test_shifting_is_what_the_model_does_to_other_positions() -> None:
    """With keys that nobody heeds, what is left is the text at later positions."""
    backbone = tiny_bert()
    batch = backbone.preprocessing(raw_batch(backbone))
    delta: Any = SHIFTED.grow(backbone, 0).eval()
    with torch.no_grad():
        delta.pairs.zero_()
    without: Any = SHIFTED.model_copy(update={"shift": False})
    shifted = features(backbone)
    delta.detach()
    with torch.no_grad():
        other = without.grow(backbone, 0).eval()
        other.pairs.zero_()
        rows = backbone.module.embeddings.position_embeddings.weight  # type: ignore[union-attr]
        kept = rows.clone()
        rows.copy_(rows.roll(-4, dims=0))
        wanted = backbone.features(batch)
        rows.copy_(kept)  # type: ignore[operator]
    torch.testing.assert_close(shifted, wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("make", [tiny_vit, tiny_distilbert])
def test_positions_that_cannot_be_shifted(make: Any) -> None:
    backbone = make()
    for call in (lambda: SHIFTED.grow(backbone, 0), lambda: SHIFTED.parameter_count(backbone)):
        with pytest.raises(FrostlineError, match=r"cannot shift the positions.*Leave shift off"):
            call()


def test_a_text_too_long_for_the_prefix() -> None:
    for make in MODELS.values():
        backbone = make()
        delta = SHIFTED.grow(backbone, 0)
        with torch.no_grad(), pytest.raises(FrostlineError, match=r"needs 44 positions.*has 40.*max_tokens = 36"):
            backbone.features(backbone.preprocessing(["cat " * 38]))
        delta.detach()


@pytest.mark.parametrize(
    ("config", "tensors", "words"),
    [
        ({}, {"prompt_embeddings": torch.ones(4, 10)}, "needs (length, 3 layers * 2 * 24)"),
        ({"num_transformer_submodules": 2}, {"prompt_embeddings": torch.ones(4, 144)}, "encoder with a decoder"),
        ({}, {"other": torch.ones(4, 144)}, "it has other"),
    ],
    ids=["shape", "decoder", "names"],
)
def test_tables_that_fit_no_encoder(
    config: dict[str, Any], tensors: dict[str, torch.Tensor], words: str, tmp_path: Path
) -> None:
    write_peft(tmp_path, {"peft_type": "PREFIX_TUNING", **config}, tensors)
    with pytest.raises(FrostlineError) as caught:
        load_delta(tmp_path, tiny_bert())
    assert words in str(caught.value) and str(tmp_path) in str(caught.value)


def test_spread_of_the_table() -> None:
    """PEFT's rows are positions; within a row come the layers, within a layer the keys and then the values."""
    backbone = tiny_bert()
    delta = SHIFTED.grow(backbone, 0)
    config, tensors = SHIFTED.to_peft(delta) or ({}, {})
    rows = tensors["prompt_embeddings"]
    table = delta.table()
    assert config["num_virtual_tokens"] == len(rows) == 4
    generator = torch_generator(0, "spread")
    for _ in range(20):
        layer, half, position, entry = (int(torch.randint(n, (1,), generator=generator)) for n in table.shape)
        assert rows[position, (2 * layer + half) * 24 + entry] == table[layer, half, position, entry]
