"""Any backbone as an ordinary folder."""

from __future__ import annotations

import json

import pytest
import timm
import torch
import transformers

from backbones import testing_models
from backbones.catalog import LoadOptions, load_backbone
from backbones.core.errors import FrostlineError
from backbones.merging import probe_features
from backbones.text import Reading
from backbones.training.saving import save_backbone

# tiny_encoder takes a family, see tests/backbones/test_text_families.py
KINDS = [name for name in dir(testing_models) if name.startswith("tiny_") and name != "tiny_encoder"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_miniature_is_saved_and_loaded_with_its_features(kind, tmp_path):
    backbone = getattr(testing_models, kind)()
    saved = save_backbone(backbone, tmp_path / "out", {"made": "here"})
    again = load_backbone(str(tmp_path / "out"))
    torch.testing.assert_close(probe_features(again), probe_features(backbone), atol=1e-6, rtol=1e-6)
    assert saved.difference <= 1e-6 and str(tmp_path / "out") in saved.usage
    facts = json.loads((tmp_path / "out" / "frostline.json").read_text())
    assert facts["made"] == "here" and facts["fingerprint"] == backbone.fingerprint()
    assert isinstance(again.preprocessing, type(backbone.preprocessing))
    with pytest.raises(FrostlineError, match="exists already"):
        save_backbone(backbone, tmp_path / "out", {})


def test_the_pooling_is_stated(tmp_path):
    backbone = testing_models.tiny_bert()
    for pooling in ("cls", "mean"):
        for normalised in (False, True):
            backbone._read = Reading(pooling, normalised)
            folder = tmp_path / f"{pooling}-{normalised}"
            save_backbone(backbone, folder, {})
            found = load_backbone(str(folder))
            assert found.reading == Reading(pooling, normalised) and not found.notes
            assert transformers.AutoModel.from_pretrained(folder).config.model_type == "bert"


def test_timm_itself_loads_the_folder_and_other_sizes_are_possible(tmp_path):
    backbone = testing_models.tiny_vit()
    save_backbone(backbone, tmp_path / "out", {})
    alone = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True, num_classes=0).eval()
    images = torch.randn(2, 3, backbone.preprocessing.size, backbone.preprocessing.size)
    with torch.no_grad():
        assert torch.equal(alone(images), backbone.features(images))
    larger = load_backbone(str(tmp_path / "out"), LoadOptions(image_size=2 * backbone.preprocessing.size))
    assert larger.tokens > backbone.tokens


def test_a_damaged_folder_is_refused(tmp_path):
    save_backbone(testing_models.tiny_vit(), tmp_path / "out", {})
    (tmp_path / "out" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(FrostlineError, match=r"model\.safetensors"):
        load_backbone(str(tmp_path / "out"))
    (tmp_path / "out" / "model.safetensors").unlink()
    with pytest.raises(FrostlineError, match=r"model\.safetensors"):
        load_backbone(str(tmp_path / "out"))
