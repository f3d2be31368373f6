"""split-clinc150 and split-banking77: the authors' files, from a folder, over loopback, and the real ones."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import numpy as np
import pytest
from loopback import Corrupt, Cut, Loopback
from text_makers import json_bytes, write_banking, write_clinc

from backbones.core.errors import FrostlineError
from benchmarks.catalog import BENCHMARKS
from benchmarks.streams import make_stream
from benchmarks.testing import check_benchmark

CLINC = "/clinc/oos-eval/master/data/data_full.json"
BANKING = "/PolyAI-LDN/task-specific-datasets/master/banking_data/{}.csv"
NAMES = ("split-clinc150", "split-banking77")


@pytest.fixture
def mirror(tmp_path: Path, loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> Loopback:
    """A loopback mirror with both sets, and an empty cache."""
    made = tmp_path / "made"
    made.mkdir()
    loopback.add_file(CLINC, write_clinc(made / "data_full.json"))
    for part, content in zip(("train", "test"), write_banking(made), strict=True):
        loopback.add_file(BANKING.format(part), content)
    monkeypatch.setenv("FROSTLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FROSTLINE_MIRROR", loopback.endpoint)
    return loopback


def paths_of(name: str) -> list[str]:
    return [CLINC] if name == "split-clinc150" else [BANKING.format(part) for part in ("train", "test")]


@pytest.mark.parametrize("name", NAMES)
def test_the_authors_files_are_downloaded_once(mirror: Loopback, tmp_path: Path, name: str) -> None:
    phases: list[str] = []
    files = [path.rpartition("/")[2] for path in paths_of(name)]
    mirror.fault(paths_of(name)[0], Cut(5000))
    dataset = BENCHMARKS.load(name).load(progress=lambda phase, done, total: phases.append(phase))
    assert {f"{verb} {file}" for verb in ("download", "read") for file in files} == set(phases)
    mirror.requests.clear()
    for download in (True, False):
        again = BENCHMARKS.load(name).load(download=download)
        assert np.array_equal(again.train.digests(), dataset.train.digests())
    assert mirror.requests == []
    folder = tmp_path / "home" / "data" / name
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".lock") == sorted(files)


def test_a_damaged_file_in_the_cache_is_downloaded_again(mirror: Loopback, tmp_path: Path) -> None:
    BENCHMARKS.load("split-banking77").load()
    kept = tmp_path / "home" / "data" / "split-banking77" / "test.csv"
    kept.write_bytes(kept.read_bytes()[:5000])
    assert len(BENCHMARKS.load("split-banking77").load().test) == 3080
    assert len(mirror.ranges(BANKING.format("train"))) == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("split-clinc150", b"<html>", r"6 bytes of another content \(.*line 1, column 1 is no JSON"),
        ("split-clinc150", b'{"train": [["a", "b"]], "test": []}', "train has 1 texts but split-clinc150 has 15000"),
        ("split-banking77", b"404", r"3 bytes of another content \(.*has no text column"),
    ],
)
def test_a_download_of_other_content_is_refused(mirror: Loopback, name: str, content: bytes, words: str) -> None:
    mirror.add_file(paths_of(name)[0], content)
    with pytest.raises(FrostlineError, match=rf"{words}.*Nothing was kept.*pass --data-root DIR with DIR/"):
        BENCHMARKS.load(name).load()


def test_fewer_classes_than_published_are_refused_too(mirror: Loopback, tmp_path: Path) -> None:
    mirror.add_file(CLINC, write_clinc(tmp_path / "x.json", classes=149))
    with pytest.raises(FrostlineError, match=r"train has 149 classes but split-clinc150 has 150"):
        BENCHMARKS.load("split-clinc150").load()


def test_a_byte_damaged_on_the_way_is_noticed(mirror: Loopback) -> None:
    mirror.fault(CLINC, Corrupt(at=1000), times=2)
    with pytest.raises(FrostlineError, match=r"of another content .*damaged on its way"):
        BENCHMARKS.load("split-clinc150").load()


@pytest.mark.parametrize("name", NAMES)
def test_downloads_can_be_forbidden(mirror: Loopback, name: str) -> None:
    with pytest.raises(
        FrostlineError, match=rf"{name} is not in the cache .*downloads are off.*--data-root DIR with DIR/"
    ):
        BENCHMARKS.load(name).load(download=False)
    assert mirror.requests == []


def test_without_a_network_the_error_says_what_to_pass(mirror: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    with Loopback() as server:
        monkeypatch.setenv("FROSTLINE_MIRROR", server.endpoint)
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(
        FrostlineError, match=r"cannot download .*--data-root DIR with DIR/train\.csv and DIR/test\.csv"
    ):
        BENCHMARKS.load("split-banking77").load()


def test_clinc_is_read_from_the_file_a_packed_file_and_a_folder(tmp_path: Path) -> None:
    content = write_clinc(tmp_path / "data_full.json")
    packed = tmp_path / "packed"
    packed.mkdir()
    (packed / "clinc150.json.xz").write_bytes(lzma.compress(content, preset=0))
    (packed / "other.json").write_bytes(json_bytes([("a", "b")]))
    benchmark = BENCHMARKS.load("split-clinc150")
    sets = [benchmark.load(data_root=str(root)) for root in (tmp_path / "data_full.json", tmp_path, packed)]
    wanted = json.loads(content)
    for dataset in sets:
        assert [dataset.train[row] for row in range(len(dataset.train))] == [text for text, _ in wanted["train"]]
        assert "oos" not in dataset.class_names  # nor is anything of val or out of scope in training or test
        assert len(dataset.test) == len(wanted["test"])


def test_banking_is_read_from_a_json_file_too(tmp_path: Path) -> None:
    parts = {
        name: [[f"{name} {row}", f"i{row % 77}"] for row in range(n)]
        for name, n in (("train", 10_003), ("test", 3_080))
    }
    (tmp_path / "banking77.json").write_text(json.dumps(parts))
    dataset = BENCHMARKS.load("split-banking77").load(data_root=str(tmp_path))
    assert (dataset.train[10_002], dataset.test.labels[1]) == ("train 10002", 1)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((150, 14_999, 4_500), "has 14999 training texts but split-clinc150 has 15000"),
        ((150, 15_000, 4_499), "has 4499 test texts but split-clinc150 has 4500"),
        ((149, 15_000, 4_500), "has 149 classes but split-clinc150 has 150"),
    ],
)
def test_other_numbers_are_refused(tmp_path: Path, sizes: tuple[int, int, int], words: str) -> None:
    write_clinc(tmp_path / "data_full.json", *sizes)
    with pytest.raises(FrostlineError, match=rf"{words}.*--benchmark text --increment 10"):
        BENCHMARKS.load("split-clinc150").load(data_root=str(tmp_path))
    assert len(BENCHMARKS.load("text").load(data_root=str(tmp_path / "data_full.json")).train) == sizes[1]


@pytest.mark.parametrize("name", [*NAMES, "text"])
def test_a_run_takes_a_sentence_encoder_if_it_names_none(name: str) -> None:
    assert BENCHMARKS.load(name).backbone == "minilm"


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "file", "counts", "steps"),
    [
        ("split-clinc150", "clinc150", (15_000, 4_500, 150), [1000] * 15),
        ("split-banking77", "banking77", (10_003, 3_080, 77), None),
    ],
)
def test_the_real_sets(
    shared_data: Path, name: str, file: str, counts: tuple[int, int, int], steps: list[int] | None
) -> None:
    root = shared_data / "text" / f"{file}.json.xz"
    dataset = check_benchmark(BENCHMARKS.load(name), data_root=str(root))
    assert (len(dataset.train), len(dataset.test), len(dataset.class_names)) == counts
    raw = json.loads(lzma.decompress(root.read_bytes()))
    for part in ("train", "test"):
        samples = getattr(dataset, part)
        found = [[samples[row], dataset.class_names[label]] for row, label in enumerate(samples.labels)]
        assert found == raw[part]
    stream = make_stream(dataset, increment=BENCHMARKS.load(name).increment)
    sizes = [len(experience.train) for experience in stream.experiences]
    assert sizes == steps or (steps is None and (len(sizes), sum(sizes)) == (11, 10_003))
    tested = np.concatenate([experience.test.indices for experience in stream.experiences])
    assert sorted(tested.tolist()) == list(range(counts[1]))
