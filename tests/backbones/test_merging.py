"""Merged weights are plain: timm and transformers load them alone and compute what the delta did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file

from backbones import merging
from backbones.base import Backbone
from backbones.catalog import LoadOptions, load_backbone
from backbones.core.errors import FrostlineError
from backbones.core.seed import torch_generator
from backbones.deltas import save_delta
from backbones.merging import merge
from backbones.pat import PATS
from backbones.pat.stack import make_pat
from backbones.testing_models import SHAPE, raw_batch, tiny_bert

FOLDING = [name for name in PATS.names() if PATS.load(name).mergeable and name != "frozen"]
FOLDING += ["lora+layernorm", "ssf+lora"]


def randomised(module: Any, seed: int = 0) -> Any:
    generator = torch_generator(seed, "tiny")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, 0.2, generator=generator)
    return module


def text_base(folder: Path) -> str:
    """A sentence encoder with a pooler of its own and the first token as its feature."""
    small = tiny_bert()
    randomised(transformers.BertModel(small.module.config)).save_pretrained(folder)  # type: ignore[arg-type]
    small.preprocessing.tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]
    (folder / "modules.json").write_text(
        json.dumps([{"type": "models.Transformer", "path": ""}, {"type": "models.Pooling", "path": "1_Pooling"}])
    )
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    return str(folder)


def vision_base(folder: Path) -> str:
    config = transformers.ViTConfig(image_size=16, patch_size=4, **SHAPE)
    randomised(transformers.ViTModel(config)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "ViTImageProcessor",
                "image_mean": [0.1, 0.2, 0.3],
                "image_std": [0.3, 0.4, 0.5],
                "size": {"height": 16, "width": 16},
            }
        )
    )
    return str(folder)


def clip_base(folder: Path) -> str:
    towers = {"vision_config": {"image_size": 16, "patch_size": 4, **SHAPE}, "text_config": {"vocab_size": 9, **SHAPE}}
    randomised(transformers.CLIPModel(transformers.CLIPConfig(projection_dim=8, **towers))).save_pretrained(folder)
    return str(folder)


FOLDERS = {"text": text_base, "vision": vision_base, "clip": clip_base}


def trained(backbone: Backbone, pat: str, folder: Path) -> torch.Tensor:
    """Save a delta with random parameters; returns the features that it gives."""
    delta = make_pat(pat, {}).grow(backbone, 0).eval()
    generator = torch_generator(0, "moved")
    with torch.no_grad():
        for parameter in delta.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    save_delta(delta, folder)
    found = features(backbone)
    delta.detach()
    return found


def features(backbone: Backbone) -> torch.Tensor:
    with torch.no_grad():
        return backbone.features(backbone.preprocessing(raw_batch(backbone)))


def folders_and_pats() -> Iterator[Any]:
    """Every kind of folder with some PATs and one kind with all; the rest, which takes long, is marked slow."""
    for pat in FOLDING:
        for kind in FOLDERS:
            often = kind == "vision" or pat in ("lora", "ssf+lora")
            yield pytest.param(kind, pat, marks=() if often else pytest.mark.slow)


@pytest.mark.parametrize(("kind", "pat"), folders_and_pats())
def test_a_folder_of_transformers(kind: str, pat: str, tmp_path: Path) -> None:
    base = FOLDERS[kind](tmp_path / "base")
    backbone = load_backbone(base)
    plain = features(backbone)
    wanted = trained(backbone, pat, tmp_path / "delta")
    before = torch.get_rng_state()
    merged = merge(base, tmp_path / "delta", tmp_path / "new" / "out")
    assert torch.equal(before, torch.get_rng_state())
    again = load_backbone(str(tmp_path / "new" / "out"))
    torch.testing.assert_close(features(again), wanted, atol=1e-5, rtol=1e-5)
    assert (wanted - plain).abs().max() > 1e-3
    assert merged.difference < 1e-5 and 0 < merged.changed < merged.tensors and merged.pat == pat
    # transformers alone
    module = transformers.AutoModel.from_pretrained(tmp_path / "new" / "out").eval()
    assert type(module) is type(backbone.module)
    with torch.no_grad():
        alone = backbone.reading(module, backbone.preprocessing(raw_batch(backbone)))
    torch.testing.assert_close(alone, wanted, atol=1e-5, rtol=1e-5)
    assert not list((tmp_path / "new").glob(".*"))


def test_what_stands_beside_the_weights_is_kept(tmp_path: Path) -> None:
    for kind in ("text", "vision"):
        base = FOLDERS[kind](tmp_path / kind)
        trained(load_backbone(base), "lora", tmp_path / f"{kind}-delta")
        merge(base, tmp_path / f"{kind}-delta", tmp_path / f"{kind}-out")
    vision, text = load_backbone(str(tmp_path / "vision-out")), load_backbone(str(tmp_path / "text-out"))
    assert vision.preprocessing.described()["mean"] == (0.1, 0.2, 0.3)
    assert not any("no pooling" in note for note in text.notes)
    assert text.reading.pooling == "cls"  # type: ignore[attr-defined]
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "text-out")("a cat")["input_ids"]
    # a pooler that the base has is still there, though no feature needs it
    old, new = (load_file(tmp_path / name / "model.safetensors") for name in ("text", "text-out"))
    assert old.keys() == new.keys() and torch.equal(old["pooler.dense.weight"], new["pooler.dense.weight"])


@pytest.mark.parametrize("pat", ["lora", "ssf+lora"])
def test_a_model_of_timm(pat: str, tmp_path: Path) -> None:
    plain = randomised(timm.create_model("test_vit", num_classes=0))
    save_file(plain.state_dict(), tmp_path / "base.safetensors")
    options = LoadOptions(weights=tmp_path / "base.safetensors")
    backbone = load_backbone("timm:test_vit", options)
    wanted = trained(backbone, pat, tmp_path / "delta")
    merged = merge("timm:test_vit", tmp_path / "delta", tmp_path / "out", options)
    assert "timm.create_model('test_vit', num_classes=0)" in merged.usage
    alone = timm.create_model("test_vit", num_classes=0).eval()
    alone.load_state_dict(load_file(tmp_path / "out" / "model.safetensors"))
    with torch.no_grad():
        found = alone(backbone.preprocessing(raw_batch(backbone)))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(plain(backbone.preprocessing(raw_batch(backbone))), wanted, atol=1e-2)
    facts = json.loads((tmp_path / "out" / "merged.json").read_text())
    assert (facts["base"], facts["architecture"], facts["pat"]) == ("timm:test_vit", "test_vit", pat)


def test_the_bundled_backbone(tmp_path: Path) -> None:
    backbone = load_backbone("bundled:vit-micro")
    wanted = trained(backbone, "layernorm", tmp_path / "delta")
    phases: list[tuple[str, int, int]] = []
    merge("bundled:vit-micro", tmp_path / "delta", tmp_path / "out", None, lambda *step: phases.append(step))
    assert [done for _, done, _ in phases] == [0, 1, 2, 3, 4]
    again = load_backbone("bundled:vit-micro", LoadOptions(weights=tmp_path / "out" / "model.safetensors"))
    torch.testing.assert_close(features(again), wanted, atol=1e-5, rtol=1e-5)


def test_an_adapter_that_peft_wrote(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = text_base(tmp_path / "base")
    backbone = load_backbone(base)
    with torch.random.fork_rng(devices=[]):
        config = peft.LoraConfig(target_modules=["query", "value"], init_lora_weights=False)
        wrapped = peft.get_peft_model(transformers.AutoModel.from_pretrained(base), config).eval()
    wrapped.save_pretrained(tmp_path / "adapter")
    merge(base, tmp_path / "adapter", tmp_path / "out")
    with torch.no_grad():
        wanted = backbone.reading(wrapped, backbone.preprocessing(raw_batch(backbone)))
    torch.testing.assert_close(features(load_backbone(str(tmp_path / "out"))), wanted, atol=1e-5, rtol=1e-5)


def test_a_base_of_the_hub_is_taken_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    kept = tmp_path / "hub" / "models--someone--small"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    (kept / "snapshots").mkdir()
    base = text_base(kept / "snapshots" / ("0" * 40))
    wanted = trained(load_backbone(base), "lora", tmp_path / "delta")
    out = tmp_path / "out"
    merge("hf:someone/small", tmp_path / "delta", out)
    torch.testing.assert_close(features(load_backbone(str(out))), wanted, atol=1e-5, rtol=1e-5)
    assert (out / "tokenizer.json").is_file() and not (out / "tokenizer.json").is_symlink()


def refused(base: str, delta: Path, out: Path) -> str:
    with pytest.raises(FrostlineError) as caught:
        merge(base, delta, out)
    return str(caught.value)


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert "out exists already" in refused("bundled:vit-micro", tmp_path / "delta", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_cannot_be_folded_is_refused(tmp_path: Path) -> None:
    trained(load_backbone("bundled:vit-micro"), "vpt", tmp_path / "delta")
    message = refused("bundled:vit-micro", tmp_path / "delta", tmp_path / "out")
    assert "cannot be folded into weights" in message and not (tmp_path / "out").exists()


def test_weights_that_compute_something_else_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(load_backbone("bundled:vit-micro"), "lora", tmp_path / "delta")
    load = merging.load_delta

    def folding_wrongly(folder: Path, backbone: Backbone) -> Any:
        delta = load(folder, backbone)
        delta.after(backbone.sites("block", 2)[0], lambda tokens: 1.1 * tokens, fold=lambda _state: None)
        return delta

    monkeypatch.setattr(merging, "load_delta", folding_wrongly)
    message = refused("bundled:vit-micro", tmp_path / "delta", tmp_path / "out")
    assert "nothing was written" in message and "Keep the delta beside it" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["delta"]


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    trained(load_backbone("bundled:vit-micro"), "lora", tmp_path / "delta")
    (tmp_path / "file").write_text("")
    message = refused("bundled:vit-micro", tmp_path / "delta", tmp_path / "file" / "out")
    assert "cannot write" in message and "Pass another folder" in message
