"""Folders of deltas that are refused, and in which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from delta_makers import features, lora_of_peft, trained

from backbones.base import Backbone
from backbones.core.artifacts import load_tensors, save_tensors
from backbones.core.errors import FrostlineError
from backbones.deltas import load_delta, save_delta
from backbones.pat.peft_files import read_peft, write_peft
from backbones.testing_models import (
    tiny_bert,
    tiny_vit,
)


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
