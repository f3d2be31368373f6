"""The bundled vit-micro: the shipped files, the recipe on a miniature, its errors, its worth on real data."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from micro_makers import CPU, class_folders
from PIL import Image
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from backbones.core.artifacts import digest_tensors, load_tensors
from backbones.core.errors import FrostlineError
from backbones.core.seed import numpy_generator
from backbones.recipes import vit_micro
from backbones.recipes.evaluate import class_means, features
from backbones.recipes.images import read_class_folders, to_unit
from backbones.recipes.teacher import cached_targets, load_teacher


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def miniature_teacher(path: Path, classes: int = 3, **changes) -> Path:
    kwargs = {"img_size": 32, "patch_size": 16, "embed_dim": 192, "depth": 2, "num_heads": 3, "num_classes": classes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = VisionTransformer(**(kwargs | changes))
    save_file({name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    root = tmp_path_factory.mktemp("miniature")
    data = class_folders(root / "data" / "train", 3, 8)
    class_folders(data / "val", 3, 4)
    return data, miniature_teacher(root / "teacher.safetensors")


def words(miniature, out: Path, *more: str) -> list[str]:
    data, teacher = miniature
    short = ["--steps", "3", "--batch", "8", "--shard", "4", "--teacher-size", "32"]
    return ["--data", str(data), "--teacher", str(teacher), "--out", str(out), *short, *more]


# the shipped files


@pytest.fixture(scope="module")
def shipped():
    return vit_micro.load(vit_micro.SHIPPED)


def test_shipped_weights_are_small_fp16_and_fit_the_config():
    config = json.loads((vit_micro.SHIPPED / "vit_micro.json").read_text())
    path = vit_micro.SHIPPED / config["weights"]
    tensors, _ = load_tensors(path)
    model = VisionTransformer(**config["kwargs"])
    assert path.stat().st_size <= 8_000_000
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert set(tensors) == set(model.state_dict())
    assert config["digest"] == digest_tensors(tensors)
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    assert (config["size"], config["interpolation"]) == (32, "bicubic")
    assert config["kwargs"] == vit_micro.KWARGS
    assert (vit_micro.SHIPPED / config["notes"]["card"]).is_file()
    assert "non-commercial" in config["notes"]["licence"]


def test_shipped_weights_are_found_without_a_checkout():
    found = importlib.util.find_spec("backbones.weights")
    assert found is not None and found.origin is not None
    assert (Path(found.origin).parent / "vit_micro.safetensors").is_file()


def test_shipped_features_are_deterministic_finite_and_tell_images_apart(shipped):
    images = numpy_generator(3, "images").integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    once, again = features(shipped, images, CPU), features(shipped, images, CPU)
    assert once.shape == (6, 192) and once.dtype == np.float32
    assert np.array_equal(once, again) and np.isfinite(once).all()
    assert np.linalg.norm(once[0] - once[1]) > 1e-3


# the recipe end to end


def test_recipe_trains_writes_and_repeats_itself_whatever_the_workers(miniature, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(vit_micro.KWARGS, "depth", 2)
    assert vit_micro.main(words(miniature, tmp_path / "a", "--evaluate", str(miniature[0]))) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {"train images", "test images", "linear probe", "ncm"}
    assert (figures["train images"], figures["test images"]) == (24, 12)
    assert json.loads((tmp_path / "a" / "figures.json").read_text()) == figures
    assert vit_micro.main(words(miniature, tmp_path / "b", "--workers", "2")) == 0
    one, _ = load_tensors(tmp_path / "a" / "vit_micro.safetensors")
    two, _ = load_tensors(tmp_path / "b" / "vit_micro.safetensors")
    assert digest_tensors(one) == digest_tensors(two)
    record = json.loads((tmp_path / "a" / "training.json").read_text())
    assert (record["steps"], record["images"], record["epochs"]) == (3, 24, 1.0)
    assert vit_micro.main(words(miniature, tmp_path / "c", "--seed", "1")) == 0
    other, _ = load_tensors(tmp_path / "c" / "vit_micro.safetensors")
    assert digest_tensors(other) != digest_tensors(one)


def test_teacher_cache_goes_on_where_it_stopped_and_asks_the_teacher_once(miniature, tmp_path):
    data, path = miniature
    teacher = load_teacher(path, 32)
    found = read_class_folders(data / "train", 32)
    order = numpy_generator(0, "order").permutation(len(found.images))

    def answers(count: int, seen: list[int], folder: str = "cache"):
        return cached_targets(
            teacher, found.images, found.digest, order, count, 8, tmp_path / folder, CPU,
            progress=lambda phase, done, total: seen.append(done),
        )  # fmt: skip

    seen: list[int] = []
    first = answers(10, seen).copy()
    more = answers(24, seen).copy()
    assert more.shape == (24, 65, 192) and np.array_equal(first, more[:10])
    assert seen == [10, 24]
    answers(24, seen)
    assert seen == [10, 24]
    assert np.allclose(answers(24, [], "fresh"), more, atol=2e-2)
    whole = teacher.model.forward_features(to_unit(found.images[order[:4]], CPU))[:, 0]
    assert np.allclose(more[:4, 0], whole.numpy(), atol=2e-2)


# errors


def refused(capsys, arguments: list[str]) -> str:
    assert vit_micro.main(arguments) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    message = told.splitlines()[-1]
    assert message.startswith("error:")
    return message


def test_missing_options_are_named(capsys):
    message = refused(capsys, ["--data", "somewhere"])
    assert "--teacher" in message and "--out" in message and "FILE.safetensors" in message


def test_missing_data_says_what_to_pass(miniature, tmp_path, capsys):
    message = refused(capsys, ["--data", str(tmp_path), "--teacher", str(miniature[1]), "--out", str(tmp_path / "o"),
                               "--teacher-size", "32"])  # fmt: skip
    assert str(tmp_path / "train") in message and "--data DIR" in message and "train/<class>/<image>" in message


def test_missing_and_wrong_teachers_say_what_to_pass(miniature, tmp_path, capsys):
    absent = words((miniature[0], tmp_path / "no.safetensors"), tmp_path / "o")
    assert "no.safetensors does not exist" in refused(capsys, absent)
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    other = words((miniature[0], tmp_path / "other.safetensors"), tmp_path / "o")
    assert "--teacher FILE.safetensors" in refused(capsys, other)
    few = miniature_teacher(tmp_path / "few.safetensors", classes=2)
    assert "3 classes and the teacher's head 2" in refused(capsys, words((miniature[0], few), tmp_path / "o"))
    narrow = miniature_teacher(tmp_path / "narrow.safetensors", embed_dim=64, num_heads=1)
    assert "64 wide and the student 192" in refused(capsys, words((miniature[0], narrow), tmp_path / "o"))
    assert "no multiple" in refused(capsys, words(miniature, tmp_path / "o", "--teacher-size", "40"))


def test_empty_classes_and_broken_images_are_named(tmp_path):
    class_folders(tmp_path / "data" / "train", 2, 1)
    (tmp_path / "data" / "train" / "n01" / "0.png").write_bytes(b"no image")
    with pytest.raises(FrostlineError, match=r"cannot read the image .*n01.0\.png: it is no image"):
        read_class_folders(tmp_path / "data" / "train", 32)
    (tmp_path / "data" / "train" / "n01" / "0.png").unlink()
    with pytest.raises(FrostlineError, match="n01 holds no image"):
        read_class_folders(tmp_path / "data" / "train", 32)


def test_decoded_images_are_cached_until_the_files_change(tmp_path):
    root = class_folders(tmp_path / "data" / "train", 2, 2) / "train"
    calls: list[int] = []
    read = lambda: read_class_folders(root, 32, tmp_path / "cache", lambda *told: calls.append(1))  # noqa: E731
    first, second = read(), read()
    assert len(calls) == 1 and np.array_equal(first.images, second.images)
    Image.new("RGB", (40, 20), (255, 0, 0)).save(root / "n00" / "0.png")
    third = read()
    assert len(calls) == 2 and third.images.shape == (4, 32, 32, 3)
    assert third.images[0, 16, 16].tolist() == [255, 0, 0] and third.digest != first.digest


@pytest.mark.data
def test_shipped_features_beat_random_ones_on_cifar100(shipped):
    """NCM on CIFAR-100: the first 50 training and 20 test images of each class, 5,000 and 2,000 images."""
    here = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    data = Path(os.environ.get("FROSTLINE_SHARED_DATA", str(here)))
    if not (data / "vision" / "cifar100.npz").is_file():
        pytest.skip(f"CIFAR-100 is not at {data}; set FROSTLINE_SHARED_DATA")
    spec = importlib.util.spec_from_file_location("unpack", data / "unpack.py")
    assert spec is not None and spec.loader is not None
    unpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpack)
    archive = np.load(data / "vision" / "cifar100.npz", allow_pickle=False)

    def first(split: str, count: int) -> np.ndarray:
        buffer, offsets = archive[f"{split}_webp"], archive[f"{split}_off"]
        return np.concatenate([unpack.mosaic_tiles(buffer, offsets, index, 32)[:count] for index in range(100)])

    known, asked = first("train", 50), first("test", 20)
    labels, truth = np.repeat(np.arange(100), 50), np.repeat(np.arange(100), 20)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        random = VisionTransformer(**vit_micro.KWARGS).eval()

    def accuracy(model: VisionTransformer) -> float:
        return float(np.mean(class_means(features(model, known, CPU), labels, features(model, asked, CPU)) == truth))

    assert accuracy(shipped) > accuracy(random) + 0.15
