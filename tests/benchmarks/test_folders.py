"""Class folders: what is listed, in which order, and one clear error for each way to get the layout wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from backbones.core.errors import FrostlineError
from backbones.core.images import image_suffixes
from benchmarks.catalog import BENCHMARKS
from benchmarks.folders import list_classes, read_folders
from benchmarks.testing import check_benchmark


def fill(root: Path, counts: Mapping[str, int], suffix: str = ".png") -> Path:
    """Write ``counts`` images, such as ``{"train/cat": 3}``; no two are alike."""
    for place, count in counts.items():
        (root / place).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            colour = (len(place) * 7 % 256, sum(place.encode()) % 256, number)
            Image.new("RGB", (4, 3), colour).save(root / place / f"{number}{suffix}")
    return root


WELL = {"train/ant": 3, "train/bee": 2, "test/ant": 1, "test/bee": 2}


def test_the_folder_benchmark_keeps_the_contract(tmp_path: Path) -> None:
    dataset = check_benchmark(BENCHMARKS.load("folder"), data_root=str(fill(tmp_path, WELL)))
    assert dataset.class_names == ("ant", "bee")
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1]
    assert dataset.test.labels.tolist() == [0, 1, 1]


def test_val_stands_in_for_test_and_test_goes_first(tmp_path: Path) -> None:
    fill(tmp_path, {"train/a": 1, "val/a": 3})
    assert len(read_folders(tmp_path).test) == 3
    fill(tmp_path, {"test/a": 2})
    assert len(read_folders(tmp_path).test) == 2


def test_stray_files_and_hidden_folders_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, {**WELL, "train/.cache": 1, "test/.cache": 1})
    for stray in ("train/readme.txt", "train/ant/list.csv", "train/ant/._0.png", "train/ant/.x.png", "loose.png"):
        (tmp_path / stray).write_text("x")
    (tmp_path / "train/ant/folder.png").mkdir()
    dataset = read_folders(tmp_path)
    assert dataset.class_names == ("ant", "bee")
    assert len(dataset.train) == 5


def test_all_suffixes_count_in_any_case(tmp_path: Path) -> None:
    fill(tmp_path, {"train/a": 1, "test/a": 1})
    suffixes = (
        ".JPG",
        ".jpeg",
        ".bmp",
        ".webp",
        ".ppm",
        ".tif",
        ".tiff",
        ".GIF",
        ".pgm",
        ".jfif",
        ".tga",
        ".pcx",
        ".jp2",
    )
    for suffix in suffixes:
        fill(tmp_path, {"train/a": 1}, suffix)
    samples = read_folders(tmp_path).train
    assert len(samples) == 1 + len(suffixes)
    assert {samples[index].shape for index in range(len(samples))} == {(3, 4, 3)}


def test_whatever_torchvision_lists_is_listed() -> None:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    assert set(IMG_EXTENSIONS) <= image_suffixes()


NAMES = st.sets(st.text("ab0129_", min_size=1, max_size=4), min_size=1, max_size=5)


@settings(deadline=None, max_examples=15)
@given(names=NAMES)
def test_classes_and_images_come_in_the_order_of_torchvision(
    tmp_path_factory: pytest.TempPathFactory, names: set[str]
) -> None:
    from torchvision.datasets import ImageFolder

    root = tmp_path_factory.mktemp("order")
    fill(root, {f"{split}/{name}": 1 + len(name) for split in ("train", "test") for name in names})
    fill(root, {f"train/{name}": 12 for name in names})
    dataset = read_folders(root)
    peer = ImageFolder(str(root / "train"))
    assert list(dataset.class_names) == peer.classes
    assert [(path, label) for path, label in zip(dataset.train.paths, dataset.train.labels, strict=True)] == peer.imgs  # type: ignore[attr-defined]


def test_opaque_images_are_decoded_as_torchvision_does(tmp_path: Path) -> None:
    from torchvision.datasets.folder import pil_loader

    fill(tmp_path, WELL, ".jpg")
    samples = read_folders(tmp_path).train
    assert np.array_equal(samples[1], np.asarray(pil_loader(str(tmp_path / "train/ant/1.jpg"))))


def test_progress_counts_folders(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    read_folders(fill(tmp_path, WELL), "mine", lambda *call: calls.append(call))
    assert calls == [("list mine", done, 4) for done in range(1, 5)]


def assert_refused(root: Path, counts: Mapping[str, int], words: str) -> None:
    fill(root, counts)
    with pytest.raises(FrostlineError, match=words):
        read_folders(root)


def test_a_missing_root_names_what_is_beside_it(tmp_path: Path) -> None:
    (tmp_path / "imagenet-r").mkdir()
    with pytest.raises(FrostlineError, match=r"imagenet_r does not exist\. Did you mean 'imagenet-r'"):
        read_folders(tmp_path / "imagenet_r")


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    with pytest.raises(FrostlineError, match=r"a\.zip is a file; pass the folder that holds DIR/train"):
        read_folders(tmp_path / "a.zip")


def test_no_test_split(tmp_path: Path) -> None:
    assert_refused(
        tmp_path, {"train/a": 1, "train/b": 1}, r"has train but neither test nor val\. Make .*/test/<class>/"
    )


@pytest.mark.parametrize("near", ["tests", "Test", "validation", "vali"])
def test_a_test_split_of_a_nearly_right_name_is_offered(tmp_path: Path, near: str) -> None:
    assert_refused(tmp_path, {"train/a": 1, f"{near}/a": 1}, rf"neither test nor val\. Did you mean '{near}'\?")


def test_no_training_split(tmp_path: Path) -> None:
    assert_refused(tmp_path, {"test/a": 1, "training/a": 1}, r"has test but no train\. Did you mean 'training'\? Make")


def test_neither_split(tmp_path: Path) -> None:
    assert_refused(
        tmp_path, {"ant": 1, "bee": 1}, r"no folder train\. Its folders: ant, bee\. If they are classes, divide"
    )


def test_an_empty_root(tmp_path: Path) -> None:
    assert_refused(tmp_path, {}, r"no folder train\. It has none")


def test_a_split_without_classes(tmp_path: Path) -> None:
    assert_refused(tmp_path, {"train": 2, "test/a": 1}, r"/train has no class folders; make one folder per class")


@pytest.mark.parametrize("place", ["train/bee", "test/bee"])
def test_a_class_folder_without_images_is_named(tmp_path: Path, place: str) -> None:
    assert_refused(tmp_path, {**WELL, place: 0}, rf"the class folder .*{place} has no images \(\.png, \.jpg")


def test_images_in_folders_below_a_class_are_listed_as_torchvision_does(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    fill(tmp_path, {"train/a": 2, "train/a/0": 2, "train/a/z/deep": 1, "train/b/only": 1, "test/a": 1, "test/b": 1})
    (tmp_path / "train/a/0/again").symlink_to(tmp_path / "train/a", target_is_directory=True)
    (tmp_path / "train/b/far").symlink_to(tmp_path / "test/b", target_is_directory=True)
    samples = read_folders(tmp_path).train
    (tmp_path / "train/a/0/again").unlink()  # torchvision goes round in it
    assert list(samples.paths) == [path for path, _ in ImageFolder(str(tmp_path / "train")).imgs]  # type: ignore[attr-defined]


def test_files_that_are_not_used_are_counted_and_named(tmp_path: Path) -> None:
    fill(tmp_path, {**WELL, "val/ant": 1})
    for name in ("notes.txt", "a.heic", "b.heic", "c.HEIC", "d.heic", "no_suffix", ".hidden.png", ".DS_Store"):
        (tmp_path / "train/ant" / name).write_text("x")
    (tmp_path / "train/loose.png").write_text("x")
    os.mkfifo(tmp_path / "test/bee/pipe.png")
    passed, loose, val = read_folders(tmp_path).notes
    assert passed == (
        "8 files were passed over, as they are no images by their names: 4 .heic (a.heic, b.heic, c.HEIC, ...), "
        "2 .png (.hidden.png, pipe.png), 1 .txt (notes.txt), 1 without a suffix (no_suffix)"
    )
    assert loose.endswith("as they lie in no class folder: 1 .png (loose.png)")
    assert "/val is not used, as there is" in val
    assert list_classes(tmp_path / "train")[1].notes[0].startswith("7 files were passed over")
    assert read_folders(fill(tmp_path / "clean", WELL)).notes == ()


def test_a_test_class_that_train_lacks(tmp_path: Path) -> None:
    assert_refused(
        tmp_path, {**WELL, "test/beee": 1}, r"class 'beee' of .*/test is missing in .*/train\. Did you mean 'bee'"
    )


def test_a_training_class_that_test_lacks(tmp_path: Path) -> None:
    extra = {"train/cow": 1, "train/dog": 1}
    assert_refused(tmp_path, {**WELL, **extra}, r"class 'cow' \(and 1 more\) of .*/train is missing in .*/test")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    fill(tmp_path, WELL)
    (tmp_path / "train/ant").chmod(0)
    try:
        with pytest.raises(FrostlineError, match=r"cannot list .*train/ant"):
            read_folders(tmp_path)
    finally:
        (tmp_path / "train/ant").chmod(0o755)
