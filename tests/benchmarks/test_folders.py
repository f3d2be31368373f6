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
from benchmarks.catalog import BENCHMARKS
from benchmarks.folders import read_folders
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
    for suffix in (".JPG", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff"):
        fill(tmp_path, {"train/a": 1}, suffix)
    samples = read_folders(tmp_path).train
    assert len(samples) == 8
    assert {samples[index].shape for index in range(8)} == {(3, 4, 3)}


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


def test_images_one_folder_too_deep_are_found_out(tmp_path: Path) -> None:
    assert_refused(
        tmp_path, {"train/a/images": 2, "test/a": 1}, r"train/a has no images .*has the folder 'images': move its"
    )


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
