"""Deltas on disk: what is saved loads again; PEFT reads what we write and we read what PEFT writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from delta_makers import LAYERS, MODELS, Bare, by_peft, draw, features, lora_of_peft, moved, trained

from backbones.core.errors import FrostlineError
from backbones.deltas import find_delta, load_delta, save_delta
from backbones.pat import PATS
from backbones.pat.peft_files import METHODS, read_peft
from backbones.pat.stack import make_pat
from backbones.testing_models import (
    tiny_bert,
    tiny_vit,
)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize(
    ("pat", "values"),
    [
        ("lora", {"r": 2, "alpha": 3.0}),
        ("lora", {"r": 3, "alpha": 5.0, "rslora": True, "roles": "qkv,fc1,fc2"}),
        ("layernorm", {}),
    ],
)
def test_peft_gives_the_features_of_what_we_wrote(
    kind: str, layers: str, pat: str, values: dict[str, Any], tmp_path: Path
) -> None:
    delta, wanted = trained(kind, pat, {**values, "layers": layers})
    save_delta(delta, tmp_path)
    assert (features(MODELS[kind]()) - wanted).abs().max() > 1e-3
    torch.testing.assert_close(by_peft(kind, tmp_path), wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("own", [True, False], ids=["with pat_config", "as PEFT leaves it"])
@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("pat", ["lora", "layernorm"])
def test_methods_of_peft_load_again_bit_for_bit(kind: str, own: bool, layers: str, pat: str, tmp_path: Path) -> None:
    delta, wanted = trained(kind, pat, {"layers": layers})
    save_delta(delta, tmp_path)
    assert (tmp_path / "adapter_model.safetensors").exists() and not (tmp_path / "delta.safetensors").exists()
    if not own:
        (tmp_path / "pat_config.json").unlink()
    backbone = MODELS[kind]()
    again = load_delta(tmp_path, backbone)
    assert torch.equal(features(backbone), wanted)
    assert again.parameter_count == delta.parameter_count
    assert again.notes == ()


@pytest.mark.parametrize("kind", ["timm", "bert"])
@pytest.mark.parametrize("pat", [*PATS.names(), "lora+layernorm"])
def test_every_pat_is_saved_and_grown_again(kind: str, pat: str, tmp_path: Path) -> None:
    backbone = MODELS[kind]()
    try:
        delta = moved(make_pat(pat, {}).grow(backbone, 3))
    except FrostlineError:
        pytest.skip("does not fit")
    wanted = features(backbone)
    save_delta(delta, tmp_path / "new", "its name", 3)
    again = load_delta(tmp_path / "new", MODELS[kind]())
    assert torch.equal(features(again.backbone), wanted)
    assert again.settings == delta.settings
    facts = json.loads((tmp_path / "new" / "pat_config.json").read_text())
    assert (facts["pat"], facts["base"], facts["seed"]) == (pat, "its name", 3)


@pytest.mark.parametrize(
    ("kind", "options", "paths"),
    [
        ("timm", {"target_modules": ["attn.qkv"]}, ()),
        ("timm", {"target_modules": ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"], "r": 3, "lora_alpha": 7}, ()),
        ("timm", {"target_modules": r"blocks\.[02]\.(attn\.proj|mlp\.fc1)"}, ()),
        ("timm", {"target_modules": ["attn.qkv"], "use_rslora": True, "r": 4, "lora_alpha": 3}, ()),
        ("bert", {"target_modules": ["query", "value"]}, ("attention.self.query", "attention.self.value")),
        ("bert", {"target_modules": ["query", "value"], "layers_to_transform": [1]}, None),
        ("bert", {"target_modules": r".*layer\.0\.attention\.self\.query|.*layer\.2\.output\.dense"}, None),
        ("bert", {"target_modules": ["output.dense"]}, ()),
        (
            "bert",
            {
                "target_modules": ["query", "output.dense"],
                "r": 2,
                "lora_alpha": 6,
                "rank_pattern": {"attention.self.query": 5},
                "alpha_pattern": {"layer.1.attention.self.query": 9, "layer.2.output.dense": 1},
            },
            None,
        ),
        ("hf-vit", {"target_modules": ["q_proj", "v_proj"]}, ("attention.q_proj", "attention.v_proj")),
    ],
    ids=str,
)
def test_a_lora_of_peft_gives_its_features_here(
    kind: str, options: dict[str, Any], paths: tuple[str, ...] | None, tmp_path: Path
) -> None:
    wanted = lora_of_peft(kind, tmp_path, **options)
    backbone = MODELS[kind]()
    plain = features(backbone)
    delta: Any = load_delta(tmp_path, backbone)
    assert (wanted - plain).abs().max() > 1e-3
    torch.testing.assert_close(features(backbone), wanted, atol=1e-6, rtol=1e-6)
    assert paths is None or delta.settings.paths == paths
    adapted = {name.partition(".lora_")[0] for name in read_peft(tmp_path)[1]}
    assert {f"base_model.model.{path}" for path in delta.sites} == adapted
    delta.detach()
    assert torch.equal(features(backbone), plain)


def test_what_peft_wrote_and_we_wrote_again_loads_in_peft(tmp_path: Path) -> None:
    wanted = lora_of_peft("bert", tmp_path / "theirs", target_modules=["query", "value"])
    save_delta(load_delta(tmp_path / "theirs", MODELS["bert"]()), tmp_path / "ours")
    torch.testing.assert_close(by_peft("bert", tmp_path / "ours"), wanted, atol=1e-6, rtol=1e-6)
    modules = json.loads((tmp_path / "ours" / "adapter_config.json").read_text())["target_modules"]
    assert modules == ["attention.self.query", "attention.self.value"]


@pytest.mark.parametrize("modules", [["norm1"], r"blocks\.1\.norm2|norm", ["norm1", "norm2"]], ids=str)
def test_an_ln_tuning_of_peft_gives_its_features_here(modules: Any, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    backbone = MODELS["timm"]()
    wrapped = peft.get_peft_model(backbone.module, peft.LNTuningConfig(target_modules=modules)).eval()
    draw(wrapped, "ln_tuning_layers", 1.0)
    wrapped.save_pretrained(str(tmp_path))
    wanted = features(backbone, Bare(wrapped))
    fresh = MODELS["timm"]()
    load_delta(tmp_path, fresh)
    torch.testing.assert_close(features(fresh), wanted, atol=1e-6, rtol=1e-6)


def test_the_head_of_a_classifier_is_left_out_with_a_note(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    from transformers import BertForSequenceClassification

    backbone = tiny_bert()
    whole = BertForSequenceClassification(backbone.module.config)  # type: ignore[arg-type]
    missing, unexpected = whole.bert.load_state_dict(backbone.module.state_dict(), strict=False)
    assert not unexpected and all(name.startswith("pooler") for name in missing)
    config = peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query", "dense"], r=2, init_lora_weights=False)
    wrapped = peft.get_peft_model(whole, config).eval()
    wrapped.save_pretrained(str(tmp_path))
    inner = wrapped.base_model.model.bert
    wanted = features(backbone, inner)
    fresh = tiny_bert()
    delta = load_delta(tmp_path, fresh)
    torch.testing.assert_close(features(fresh), wanted, atol=1e-6, rtol=1e-6)
    assert any("left out" in note and "classifier" in note and "pooler" in note for note in delta.notes)


def test_another_base_is_noted(tmp_path: Path) -> None:
    delta, _ = trained("timm", "vpt", {})
    save_delta(delta, tmp_path / "own")
    save_delta(moved(make_pat("lora", {}).grow(tiny_vit(), 0)), tmp_path / "peft", "timm:other")
    assert "fingerprint" in load_delta(tmp_path / "own", tiny_vit(seed=5)).notes[0]
    assert "fingerprint" in load_delta(tmp_path / "peft", tiny_vit(seed=5)).notes[0]
    (tmp_path / "peft" / "pat_config.json").unlink()
    assert "names 'timm:other' as its base" in load_delta(tmp_path / "peft", tiny_vit()).notes[0]


def test_weights_that_peft_wrote_anew_win_over_our_settings(tmp_path: Path) -> None:
    delta, _ = trained("bert", "lora", {"r": 5})
    save_delta(delta, tmp_path)
    wanted = lora_of_peft("bert", tmp_path, target_modules=["query"], r=2)
    backbone = tiny_bert()
    again = load_delta(tmp_path, backbone)
    torch.testing.assert_close(features(backbone), wanted, atol=1e-6, rtol=1e-6)
    assert "describes other weights" in again.notes[0]


def test_saving_anew_removes_the_other_format(tmp_path: Path) -> None:
    save_delta(trained("timm", "lora", {})[0], tmp_path)
    save_delta(trained("timm", "vpt", {})[0], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["delta.safetensors", "pat_config.json"]


def test_where_a_delta_is_found(tmp_path: Path) -> None:
    delta, _ = trained("timm", "vpt", {})
    save_delta(delta, tmp_path / "run" / "seed-1" / "artefact" / "delta")
    for folder in ("run", "run/seed-1", "run/seed-1/artefact", "run/seed-1/artefact/delta"):
        assert find_delta(tmp_path / folder) == tmp_path / "run/seed-1/artefact/delta"
    save_delta(delta, tmp_path / "run" / "seed-2" / "artefact" / "delta")
    with pytest.raises(FrostlineError, match=r"2 seeds; pass one.*seed-1.*seed-2"):
        find_delta(tmp_path / "run")


def test_the_methods_of_peft_are_pats_that_can_say_so() -> None:
    for name in METHODS.values():
        assert {"to_peft", "from_peft"} <= set(dir(PATS.load(name)))


def test_files_may_be_moved(tmp_path: Path) -> None:
    delta, wanted = trained("bert", "lora", {})
    save_delta(delta, tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    backbone = tiny_bert()
    load_delta(tmp_path / "there", backbone)
    assert torch.equal(features(backbone), wanted)
