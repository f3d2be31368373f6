"""The bundled vit-micro: the shipped files, the recipe on a miniature, its errors, its worth on real data."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from backbones.core.artifacts import digest_tensors, load_tensors
from backbones.core.errors import FrostlineError
from backbones.core.seed import numpy_generator, torch_generator
from backbones.recipes import vit_micro
from backbones.recipes.distil import Plan, distil
from backbones.recipes.evaluate import class_means, features
from backbones.recipes.images import augment, read_class_folders, to_unit
from backbones.recipes.orthogonal import Orthogonal, orthogonalise
from backbones.recipes.readers import Lesson, Readers, spread, whitener
from backbones.recipes.student import build_student, choose_patches, cosine_ramp, encode
from backbones.recipes.teacher import cached_targets, load_teacher

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def class_folders(root: Path, classes: int, per_class: int, seed: int = 0) -> Path:
    """Write images whose colour tells their class."""
    draws = numpy_generator(seed, "folders")
    for label in range(classes):
        folder = root / f"n{label:02d}"
        folder.mkdir(parents=True)
        base = draws.integers(40, 216, 3)
        for index in range(per_class):
            noise = draws.integers(-30, 31, (32, 32, 3))
            Image.fromarray((base + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{index}.png")
    return root.parent


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


def tiny_lesson(rows: int = 16) -> Lesson:
    draws = numpy_generator(5, "lesson")
    scores = np.full((rows, 3), 1 / 3, dtype=np.float32)
    targets = draws.normal(size=(rows, 17, 24)).astype(np.float16)
    images = draws.integers(0, 256, (rows, 16, 16, 3), dtype=np.uint8)
    return Lesson(images, np.arange(rows) % 3, targets, scores)


TINY = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 1, "num_heads": 2, "num_classes": 0}


def tiny_student(lesson: Lesson) -> VisionTransformer:
    return build_student(TINY, to_unit(lesson.images, CPU), torch_generator(0, "student"))


def test_a_stopped_run_goes_on_from_its_checkpoint_with_the_same_numbers(tmp_path):
    lesson, plan = tiny_lesson(), Plan(steps=6, batch=4, shard=2)
    whole = tiny_student(lesson)
    distil(whole, lesson, plan, CPU)

    class StoppedError(Exception):
        pass

    def stop(phase: str, done: int, total: int) -> None:
        if done == 4:
            raise StoppedError

    with pytest.raises(StoppedError):
        distil(tiny_student(lesson), lesson, plan, CPU, tmp_path / "c.pt", save_every=0.0, progress=stop)
    resumed = tiny_student(lesson)
    course = distil(resumed, lesson, plan, CPU, tmp_path / "c.pt")
    assert course.step == 6
    assert digest_tensors(resumed.state_dict()) == digest_tensors(whole.state_dict())
    with pytest.raises(FrostlineError, match="other settings"):
        distil(resumed, lesson, Plan(steps=7, batch=4, shard=2), CPU, tmp_path / "c.pt")


@pytest.mark.parametrize(("weight", "columns", "share"), [(0.0, 3, 0.8), (40.0, 4, 0.9)])
def test_distillation_lowers_every_loss_that_has_a_weight(weight, columns, share):
    """Whitened targets take longer: 16 of them have no direction in common that a step could learn at once."""
    plan = Plan(steps=100, batch=16, shard=16, shift=0, jitter=0.0, kept=((0.0, 4),), spread=weight)
    course = distil(tiny_student(tiny_lesson()), tiny_lesson(), plan, CPU)
    first, last = (row[1 : 1 + columns] for row in (course.history[0], course.history[-1]))
    assert all(later < earlier for earlier, later in zip(first, last, strict=True))
    assert last[0] < share * first[0]


def test_a_run_by_the_clock_ends_on_time():
    course = distil(tiny_student(tiny_lesson()), tiny_lesson(), Plan(minutes=0.5 / 60, batch=4), CPU)
    assert 0.5 <= course.seconds < 5 and course.step > 1


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


# laws of the parts


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.sampled_from([2, 4, 8]), st.integers(0, 1000))
def test_kept_patches_are_distinct_and_leave_no_cell_empty(per_cell, grid, seed):
    kept = choose_patches(3, grid, per_cell, torch_generator(seed))
    if per_cell == 4:
        assert kept is None
        return
    assert kept is not None
    for row in kept:
        cells = (row // grid // 2) * (grid // 2) + (row % grid) // 2
        assert len(set(row.tolist())) == len(row)
        assert torch.bincount(cells, minlength=grid * grid // 4).tolist() == [per_cell] * (grid * grid // 4)


def test_encode_is_timms_forward_and_keeping_all_in_order_changes_nothing():
    lesson = tiny_lesson(4)
    model = tiny_student(lesson).eval()
    images = to_unit(lesson.images, CPU)
    full = encode(model, images, None)
    assert torch.equal(full, model.forward_features(images))
    assert torch.allclose(encode(model, images, torch.arange(16).expand(4, -1)), full, atol=1e-6)


def test_augment_without_range_is_the_identity_and_shifts_by_whole_pixels():
    images = torch.rand(5, 3, 8, 8, generator=torch_generator(0))
    assert torch.equal(augment(images, 0, 0.0, torch_generator(1)), images)
    moved = augment(images, 1, 0.0, torch_generator(1))
    inner = [images[:, :, 1 + r : 7 + r, 1 + c : 7 + c] for r in (-1, 0, 1) for c in (-1, 0, 1)]
    for index in range(5):
        assert any(torch.equal(moved[index, :, 1:7, 1:7], view[index]) for view in inner)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 99))
def test_orthogonalise_keeps_directions_and_levels_strengths(rows, columns, seed):
    matrix = torch.randn(2, rows, columns, generator=torch_generator(seed))
    turned = orthogonalise(matrix, rounds=10)
    left, strengths, right = torch.linalg.svd(matrix, full_matrices=False)
    core = left.transpose(1, 2) @ turned @ right.transpose(1, 2)
    assert torch.allclose(left @ core @ right, turned, atol=1e-3)
    levels = torch.diagonal(core, dim1=1, dim2=2)[strengths > 0.02 * strengths.amax(1, keepdim=True)]
    assert bool(((levels > 0.6) & (levels < 1.3)).all())


def test_orthogonal_steps_treat_row_blocks_apart():
    start = torch.randn(6, 2, generator=torch_generator(0))
    gradient = torch.randn(6, 2, generator=torch_generator(1))
    whole = torch.nn.Parameter(start.clone())
    parts = [torch.nn.Parameter(block.clone()) for block in start.chunk(3)]
    whole.grad = gradient
    for part, block in zip(parts, gradient.chunk(3), strict=True):
        part.grad = block.clone()
    Orthogonal([{"params": [whole], "parts": 3}], 0.1).step()
    Orthogonal([{"params": parts}], 0.1).step()
    assert torch.allclose(whole, torch.cat(parts), atol=1e-6)
    assert not torch.allclose(whole, start, atol=1e-3)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 12), st.integers(0, 99))
def test_whitener_is_symmetric_and_gives_the_identity_as_covariance(width, seed):
    generator = torch_generator(seed)
    rows = torch.randn(200, width, generator=generator) @ torch.randn(width, width, generator=generator)
    turn = whitener(rows.double(), floor=0.0)
    assert torch.allclose(turn, turn.T)
    assert torch.allclose(torch.cov((rows.double() @ turn).T), torch.eye(width, dtype=torch.float64), atol=1e-5)


def test_whitener_leaves_a_direction_without_variance_small():
    rows = torch.randn(50, 3, generator=torch_generator(0)) * torch.tensor([3.0, 1.0, 0.0])
    white = rows @ whitener(rows)
    assert white[:, :2].std(0).tolist() == pytest.approx([1, 1], abs=0.05)
    assert white[:, 2].abs().max() < 1e-5


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 9), st.integers(2, 6), st.integers(0, 99))
def test_spread_is_the_mean_squared_cosine_of_all_pairs(count, width, seed):
    unit = torch.nn.functional.normalize(torch.randn(count, width, generator=torch_generator(seed)).double(), dim=-1)
    pairs = [float(unit[i] @ unit[j]) ** 2 for i in range(count) for j in range(count) if i != j]
    assert float(spread(unit)) == pytest.approx(sum(pairs) / len(pairs))


def test_spread_is_least_for_white_features_and_without_bias_from_few_images():
    white = torch.nn.functional.normalize(torch.randn(4096, 16, generator=torch_generator(0)), dim=-1)
    flat = torch.nn.functional.normalize(white * torch.linspace(0.1, 2, 16), dim=-1)
    assert float(spread(white)) == pytest.approx(1 / 16, rel=0.01)
    assert float(spread(flat)) > 1.2 / 16
    shards = torch.stack([spread(shard) for shard in flat.split(8)])
    assert float(shards.mean()) == pytest.approx(float(spread(flat)), rel=0.03)
    assert float(spread(white[:1])) == 0.0


def test_readers_ask_for_whitened_class_tokens_only_when_told():
    draws = torch.randn(500, 24, generator=torch_generator(0)) + torch.randn(500, 1, generator=torch_generator(1))
    targets = torch.cat([draws[:, None], torch.randn(500, 16, 24, generator=torch_generator(2))], dim=1)
    rows = np.zeros((500, 1), dtype=np.uint8)
    lesson = Lesson(rows, np.zeros(500, dtype=np.int64), targets.half().numpy(), np.ones((500, 3), dtype=np.float32))
    for white in (False, True):
        readers = Readers(lesson, 24, torch_generator(0), white)
        seen = torch.cov(((draws - readers.class_mean) @ readers.class_scale).T)
        assert torch.diagonal(seen).tolist() == pytest.approx([1.0] * 24, abs=0.15)
        assert bool(torch.allclose(seen, torch.eye(24), atol=0.15)) is white


def test_students_depend_on_the_generator_only_and_leave_the_global_one_alone():
    lesson = tiny_lesson()
    before = torch.random.get_rng_state()
    one, two = tiny_student(lesson), tiny_student(lesson)
    other = build_student(TINY, to_unit(lesson.images, CPU), torch_generator(1, "student"))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert digest_tensors(one.state_dict()) == digest_tensors(two.state_dict())
    assert digest_tensors(one.state_dict()) != digest_tensors(other.state_dict())


def test_learning_rate_climbs_then_falls_to_nothing():
    rates = [cosine_ramp(done / 100) for done in range(101)]
    top = rates.index(max(rates))
    assert max(rates) == 1.0 and rates[-1] == pytest.approx(0, abs=1e-9)
    assert rates[:top] == sorted(rates[:top]) and rates[top:] == sorted(rates[top:], reverse=True)


def test_class_means_pick_the_nearest_direction_and_ignore_length():
    train = np.array([[1, 0], [5, 0.1], [0, 2], [0.1, 9]], dtype=np.float32)
    labels = np.array([7, 7, 3, 3])
    assert class_means(train, labels, np.array([[90, 10], [0.001, 0.02]], dtype=np.float32)).tolist() == [7, 3]


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
    with pytest.raises(FrostlineError, match=r"n01.0\.png is not a readable image"):
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


# worth on real images


def test_plan_has_all_patches_at_the_end():
    plan = Plan()
    assert plan.per_cell(0.0) < 4 and plan.per_cell(0.999) == 4


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
