"""Pools of LoRAs on disk: whose they may be, what is noted of them, and which are refused."""

import json
from functools import partial

import pytest
import torch
from fusion_makers import write_lora, write_pool
from pat_checks import features, plain_features

from backbones.core.artifacts import load_tensors, save_tensors
from backbones.core.errors import FrostlineError
from backbones.pat.ledger import notes_of
from backbones.pat.lora_fusion import LoraFusion
from backbones.pat.peft_files import CONFIG, WEIGHTS
from backbones.pat.pool import read_adapters
from backbones.pat.stack import make_pat
from backbones.testing import tiny_bert, tiny_vit


@pytest.fixture
def pool(tmp_path):
    return partial(write_pool, tmp_path)


def test_peft_folders_under_a_prefix_and_of_fewer_layers(tmp_path):
    backbone = tiny_bert()
    folder = write_lora(tmp_path / "a", backbone, prefix="bert.", roles=("qkv",), use_rslora=True)
    adapter = read_adapters([folder], backbone)[0]
    assert set(adapter.factors) == {s.path for s in backbone.sites("qkv")}
    assert next(iter(adapter.factors.values()))[2] == 6.0 / 3**0.5
    pat = LoraFusion(pool=(folder,))
    assert pat.parameter_count(backbone) == 1 * 3 + 9 * 24
    assert LoraFusion(pool=(folder,), roles=("qkv", "proj")).parameter_count(backbone) == 1 * 3 + 9 * 24
    # a LoRA without factors at a site leaves it alone
    delta = LoraFusion(pool=(folder,), warm=1).grow(backbone, 0)
    assert len(delta.lora(0)) == 9 and len(delta.lora(1)) == 12
    merged = delta.merged()
    delta.detach()
    delta = LoraFusion(pool=(folder,), warm=1).grow(backbone, 0)
    torch.testing.assert_close(features(backbone), plain_features(tiny_bert(), merged), atol=1e-5, rtol=0)


def test_alpha_patterns_count(tmp_path):
    backbone = tiny_bert()
    folder = write_lora(tmp_path / "a", backbone, alpha_pattern={"query": 30.0})
    tensors, _ = load_tensors(tmp_path / "a" / WEIGHTS)
    for path, (A, B, scaling) in read_adapters([folder], backbone)[0].factors.items():
        assert torch.equal(A, tensors[f"base_model.model.{path}.lora_A.weight"])
        wanted = 10.0 if path.endswith("query") else 2.0
        torch.testing.assert_close(scaling * B, wanted * tensors[f"base_model.model.{path}.lora_B.weight"])


def test_an_adapter_of_another_base_is_noted(tmp_path):
    backbone = tiny_vit()
    folder = write_lora(tmp_path / "a", backbone, base_model_name_or_path="someone/large-vit")
    same = write_lora(tmp_path / "b", backbone, base_model_name_or_path="someone/Tiny-ViT")
    delta = make_pat("lora_fusion+layernorm", {"lora_fusion.pool": f"{folder},{same}"}).grow(backbone, 0)
    (note,) = notes_of(delta)
    assert "someone/large-vit" in note and "tiny-vit" in note and folder in note


SITE = "base_model.model.blocks.1.attn.proj.lora_"


DAMAGE = {
    "shape": {f"{SITE}A.weight": torch.zeros(3, 48)},
    "rank": {f"{SITE}A.weight": torch.zeros(5, 24)},
    "half": {f"{SITE}B.weight": None},
    "nan": {f"{SITE}B.weight": torch.full((24, 3), torch.nan)},
    "embedding": {"base_model.model.patch_embed.cls_token.lora_embedding_A": torch.zeros(3, 24)},
}


CONFIGS = {"dora": {"use_dora": True}, "bias": {"bias": "all"}, "type": {"peft_type": "LN_TUNING"}}


def test_heads_saved_along_are_noted(tmp_path):
    backbone = tiny_bert()
    folder = write_lora(tmp_path / "a", backbone, prefix="bert.", modules_to_save=["classifier"])
    tensors, _ = load_tensors(tmp_path / "a" / WEIGHTS)
    head = {"base_model.model.classifier.weight": torch.zeros(2, 24)}
    save_tensors(tmp_path / "a" / WEIGHTS, {**tensors, **head})
    delta = LoraFusion(pool=(folder,)).grow(backbone, 0)
    assert len(delta.lora(0)) == 12
    assert "left out base_model.model.classifier.weight" in delta.notes[0]


def test_a_pool_that_is_not_full_is_noted():
    delta = LoraFusion(train="experiences").grow(tiny_vit(), 0)
    assert delta.notes == ()
    delta.enter(0, 0)
    assert "LoRA 1 of 2" in delta.notes[0] and "--pat-schedule every" in delta.notes[0]
    copy = LoraFusion(train="experiences").grow(tiny_vit(), 0)
    copy.load_state_dict(delta.state_dict())
    assert copy.notes == delta.notes
    delta.enter(2, 0)
    assert delta.notes == ()


def broken(folder, kind):
    """Write a LoRA for the tiny ViT that a pool must refuse."""
    if kind == "model":
        return write_lora(folder, tiny_bert())
    path = write_lora(folder, tiny_vit(), **CONFIGS.get(kind, {}))
    tensors = load_tensors(folder / WEIGHTS)[0] | DAMAGE.get(kind, {})
    save_tensors(folder / WEIGHTS, {name: tensor for name, tensor in tensors.items() if tensor is not None})
    return path


@pytest.mark.parametrize(
    "kind, words",
    [
        ("shape", [WEIGHTS, "blocks.1.attn.proj", "(3, 48)", "(r, 24)"]),
        ("rank", ["blocks.1.attn.proj", "(5, 24)", "(24, 3)", "(24, r)"]),
        ("half", ["lora_B", "blocks.1.attn.proj"]),
        ("nan", ["blocks.1.attn.proj", "not finite"]),
        ("embedding", ["cls_token.lora_embedding_A", "plain LoRA"]),
        ("dora", ["DoRA", "plain"]),
        ("bias", ["biases", "'all'"]),
        ("type", ["LN_TUNING", "LORA"]),
        ("model", ["no factor", "another model"]),
    ],
)
def test_pools_that_do_not_fit_are_named(tmp_path, kind, words):
    backbone = tiny_vit()
    folder = broken(tmp_path / "adapter", kind)
    with pytest.raises(FrostlineError) as caught:
        LoraFusion(pool=(folder,)).parameter_count(backbone)
    assert all(word in str(caught.value) for word in [*words, folder]), caught.value


def test_an_empty_pool_and_layers_left_out_are_named(tmp_path, pool):
    backbone = tiny_vit()
    with pytest.raises(FrostlineError, match=r"empty pool.*pool=A,B.*warm=2"):
        LoraFusion(warm=0).grow(backbone, 0)
    folders = pool(backbone)
    with pytest.raises(FrostlineError, match=r"blocks\.0\.attn\.proj.*layers '1-2'"):
        LoraFusion(pool=folders, layers="1-2").grow(backbone, 0)
    with pytest.raises(FrostlineError, match="is no folder"):
        LoraFusion(pool=(str(tmp_path / "nowhere"),)).grow(backbone, 0)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / CONFIG).write_text(json.dumps({"peft_type": "LORA"}))
    with pytest.raises(FrostlineError, match=WEIGHTS):
        LoraFusion(pool=(str(tmp_path / "bare"),)).grow(backbone, 0)
