"""The registered benchmarks: the field's class counts and protocols, and the contract for all that load offline."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cifar_archives import write_cifar10, write_cifar100
from PIL import Image
from text_makers import csv_bytes, intents, write_banking, write_clinc

from backbones.core.errors import FrostlineError
from benchmarks.catalog import BENCHMARKS
from benchmarks.named import FolderBenchmark
from benchmarks.streams import experience_sizes, make_stream
from benchmarks.testing import check_benchmark

FIELD = {
    "split-cifar100": (100, 10, 10),
    "split-cifar10": (10, 2, 5),
    "split-imagenet-r": (200, 20, 10),
    "split-imagenet-a": (200, 20, 10),
    "split-cub200": (200, 10, 20),
    "split-vtab": (50, 10, 5),
    "split-omnibenchmark": (300, 30, 10),
    "split-digits": (10, 2, 5),
    "split-clinc150": (150, 10, 15),
    "split-banking77": (77, 7, 11),
}
BROUGHT = [name for name in sorted(FIELD) if isinstance(BENCHMARKS.load(name), FolderBenchmark)]


def miniature(root: Path, name: str) -> str | None:
    """Write data for ``name`` under ``root`` in a layout that it reads; None for one that is built in."""
    if name == "split-digits":
        return None
    if name == "split-cifar10":
        write_cifar10(root)
    elif name == "split-cifar100":
        write_cifar100(root)
    elif name == "split-clinc150":
        write_clinc(root / "data_full.json")
    elif name == "split-banking77":
        write_banking(root)
    elif name == "text":
        for part, rows in zip(("train", "test"), intents(7, 21, 14), strict=True):
            (root / f"{part}.csv").write_bytes(csv_bytes(rows))
    else:
        write_classes(root, FIELD.get(name, (7, 0, 0))[0])
    return str(root)


def write_classes(root: Path, classes: int) -> None:
    """Write class folders with one image of one colour each."""
    for label in range(classes):
        for split in ("train", "test"):
            folder = root / split / f"class_{label}"
            folder.mkdir(parents=True)
            Image.new("RGB", (2, 2), (label % 256, label // 256, len(split))).save(folder / "0.ppm")


@pytest.mark.parametrize("name", BENCHMARKS.names())
def test_every_registered_benchmark_keeps_the_contract_on_miniature_data(name: str, tmp_path: Path) -> None:
    data_root = miniature(tmp_path, name)
    dataset = check_benchmark(BENCHMARKS.load(name), data_root=data_root)
    assert dataset.name == name
    assert len(dataset.class_names) == FIELD.get(name, (7, 0, 0))[0]


@pytest.mark.parametrize("name", sorted(FIELD))
def test_the_protocol_is_the_field_s(name: str) -> None:
    classes, increment, experiences = FIELD[name]
    benchmark = BENCHMARKS.load(name)
    assert (benchmark.init_classes, benchmark.increment) == (0, increment)
    assert experience_sizes(classes, benchmark.init_classes, benchmark.increment).sizes == (increment,) * experiences


@pytest.mark.parametrize("name", BROUGHT)
def test_sets_without_a_download_say_what_they_need(name: str, tmp_path: Path) -> None:
    with pytest.raises(FrostlineError, match=rf"{name} needs --data-root DIR with DIR/train.*{FIELD[name][0]} classes"):
        BENCHMARKS.load(name).load()
    miniature(tmp_path, "folder")
    with pytest.raises(FrostlineError, match=rf"has 7 classes but {name} has {FIELD[name][0]}.*--benchmark folder"):
        BENCHMARKS.load(name).load(data_root=str(tmp_path))


def test_cifar_is_read_from_class_folders_too(tmp_path: Path) -> None:
    write_classes(tmp_path, 100)
    dataset = check_benchmark(BENCHMARKS.load("split-cifar100"), data_root=str(tmp_path))
    assert dataset.class_names[:2] == ("class_0", "class_1")
    assert dataset.train[0].shape == (2, 2, 3)


def test_digits_are_scikit_learn_s_in_a_fixed_division() -> None:
    from sklearn.datasets import load_digits

    peer = load_digits()
    dataset = BENCHMARKS.load("split-digits").load()
    assert (len(dataset.train), len(dataset.test)) == (1347, 450)
    share = np.bincount(dataset.test.labels) / np.bincount(peer.target)
    assert np.abs(share - 0.25).max() < 0.005
    both = [(part[row], label) for part in (dataset.train, dataset.test) for row, label in enumerate(part.labels)]
    found = sorted((label, np.rint(image[..., 0] / 255 * 16).tobytes()) for image, label in both)
    wanted = zip(peer.images, peer.target, strict=True)
    assert found == sorted((label, image.tobytes()) for image, label in wanted)
    assert all((image == image[..., :1]).all() for image, _ in both)
    assert max(int(image.max()) for image, _ in both) == 255
    # A division that moved would make figures of different versions incomparable.
    assert hashlib.sha256(dataset.test.digests().tobytes()).hexdigest()[:16] == "0a88b1d8fdad7e63"


def test_digits_take_no_data_root(tmp_path: Path) -> None:
    with pytest.raises(FrostlineError, match=r"split-digits comes with scikit-learn.*leave it out"):
        BENCHMARKS.load("split-digits").load(data_root=str(tmp_path))


def test_an_unknown_benchmark_offers_the_nearest() -> None:
    with pytest.raises(FrostlineError, match=r"unknown benchmark 'split-cifar1000'\. Did you mean 'split-cifar100'"):
        BENCHMARKS.load("split-cifar1000")


def test_the_catalogue_is_light() -> None:
    code = (
        "import sys, benchmarks.catalog as c; c.BENCHMARKS.entries(); "
        "print([m for m in ('torch', 'sklearn', 'avalanche', 'PIL', 'numpy') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def count_files(root: Path) -> int:
    return sum(1 for path in root.rglob("*.png") if path.is_file())


def unpack(shared_data: Path, destination: Path, *options: str) -> None:
    subprocess.run([sys.executable, str(shared_data / "unpack.py"), "cifar100", str(destination), *options], check=True)


@pytest.mark.data
def test_a_part_of_the_real_cifar100(shared_data: Path, tmp_path: Path) -> None:
    unpack(shared_data, tmp_path, "--train-per-class", "3", "--test-per-class", "2")
    dataset = check_benchmark(BENCHMARKS.load("split-cifar100"), data_root=str(tmp_path))
    assert (len(dataset.train), len(dataset.test)) == (300, 200) == (count_files(tmp_path / "train"), 200)
    assert dataset.class_names[:3] == ("apple", "aquarium_fish", "baby")
    archive = np.load(shared_data / "vision" / "cifar100.npz")
    assert list(dataset.class_names) == archive["classes"].tolist()
    assert dataset.train[0].shape == (32, 32, 3)
    stream = make_stream(dataset, init_classes=50, increment=5)
    assert [len(experience.train) for experience in stream.experiences] == [150] + [15] * 10


@pytest.mark.data
@pytest.mark.slow
def test_the_whole_real_cifar100(shared_data: Path, tmp_path: Path) -> None:
    unpack(shared_data, tmp_path)
    dataset = BENCHMARKS.load("split-cifar100").load(data_root=str(tmp_path))
    stream = make_stream(dataset, increment=10)
    assert [len(experience.train) for experience in stream.experiences] == [5000] * 10
    assert [len(experience.test) for experience in stream.experiences] == [1000] * 10
    assert np.bincount(dataset.train.labels).tolist() == [500] * 100
