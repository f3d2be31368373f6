"""Files of weights as training codes, downloads and hubs leave them."""

import argparse
import enum
import json
import pathlib
import pickle

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from backbones.catalog import load_backbone
from backbones.core.errors import FrostlineError
from backbones.core.inert import load_torch, named_tensors
from backbones.testing import tiny_bert, tiny_vit
from backbones.weightfiles import check_folder, fit, read_weights


@pytest.fixture(scope="module")
def source():
    return tiny_vit(seed=1).module


@pytest.fixture
def body(source):
    return {name: value.clone() for name, value in source.state_dict().items()}


def under(prefix, tensors):
    return {prefix + name: value for name, value in tensors.items()}


def fitted(path, source, module=None):
    """Fit a file to another model of the same shape; returns what was said, all weights being those of ``source``."""
    module = module or tiny_vit(seed=2).module
    notes = fit(module, read_weights(path), path)
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in module.state_dict().items())
    return notes


class Settings(dict):
    """What a training code keeps beside its weights: a dictionary of a class of its own."""

    def __setitem__(self, key, value):
        pytest.fail("code of a class that a file names was run")


class Mode(enum.Enum):
    FAST = "fast"


class Ran:
    def __reduce__(self):
        return (pytest.fail, ("code of a pickle was run",))


NESTS = {
    "plain": lambda t: t,
    "model_state_dict": lambda t: {"model_state_dict": t, "epoch": 3, "optimizer": {"state": {0: torch.ones(2)}}},
    "two deep": lambda t: {"checkpoint": {"net": t}, "scores": [1.0]},
    "three deep": lambda t: {"a": {"b": {"params": t}}},
    "a name nobody knows": lambda t: {"gewichte": t},
}


@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize("prefix", ["", "module.", "model.encoder.", "student.backbone.", "_orig_mod.", "any.thing."])
def test_the_models_own_names_are_looked_for_under_any_keys_and_prefix(tmp_path, source, body, nest, prefix):
    content = {**under(prefix, body), "fc.weight": torch.ones(7, 24), "criterion.scale": torch.ones(1)}
    torch.save(NESTS[nest](content), tmp_path / "last.pth.tar")
    notes = fitted(tmp_path / "last.pth.tar", source)
    assert any("criterion.scale" in note for note in notes) and any("fc.weight" in note for note in notes)


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin", "W.PTH", "w.ckpt", "w", "w.weights"])
def test_the_content_of_a_file_says_what_it_is_not_its_name(tmp_path, source, body, name):
    save_file(under("_orig_mod.module.", body), tmp_path / name)
    fitted(tmp_path / name, source)


def test_wrappers_between_names_are_no_part_of_them(tmp_path, source, body):
    torch.save(
        {name.replace("blocks.1.", "blocks.1._orig_mod."): value for name, value in body.items()}, tmp_path / "w"
    )
    fitted(tmp_path / "w", source)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("legacy", [False, True])
def test_objects_beside_the_tensors_are_passed_over_and_never_made(tmp_path, source, body, protocol, legacy):
    settings = Settings()
    dict.__setitem__(settings, "lr", 0.1)
    beside = [argparse.Namespace(lr=0.1), pathlib.Path("x"), np.float64(0.5), np.ones(3), Mode.FAST, settings, {1, 2}]
    content = {"model": body, "beside": beside, "attack": Ran(), Mode.FAST: 1}
    torch.save(content, tmp_path / "w.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    fitted(tmp_path / "w.pt", source)


def test_a_pickled_model_shows_its_tensors(tmp_path, source):
    torch.save({"ema": source, "epoch": 1}, tmp_path / "model.pt")
    assert {name.removeprefix("ema.") for name in read_weights(tmp_path / "model.pt")} == set(source.state_dict())
    fitted(tmp_path / "model.pt", source)


def test_a_file_cannot_change_a_function_that_reads_tensors(tmp_path):
    changed = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x04\x00\x00\x00evilK\x01sb."
    (tmp_path / "w").write_bytes(changed)
    with pytest.raises(FrostlineError, match="cannot be read"):
        load_torch(tmp_path / "w")
    assert not hasattr(torch._utils._rebuild_tensor_v2, "evil")


def test_cycles_end_and_a_tensor_alone_has_no_name():
    loop = {"a": torch.ones(1)}
    loop["again"] = loop
    assert set(named_tensors(loop)) == {"a"}
    assert set(named_tensors(torch.ones(1))) == {""}


def test_the_copy_that_is_evaluated_is_taken_and_said(tmp_path, source, body):
    other = {name: value + 1 for name, value in body.items()}
    torch.save({"state_dict": other, "state_dict_ema": body}, tmp_path / "w.pt")
    assert "'state_dict_ema' was taken, not 'state_dict'" in fitted(tmp_path / "w.pt", source)[0]
    torch.save({"student": under("backbone.", other), "teacher": under("backbone.", body)}, tmp_path / "w.pt")
    assert "'teacher.backbone' was taken, not 'student.backbone'" in fitted(tmp_path / "w.pt", source)[0]
    wider = {name: value.repeat(2, *[1] * (value.ndim - 1)) for name, value in body.items()}
    torch.save({"teacher": wider, "student": body}, tmp_path / "w.pt")  # of another width: no copy
    assert not any("copies" in note for note in fitted(tmp_path / "w.pt", source))


@pytest.mark.parametrize("name", ["blocks.3.norm1.weight", "norm_pre.weight", "reg_token", "blocks.0.attn.lora_a"])
def test_what_belongs_to_another_shape_of_the_model_is_a_misfit(tmp_path, source, body, name):
    save_file({**body, name: torch.ones(24)}, tmp_path / "w")
    with pytest.raises(FrostlineError, match=rf"1 left over \({name}\)"):
        fitted(tmp_path / "w", source)


def test_a_file_of_another_model_is_told_by_the_keys_found(tmp_path, source):
    torch.save({"net": {"conv1.weight": torch.ones(2), "layer1.0.bias": torch.ones(2)}}, tmp_path / "w.pth")
    with pytest.raises(FrostlineError, match=r"missing \(cls_token.*2 left over \(net.conv1.weight, net.layer1.0.bias"):
        fitted(tmp_path / "w.pth", source)


IMPOSTORS = {
    b"": "is empty",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n": "git lfs pull",
    b"\n<!DOCTYPE html><html>": "is a web page",
    b"<html><head>": "is a web page",
    b"\x1f\x8b\x08": "gzip",
}


@pytest.mark.parametrize("content", IMPOSTORS)
@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "pytorch_model.bin"])
def test_what_stands_in_place_of_a_file_is_named(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FrostlineError, match=rf"{name} cannot be read as weights: it .*{IMPOSTORS[content]}"):
        read_weights(tmp_path / name)


def test_a_folder_in_place_of_a_file_is_named_with_the_file_in_it(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(FrostlineError, match=r"it is a folder; pass .*model\.safetensors"):
        read_weights(tmp_path)


def test_a_file_in_place_of_a_folder_is_named_with_what_to_do(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(FrostlineError, match=r"is a file; pass the folder that holds it, or .* --weights .*model"):
        load_backbone(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("kind", ["image", "text"])
def test_folders_that_are_not_whole_are_named_before_they_are_read(tmp_path, kind):
    if kind == "image":
        timm.models._hub.save_for_hf(timm.create_model("test_vit"), tmp_path, safe_serialization="both")
    else:
        backbone = tiny_bert()
        backbone.module.save_pretrained(tmp_path)
        backbone.preprocessing.tokenizer.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(next(content for content in IMPOSTORS if b"lfs" in content))
    with pytest.raises(FrostlineError, match=r"not whole: model\.safetensors is a pointer of Git LFS"):
        load_backbone(str(tmp_path))
    weights.write_bytes(whole[:-10])
    with pytest.raises(FrostlineError, match=r"model\.safetensors"):
        load_backbone(str(tmp_path))


def test_a_missing_shard_is_named(tmp_path):
    shards = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict(zip("abc", shards, strict=True))})
    )
    (tmp_path / shards[0]).write_bytes(b"x")
    with pytest.raises(FrostlineError, match=rf"2 of 3 shards .* are missing \({shards[1]}, {shards[2]}\)"):
        check_folder(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1")  # is not read
    with pytest.raises(FrostlineError, match="shards"):
        check_folder(tmp_path)
    for shard in shards:
        (tmp_path / shard).write_bytes(b"x")
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": "lost.bin"}}))
    (tmp_path / "notes.txt").write_text("")
    check_folder(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(FrostlineError, match="cannot be read as an index of shards"):
        check_folder(tmp_path)


@pytest.mark.parametrize("safe", [True, False, "both"])
@pytest.mark.parametrize("sizes", [{"img_size": 32, "patch_size": 8}, {"img_size": (32, 32), "patch_size": (8, 8)}])
def test_folders_that_timm_writes_are_backbones(tmp_path, safe, sizes):
    with torch.random.fork_rng(devices=[]):
        model = timm.create_model("test_vit", num_classes=3, depth=1, **sizes).eval()
    timm.models._hub.save_for_hf(model, tmp_path, safe_serialization=safe)
    backbone = load_backbone(str(tmp_path))
    images = torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)
    with torch.no_grad():
        wanted = model.forward_head(model.forward_features(images), pre_logits=True)
        assert torch.equal(backbone.features(images), wanted)
    assert (backbone.patch, backbone.tokens) == (8, 17)


def test_a_pickle_that_is_no_file_of_torch_is_refused(tmp_path):
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(FrostlineError, match="cannot be read as plain tensors"):
        read_weights(tmp_path / "w.pth")


def test_scripts_are_refused(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "w.pt")
    with pytest.raises(FrostlineError, match="TorchScript"):
        read_weights(tmp_path / "w.pt")
