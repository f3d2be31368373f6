"""The masked language model that ships as differences to MiniLM: it loads by name, knows some English, can be saved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from backbones.analysis.pairs import minimal_pairs, pseudo_log_likelihood
from backbones.analysis.volumes import read_volume
from backbones.catalog import load_backbone
from backbones.core.errors import FrostlineError
from backbones.core.graft import read_graft, shipped_graft
from backbones.lm import LanguageModel, load_language_model
from backbones.recipes import minilm_mlm


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def shipped() -> LanguageModel:
    return load_language_model("minilm-mlm", "masked", device="cpu")


def guesses(model: LanguageModel, text: str, count: int = 5) -> list[str]:
    before, after = model.encode(text.split(" ___ "), special=False)[0]
    tokenizer = model.tokenizer
    ids = [tokenizer.cls_token_id, *before, tokenizer.mask_token_id, *after, tokenizer.sep_token_id]
    with torch.inference_mode():
        logits = model.module(input_ids=torch.tensor([ids])).logits[0, len(before) + 1]
    return [str(tokenizer.decode([token])) for token in logits.topk(count).indices.tolist()]


def test_shipped_file_is_small_and_names_its_card() -> None:
    facts, tensors = read_graft(shipped_graft("minilm-mlm"))
    assert 2 * sum(tensor.numel() for tensor in tensors.values()) < 8_000_000
    assert (shipped_graft("minilm-mlm").parent / facts.notes["card"]).read_text().count("minilm-mlm")


def test_shipped_model_fills_gaps_sensibly(shipped: LanguageModel) -> None:
    assert shipped.notes == () and shipped.window == 512
    assert guesses(shipped, "She wanted ___ go home with her mother.", 1) == ["to"]
    assert set(guesses(shipped, "He drank a cup of ___ .", 2)) == {"tea", "coffee"}
    assert set(guesses(shipped, "The girls ___ happy.", 2)) == {"were", "are"}


def test_shipped_model_prefers_good_sentences(shipped: LanguageModel) -> None:
    pairs = [
        ("The cats on the table are sleeping.", "The cats on the table is sleeping."),
        ("She has eaten the bread.", "She has ate the bread."),
        ("The men hurt themselves.", "The men hurt himself."),
        ("Two dogs were in the garden.", "Two dogs was in the garden."),
        ("She likes this book.", "She likes these book."),
    ]
    assert minimal_pairs(shipped, {"own": pairs}).overall == 1.0


def test_shipped_model_is_an_ordinary_folder_once_saved(shipped: LanguageModel, tmp_path: Path) -> None:
    shipped.module.save_pretrained(tmp_path)
    shipped.tokenizer.save_pretrained(tmp_path)
    loaded = load_language_model(str(tmp_path), "masked", device="cpu")
    text = ["The workers met the minister."]
    assert pseudo_log_likelihood(loaded, text) == pytest.approx(pseudo_log_likelihood(shipped, text), abs=1e-4)


def test_export_writes_what_a_run_kept_and_says_what_it_had_seen(
    shipped: LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "after-7"
    kept.mkdir()
    for ending in ("json", "safetensors"):
        shutil.copy(shipped_graft("minilm-mlm").with_suffix(f".{ending}"), kept)
    facts = json.loads((kept / "minilm_mlm.json").read_text())
    facts["notes"]["tokens"] = "7"
    (kept / "minilm_mlm.json").write_text(json.dumps(facts))
    assert minilm_mlm.main(["--export", str(tmp_path / "whole"), "--kept", str(kept)]) == 0
    assert read_volume(str(tmp_path / "whole")) == (7.0, "tokens")
    text = ["The workers met the minister."]
    loaded = load_language_model(str(tmp_path / "whole"), "masked", device="cpu")
    assert pseudo_log_likelihood(loaded, text) == pytest.approx(pseudo_log_likelihood(shipped, text), abs=1e-4)
    assert minilm_mlm.main(["--export", str(tmp_path / "none"), "--kept", str(tmp_path)]) == 2
    assert "holds no minilm_mlm.json; pass --out of a run" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_shipped_encoder_is_the_models_own(shipped: LanguageModel) -> None:
    backbone = load_backbone("minilm-mlm")
    held = dict(shipped.module.base_model.named_parameters())
    assert all(torch.equal(held[name], value) for name, value in backbone.module.named_parameters())


def test_shipped_model_is_not_causal() -> None:
    with pytest.raises(FrostlineError, match="causal"):
        load_language_model("minilm-mlm", "causal")
