"""Deltas on disk: what is saved loads again; PEFT reads what we write and we read what PEFT writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from backbones.base import Backbone
from backbones.core.artifacts import load_tensors, save_tensors
from backbones.core.errors import FrostlineError
from backbones.core.seed import torch_generator
from backbones.delta import Delta
from backbones.deltas import find_delta, load_delta, save_delta
from backbones.pat import PATS
from backbones.pat.peft_files import METHODS, read_peft, write_peft
from backbones.pat.stack import make_pat
from backbones.testing_models import (
    raw_batch,
    tiny_bert,
    tiny_distilbert,
    tiny_roberta,
    tiny_transformers_vit,
    tiny_vit,
)

MODELS = {
    "timm": tiny_vit,
    "bert": tiny_bert,
    "roberta": tiny_roberta,
    "distilbert": tiny_distilbert,
    "hf-vit": tiny_transformers_vit,
}
LAYERS = ("all", "1", "0,2")


def moved(delta: Delta, seed: int = 0) -> Delta:
    """Move every parameter away from its start."""
    generator = torch_generator(seed, "moved")
    with torch.no_grad():
        for parameter in delta.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return delta.eval()


def features(backbone: Backbone, module: Any = None) -> torch.Tensor:
    batch = backbone.preprocessing(raw_batch(backbone))
    with torch.no_grad():
        return backbone.features(batch) if module is None else backbone.reading(module, batch)


def trained(kind: str, pat: str, values: dict[str, Any]) -> tuple[Delta, torch.Tensor]:
    backbone = MODELS[kind]()
    delta = moved(make_pat(pat, values).grow(backbone, 3))
    return delta, features(backbone)


class Bare(torch.nn.Module):
    """What PEFT makes of a timm model: the calls that reading features needs, through PEFT's own forward hooks."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward_features(self, batch: torch.Tensor) -> torch.Tensor:
        return self.model.base_model.model.forward_features(batch)

    def forward_head(self, found: torch.Tensor, pre_logits: bool) -> torch.Tensor:
        return self.model.base_model.model.forward_head(found, pre_logits=pre_logits)


def by_peft(kind: str, folder: Path) -> torch.Tensor:
    """Features of the plain model with the adapter of ``folder`` put on by PEFT."""
    peft = pytest.importorskip("peft")
    backbone = MODELS[kind]()
    wrapped = peft.PeftModel.from_pretrained(backbone.module, str(folder)).eval()
    return features(backbone, Bare(wrapped) if kind == "timm" else wrapped)


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


def lora_of_peft(kind: str, folder: Path, **options: Any) -> torch.Tensor:
    """Let PEFT put random factors on the plain model and save them; returns its features."""
    peft = pytest.importorskip("peft")
    backbone = MODELS[kind]()
    with torch.random.fork_rng(devices=[]):
        wrapped = peft.get_peft_model(backbone.module, peft.LoraConfig(**options)).eval()
    generator = torch_generator(0, "peft")
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.normal_(0.0, 0.2, generator=generator)
    wrapped.save_pretrained(str(folder))
    return features(backbone, Bare(wrapped) if kind == "timm" else wrapped)


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
    generator = torch_generator(0, "peft")
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "ln_tuning_layers" in name:
                parameter.normal_(1.0, 0.2, generator=generator)
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


class TestRefusals:
    """Every message names what is wrong and what would be right."""

    @staticmethod
    def message(folder: Path, backbone: Backbone | None = None) -> str:
        backbone = backbone or tiny_bert()
        before = features(backbone)
        with pytest.raises(FrostlineError) as caught:
            load_delta(folder, backbone)
        assert torch.equal(features(backbone), before)
        assert str(folder) in str(caught.value)
        return str(caught.value)

    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Path:
        lora_of_peft("bert", tmp_path, target_modules=["query"], r=2)
        return tmp_path

    @staticmethod
    def change(folder: Path, **values: Any) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    @pytest.mark.parametrize(
        ("key", "value", "words"),
        [
            ("use_dora", True, "DoRA"),
            ("bias", "all", "trains biases"),
            ("lora_bias", True, "biases beside B"),
            ("init_lora_weights", "pissa", "path_initial_model_for_weight_conversion"),
            ("layer_replication", [[0, 2]], "repeats layers"),
        ],
    )
    def test_more_than_lora(self, adapter: Path, key: str, value: Any, words: str) -> None:
        self.change(adapter, **{key: value})
        message = self.message(adapter)
        assert key in message and words in message

    def test_modules_trained_in_full(self, tmp_path: Path) -> None:
        lora_of_peft("timm", tmp_path, target_modules=["attn.qkv"], modules_to_save=["norm"])
        message = self.message(tmp_path, tiny_vit())
        assert "base_model.model.norm.bias" in message and "modules_to_save = ['norm']" in message

    def test_no_site_there(self, tmp_path: Path) -> None:
        write_peft(
            tmp_path,
            {"peft_type": "LORA"},
            {
                f"base_model.model.encoder.layer.0.attention.{part}.weight": torch.ones(2, 2)
                for part in ("lora_A", "lora_B")
            },
        )
        message = self.message(tmp_path)
        assert "no linear site" in message and "encoder.layer.0.attention.self" in message

    def test_another_shape(self, adapter: Path) -> None:
        config, tensors = read_peft(adapter)
        write_peft(adapter, config, {name: value[:, :1] for name, value in tensors.items()})
        assert "needs (r, 24) and (24, r)" in self.message(adapter)

    def test_half_of_the_factors(self, adapter: Path) -> None:
        config, tensors = read_peft(adapter)
        write_peft(adapter, config, {name: value for name, value in tensors.items() if "lora_B" not in name})
        assert "has no lora_B" in self.message(adapter)

    def test_another_model_altogether(self, adapter: Path) -> None:
        assert "no factor of the adapter belongs to the backbone" in self.message(adapter, tiny_vit())

    def test_norms_that_are_none(self, tmp_path: Path) -> None:
        for path, words in (("encoder.layer.0.output.dense", "no norm"), ("embeddings.LayerNorm", "needs (24,)")):
            write_peft(
                tmp_path,
                {"peft_type": "LN_TUNING"},
                {f"base_model.model.{path}.ln_tuning_layers.weight": torch.ones(3)},
            )
            assert words in self.message(tmp_path)

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        message = self.message(tmp_path)
        assert "pat_config.json" in message and "adapter_config.json" in message

    def test_an_artefact_of_before(self, tmp_path: Path) -> None:
        (tmp_path / "seed-1" / "artefact").mkdir(parents=True)
        (tmp_path / "seed-1" / "artefact" / "artefact.json").write_text("{}")
        assert "earlier version" in self.message(tmp_path)

    def test_settings_that_are_not_json(self, tmp_path: Path) -> None:
        save_delta(trained("bert", "lora", {})[0], tmp_path)
        (tmp_path / "pat_config.json").write_text("{")
        assert "not readable as JSON" in self.message(tmp_path)

    def test_settings_of_a_later_format(self, tmp_path: Path) -> None:
        save_delta(trained("bert", "lora", {})[0], tmp_path)
        facts = json.loads((tmp_path / "pat_config.json").read_text())
        (tmp_path / "pat_config.json").write_text(json.dumps({**facts, "format": 2}))
        assert "format = 2" in self.message(tmp_path)

    def test_an_unknown_pat(self, tmp_path: Path) -> None:
        save_delta(trained("timm", "vpt", {})[0], tmp_path)
        facts = json.loads((tmp_path / "pat_config.json").read_text())
        (tmp_path / "pat_config.json").write_text(json.dumps({**facts, "pat": "vptt"}))
        assert "Did you mean 'vpt'" in self.message(tmp_path, tiny_vit())

    def test_tensors_of_another_delta(self, tmp_path: Path) -> None:
        save_delta(trained("timm", "vpt", {})[0], tmp_path)
        tensors, _ = load_tensors(tmp_path / "delta.safetensors")
        save_tensors(tmp_path / "delta.safetensors", {name: value + 1 for name, value in tensors.items()})
        assert "is not the file" in self.message(tmp_path, tiny_vit())

    def test_a_backbone_of_another_depth(self, tmp_path: Path) -> None:
        save_delta(trained("timm", "vpt", {})[0], tmp_path)
        message = self.message(tmp_path, tiny_vit(depth=2))
        assert "does not fit backbone" in message and "prompts is (3, 10, 24), needed (2, 10, 24)" in message

    def test_a_pat_without_a_name(self, tmp_path: Path) -> None:
        delta, _ = trained("timm", "lora", {})
        delta.settings = type("Nameless", (type(delta.settings),), {})()
        with pytest.raises(FrostlineError, match=r"has no name.*backbones\.pats"):
            save_delta(delta, tmp_path)


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
