"""Backbones by name: files and folders that fit, and every error on the way."""

import pickle
import shutil

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from backbones.catalog import LoadOptions, load_backbone
from backbones.core.errors import FrostlineError
from backbones.core.preprocess import Preprocessing
from backbones.testing import check_backbone
from backbones.weightfiles import read_weights

TIMM = "timm:test_vit"  # 160 px, patch 16, 64 wide, 6 deep


def random_images(side, count=3):
    return list(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model("test_vit", num_classes=7).eval()


@pytest.fixture
def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def said(name, **options):
    with pytest.raises(FrostlineError) as caught:
        load_backbone(name, LoadOptions(**options))
    return str(caught.value)


# names


def test_unknown_names_are_answered_with_the_nearest():
    assert (
        "unknown backbone 'bundled:vit-mirco': no such name and no such folder. Did you mean 'bundled:vit-micro'?"
        in (said("bundled:vit-mirco"))
    )
    assert "'timm:vit_tiny_patch16_224'" in said("vit_tiny_patch16_224")
    assert "'hf:facebook/dinov2-small'" in said("facebook/dinov2-small")
    assert "Known: DIR, bundled:vit-micro, hf:*, minilm, minilm-mlm, timm:*" in said("tmmi:vit_tiny_patch16_224")
    assert "timm:bundled" not in said("bundled:vit-mirco")


@pytest.mark.parametrize("name", ["DIR", "timm:*", "hf:*", "", "no/such/folder"])
def test_patterns_of_the_table_are_no_names(name):
    assert f"unknown backbone {name!r}" in said(name)


def test_unknown_timm_models_and_weights_are_named():
    assert "timm has no model 'vit_tiny_patch16_242'. Did you mean timm:vit_tiny_patch16_224" in (
        said("timm:vit_tiny_patch16_242")
    )
    assert "timm has no model 'zzzz'. Did you mean timm:vit" in said("timm:zzzz")
    text = said("timm:test_vit.r160_in22k")
    assert "timm has no weights 'r160_in22k' of 'test_vit'" in text and "test_vit.r160_in1k" in text


def test_a_timm_model_without_known_sites_is_refused_before_anything_is_read():
    text = said("timm:resnet18", weights="/no/such/file", image_size=64)
    assert "'timm:resnet18' is a ResNet, whose sites are not known" in text
    assert "VisionTransformer" in text and "backbones.models" in text


def test_images_smaller_than_a_patch_are_refused(tmp_path):
    assert "image size 8 is smaller than a patch of backbone 'timm:test_vit' (16 pixels)" in said(TIMM, image_size=8)
    assert "image size 3 is smaller than a patch" in said("bundled:vit-micro", image_size=3)
    hf_folder(tmp_path / "vit", "ViT")
    assert "image size 2 is smaller than a patch" in said(str(tmp_path / "vit"), image_size=2)


def test_an_unknown_preprocessing_is_named():
    assert "Did you mean 'crop'" in said("bundled:vit-micro", preprocessing="corp")


def test_loading_touches_no_global_generator(tmp_path, weights):
    save_file(weights, tmp_path / "w.safetensors")
    hf_folder(tmp_path / "vit", "ViT")
    before = torch.get_rng_state()
    load_backbone("bundled:vit-micro")
    load_backbone(TIMM, LoadOptions(tmp_path / "w.safetensors"))
    load_backbone(str(tmp_path / "vit"))
    assert torch.equal(torch.get_rng_state(), before)


# the bundled one


def test_the_bundled_backbone_loads_and_takes_another_size():
    usual = load_backbone("bundled:vit-micro")
    assert (usual.depth, usual.width, usual.patch, usual.tokens, usual.notes) == (6, 192, 4, 65, ())
    larger = load_backbone("bundled:vit-micro", LoadOptions(image_size=48, preprocessing="crop"))
    assert larger.tokens == 145 and (larger.preprocessing.size, larger.preprocessing.mode) == (48, "crop")
    assert larger.notes == ("resampled the position embeddings to a grid of 12 x 12 patches",)
    assert larger.features(larger.preprocessing(random_images(20))).shape == (3, 192)


# timm with a local file


def test_a_local_file_gives_timms_features_and_its_head_is_dropped_and_said(tmp_path, model, weights):
    save_file(weights, tmp_path / "w.safetensors")
    backbone = load_backbone(TIMM, LoadOptions(tmp_path / "w.safetensors"))
    assert backbone.notes == ("dropped the classifier of 7 classes in w.safetensors (head.bias, head.weight)",)
    batch = backbone.preprocessing(random_images(160))
    with torch.no_grad():
        wanted = model.forward_head(model.forward_features(batch), pre_logits=True)
        assert torch.equal(backbone.features(batch), wanted)
    check_backbone(backbone, random_images(24))


def test_half_precision_is_widened_and_differs_by_its_rounding_alone(tmp_path, weights):
    save_file({name: value.half() for name, value in weights.items()}, tmp_path / "w.safetensors")
    backbone = load_backbone(TIMM, LoadOptions(tmp_path / "w.safetensors"))
    state = backbone.module.state_dict()
    assert all(value.dtype == torch.float32 for value in state.values())
    assert all(torch.equal(value, weights[name].half().float()) for name, value in state.items())


@pytest.mark.parametrize("prefix", ["", "module.", "backbone."])
@pytest.mark.parametrize("wrap", [lambda tensors: tensors, lambda tensors: {"state_dict": tensors, "epoch": 3}])
def test_plain_pickles_of_tensors_are_read_whatever_wraps_them(tmp_path, weights, prefix, wrap):
    torch.save(wrap({prefix + name: value for name, value in weights.items()}), tmp_path / "w.pth")
    backbone = load_backbone(TIMM, LoadOptions(tmp_path / "w.pth"))
    assert torch.equal(backbone.module.state_dict()["norm.weight"], weights["norm.weight"])


def test_another_size_resamples_the_position_embeddings_and_says_so(tmp_path, weights):
    save_file(weights, tmp_path / "w.safetensors")
    backbone = load_backbone(TIMM, LoadOptions(tmp_path / "w.safetensors", image_size=64))
    assert backbone.notes[-1] == "resampled the position embeddings to a grid of 4 x 4 patches"
    assert (backbone.tokens, backbone.preprocessing.size) == (backbone.prefix_tokens + 16, 64)
    assert torch.isfinite(backbone.features(backbone.preprocessing(random_images(30)))).all()
    same = load_backbone(TIMM, LoadOptions(tmp_path / "w.safetensors", image_size=160))
    assert len(same.notes) == 1


def misfit(tmp_path, weights, **changes):
    changed = {name: value for name, value in {**weights, **changes}.items() if value is not None}
    save_file(changed, tmp_path / "w.safetensors")
    return said(TIMM, weights=tmp_path / "w.safetensors")


def test_weights_that_do_not_fit_are_told_by_their_keys(tmp_path, weights):
    text = misfit(tmp_path, weights, **{"norm.weight": None, "extra.bias": torch.ones(2), "norm.bias": torch.ones(5)})
    assert "w.safetensors do not fit this backbone" in text and "--backbone" in text
    assert "1 missing (norm.weight)" in text
    assert "1 left over (extra.bias)" in text
    assert "1 of another shape (norm.bias is (5,), needed (64,))" in text


def test_many_misfits_are_counted_and_three_are_named(tmp_path):
    text = misfit(tmp_path, {f"layer{number}": torch.ones(1) for number in range(9)})
    assert "9 left over (layer0, layer1, layer2, ...)" in text and "missing (" in text


@pytest.mark.parametrize("shape", [(1, 18 + 1, 64), (101, 64), (1, 101, 32), (1, 1, 64)])
def test_position_embeddings_of_another_form_are_a_misfit(tmp_path, weights, shape):
    assert f"pos_embed is {shape}" in misfit(tmp_path, weights, pos_embed=torch.ones(shape))


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("code of a pickle was run",))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_a_pickle_with_code_is_not_run(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    torch.save({"a": torch.ones(1), "b": Trap()}, path)
    assert set(read_weights(path)) == {"a"}
    torch.save({"b": Trap()}, path)
    assert f"w{suffix} holds no named tensors" in said(TIMM, weights=path)
    path.write_bytes(pickle.dumps({"b": Trap()}))
    assert "cannot be read as plain tensors" in said(TIMM, weights=path)


def test_files_that_are_missing_truncated_or_hold_no_tensors_are_named(tmp_path, weights):
    for name in ("none.safetensors", "none.pth"):
        assert f"{name} does not exist; pass the path of a .safetensors file" in said(TIMM, weights=tmp_path / name)
    save_file(weights, tmp_path / "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "w.safetensors is not a readable safetensors file" in said(TIMM, weights=tmp_path / "w.safetensors")
    for content in ({"epoch": 3}, [torch.ones(1)], torch.ones(1)):
        torch.save(content, tmp_path / "w.pth")
        assert "w.pth holds no named tensors" in said(TIMM, weights=tmp_path / "w.pth")
    (tmp_path / "folder.pth").mkdir()
    assert "folder.pth cannot be read" in said(TIMM, weights=tmp_path / "folder.pth")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_damaged_pickle_never_ends_in_another_error(tmp_path, legacy):
    tensors = {"a": torch.arange(50.0), "b": torch.ones(3, 4)}
    path = tmp_path / "w.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    draws = np.random.default_rng(0)
    for cut in [0, 1, 2, 10, *draws.integers(0, len(whole), 30).tolist()]:
        path.write_bytes(whole[:cut])
        with pytest.raises(FrostlineError, match=r"w\.pth"):
            read_weights(path)
    refused = 0
    for at in draws.integers(0, 300, 60).tolist():
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            read_weights(path)
        except FrostlineError:
            refused += 1
    assert refused > 5


# folders saved by transformers


def hf_folder(folder, kind, **changes):
    import transformers

    small = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = getattr(transformers, f"{kind}Config")(**{**small, "image_size": 16, "patch_size": 4, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, f"{kind}Model")(config).eval()
    model.save_pretrained(folder)
    return model


TOWERS = {"ViT": 1, "Dinov2": 1, "Dinov2WithRegisters": 3}


@pytest.mark.parametrize("kind", TOWERS)
def test_a_saved_folder_gives_the_towers_own_features(tmp_path, kind):
    extra = {"num_register_tokens": 2} if kind == "Dinov2WithRegisters" else {}
    model = hf_folder(tmp_path / "saved", kind, **extra)
    backbone = load_backbone(str(tmp_path / "saved"))
    assert (backbone.depth, backbone.width, backbone.patch) == (2, 24, 4)
    assert (backbone.prefix_tokens, backbone.tokens) == (TOWERS[kind], 16 + TOWERS[kind])
    assert "mean and std of 0.5 are assumed" in backbone.notes[0]
    batch = backbone.preprocessing(random_images(16))
    with torch.no_grad():
        assert torch.equal(backbone.features(batch), model(pixel_values=batch).last_hidden_state[:, 0])
    check_backbone(backbone, random_images(16))


@pytest.mark.parametrize("kind", TOWERS)
def test_a_saved_folder_takes_another_size_and_says_so(tmp_path, kind):
    hf_folder(tmp_path / "saved", kind)
    backbone = load_backbone(str(tmp_path / "saved"), LoadOptions(image_size=24))
    assert "resampled the position embeddings to a grid of 6 x 6 patches" in backbone.notes
    check_backbone(backbone, random_images(16))


def test_the_preprocessing_of_a_folder_is_used(tmp_path):
    hf_folder(tmp_path / "saved", "ViT")
    settings = (
        '{"image_processor_type": "ViTImageProcessor", "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}'
    )
    (tmp_path / "saved" / "preprocessor_config.json").write_text(settings)
    backbone = load_backbone(str(tmp_path / "saved"))
    assert backbone.notes == ()
    wanted = Preprocessing(16, interpolation="bilinear", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert backbone.preprocessing == wanted  # bilinear is what its class takes where nothing is said


def test_a_folder_needs_no_network_and_does_not_look_for_one(tmp_path, monkeypatch):
    hf_folder(tmp_path / "saved", "ViT")
    monkeypatch.setattr(
        "backbones.hub.socket.create_connection", lambda *args, **kwargs: pytest.fail("looked for a hub")
    )
    assert load_backbone(str(tmp_path / "saved")).depth == 2


def test_a_class_without_known_sites_is_named(tmp_path):
    from transformers import ConvNextConfig, ConvNextModel

    ConvNextModel(ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1])).save_pretrained(tmp_path / "other")
    text = said(str(tmp_path / "other"))
    assert "is a ConvNextModel, whose sites are not known" in text and "Dinov2Model" in text


def test_a_folder_that_lacks_or_breaks_its_files_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "config.json" in said(str(tmp_path / "empty"))
    hf_folder(tmp_path / "saved", "ViT")
    assert "takes no separate weights" in said(str(tmp_path / "saved"), weights=tmp_path / "w.safetensors")
    file = tmp_path / "saved" / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    assert "cannot load the weights of" in said(str(tmp_path / "saved"))
    tensors = read_weights_of(whole, tmp_path)
    lost = next(name for name in tensors if name.endswith("output.dense.weight"))
    save_file({name: value for name, value in tensors.items() if name != lost}, file, {"format": "pt"})
    text = said(str(tmp_path / "saved"))
    assert "do not fit its config.json: 1 keys missing" in text and ".weight)" in text
    file.unlink()
    torch.save(tensors, tmp_path / "saved" / "pytorch_model.bin")
    assert "safetensors" in said(str(tmp_path / "saved"))


def read_weights_of(content, tmp_path):
    (tmp_path / "whole.safetensors").write_bytes(content)
    return read_weights(tmp_path / "whole.safetensors")


def test_the_same_weights_have_the_same_fingerprint_wherever_they_lie(tmp_path):
    hf_folder(tmp_path / "one", "ViT")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    one, two = (load_backbone(str(tmp_path / name)) for name in ("one", "two"))
    assert one.fingerprint() == two.fingerprint()
    other = load_backbone(str(tmp_path / "one"), LoadOptions(image_size=24))
    assert other.fingerprint() != one.fingerprint()
