"""Text sets from folders and files: layouts, class names, names behind the path, and what is wrong with a set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_makers import Row, csv_bytes, json_bytes, jsonl_bytes

from backbones.core.errors import FrostlineError
from benchmarks.catalog import BENCHMARKS
from benchmarks.testing import check_benchmark
from benchmarks.text_rows import parse_root
from benchmarks.text_sets import read_texts
from benchmarks.types import Dataset

TRAIN = [("one", "b"), ("two", "a"), ("three", "b")]
TEST = [("four", "a"), ("five", "b")]


def fill(root: Path, files: Mapping[str, str | bytes]) -> Path:
    for place, content in files.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def rows_of(dataset: Dataset) -> tuple[list[Row], list[Row]]:
    train, test = (
        [(part[row], dataset.class_names[label]) for row, label in enumerate(part.labels)]
        for part in (dataset.train, dataset.test)
    )
    return train, test


LAYOUTS: dict[str, dict[str, str | bytes]] = {
    "csv": {"train.csv": csv_bytes(TRAIN), "test.csv": csv_bytes(TEST)},
    "tsv": {"Train.TSV": csv_bytes(TRAIN, delimiter="\t"), "Test.tsv": csv_bytes(TEST, delimiter="\t")},
    "mixed": {"train.jsonl": jsonl_bytes(TRAIN), "valid.json": json_bytes(TEST), "notes.md": "x", ".test.csv": "x"},
    "test before val": {"train.csv": csv_bytes(TRAIN), "test.csv": csv_bytes(TEST), "val.csv": "broken"},
    "dev": {"train.csv": csv_bytes(TRAIN), "dev.csv": csv_bytes(TEST), "extra/x.txt": "x"},
    "classes": {
        "train/b/1.txt": " one\n",
        "train/a/1.txt": "two",
        "train/b/2.TXT": "three",
        "train/b/.hidden.txt": "no",
        "train/b/notes.md": "no",
        "train/.cache/1.txt": "no",
        "val/a/x.txt": "four",
        "val/b/x.txt": "five",
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_holds_the_same_set(tmp_path: Path, layout: str) -> None:
    phases: list[str] = []
    root = str(fill(tmp_path, LAYOUTS[layout]))
    dataset = read_texts(root, progress=lambda phase, done, total: phases.append(phase))
    train, test = rows_of(dataset)
    assert (sorted(train), test) == (sorted(TRAIN), TEST)
    assert train == TRAIN or layout == "classes"  # class folders are read class by class
    assert dataset.class_names == ("a", "b")
    assert len(set(phases)) == 2
    check_benchmark(BENCHMARKS.load("text"), data_root=root)


def test_labels_are_numpy_s_indices_into_the_sorted_names(tmp_path: Path) -> None:
    labels = ["pear", "Apple", "äpfel", "apple", "10", "9", "pear"]
    rows = [(f"text {place}", label) for place, label in enumerate(labels)]
    dataset = read_texts(str(fill(tmp_path, {"train.csv": csv_bytes(rows), "test.csv": csv_bytes(rows)})))
    names, indices = np.unique(labels, return_inverse=True)
    assert list(dataset.class_names) == names.tolist()
    assert np.array_equal(dataset.train.labels, indices)


@settings(max_examples=50, deadline=None)
@given(labels=st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=12))
def test_integers_come_in_numeric_order(tmp_path_factory: pytest.TempPathFactory, labels: list[int]) -> None:
    rows = [[f"text {place}", label] for place, label in enumerate(labels)]
    path = tmp_path_factory.getbasetemp() / "numbers.json"
    path.write_text(json.dumps({"train": rows, "test": rows}))
    dataset = read_texts(str(path))
    names, indices = np.unique(labels, return_inverse=True)
    assert list(dataset.class_names) == [str(name) for name in names]
    assert np.array_equal(dataset.train.labels, indices)


@pytest.mark.parametrize("labels", [["07", "7", "10"], ["1.5", "10", "9"], ["٧", "10", "9"], ["9" * 30, "10", "9"]])
def test_labels_that_merely_resemble_integers_are_words(tmp_path: Path, labels: list[str]) -> None:
    rows = [("text", label) for label in labels]
    dataset = read_texts(str(fill(tmp_path, {"train.csv": csv_bytes(rows), "test.csv": csv_bytes(rows)})))
    assert list(dataset.class_names) == sorted(labels)


def test_names_behind_the_path_are_used(tmp_path: Path) -> None:
    train, test = (csv_bytes(rows, ("body", "stars")) for rows in (TRAIN, TEST))
    fill(tmp_path, {"seen.csv": train, "new.csv": test, "train.csv": "x"})
    dataset = BENCHMARKS.load("text").load(data_root=f"{tmp_path}::text=body, label=stars,train=seen,test=new")
    assert rows_of(dataset) == (TRAIN, TEST)


def test_a_path_that_exists_is_left_whole(tmp_path: Path) -> None:
    odd = fill(tmp_path / "a::text=b", LAYOUTS["csv"])
    assert rows_of(read_texts(str(odd))) == (TRAIN, TEST)
    assert parse_root("~/x::label=y")[0] == Path.home() / "x"


def test_classes_without_test_rows_are_refused_or_dropped_as_told(tmp_path: Path) -> None:
    more = [*TRAIN, ("six", "c"), ("seven", "d"), ("eight", "b")]
    fill(tmp_path, {"train.csv": csv_bytes(more), "test.csv": csv_bytes(TEST)})
    with pytest.raises(
        FrostlineError, match=r"class 'c' \(and 1 more\) of .*train\.csv has no test rows.*::untested=drop"
    ):
        read_texts(str(tmp_path))
    dataset = read_texts(f"{tmp_path}::untested=drop")
    assert rows_of(dataset) == ([*TRAIN, ("eight", "b")], TEST)
    assert dataset.class_names == ("a", "b")


GOOD, HEADER = "text,label\nx,a\n", "text,label\n"
FAULTS: list[tuple[dict[str, str], str, str]] = [
    ({"train.csv": GOOD, "test.csv": "text,label\nx,a\ny,aa\n"}, "",
     r"test\.csv, line 3 has the label 'aa', which no training row of .*train\.csv has\. Did you mean 'a'"),
    ({"train.csv": GOOD, "test.csv": HEADER}, "", r"test\.csv has no test rows; add some"),
    ({"train.csv": HEADER, "test.csv": GOOD}, "", r"train\.csv has no training rows; add some"),
    ({"train.csv": GOOD}, "", r"no part called test or val.*Its parts: 'train'"),
    ({"test.csv": GOOD}, "", r"no part called train.*Its parts: 'test'"),
    ({"train.csv": GOOD, "train.jsonl": "", "test.csv": GOOD}, "", r"both train\.csv and train\.jsonl; keep the one"),
    ({"all.csv": GOOD, "a.md": ""}, "", r"holds no texts to learn from; it has a\.md, all\.csv\. Pass DIR/train\.csv"),
    ({"a/b.md": ""}, "/a", r"no texts to learn from; it has b\.md"),
    ({"a.csv": GOOD}, "/b.csv", r"data root .*b\.csv does not exist\. Did you mean 'a\.csv'.*Pass DIR/train\.csv"),
    ({"a.csv": GOOD}, "/none/b.csv", r"data root .*b\.csv does not exist\. Pass"),
    ({"a.csv": GOOD}, "/a.csv", "no division into training and test texts"),
    ({"train.csv": GOOD, "test.csv": GOOD}, "::texts=x", r"unknown key 'texts'\. Did you mean 'text'.*untested"),
    ({"train.csv": GOOD, "test.csv": GOOD}, "::text", "'text' is not of the form key=value"),
    ({"train.csv": GOOD, "test.csv": GOOD}, "::text=", "text = '': string should have at least 1 character"),
    ({"train.csv": GOOD, "test.csv": GOOD}, "::untested=keep", "untested = 'keep': input should be 'refuse' or 'drop'"),
    ({"train.csv": GOOD, "test.csv": GOOD}, "::train=trian", "holds no texts to learn from"),
    ({"train/a/1.txt": "x", "test/b/1.txt": "y"}, "", r"test, file b/1\.txt has the label 'b', which no training row"),
    ({"train/a/1.txt": "x", "test/a/1.txt": " \n"}, "", r"test, file a/1\.txt has an empty text"),
    ({"train/a/1.txt": "x", "test/a/1.md": "x"}, "", r"class folder .*test/a has no \.txt files; add some or remove"),
    ({"train/a/1.txt": "x", "test/1.txt": "x"}, "", r"test has no class folders; make one folder per class"),
    ({"train/a/1.txt": "x"}, "", "no part called test"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "behind", "words"), FAULTS, ids=[words[:40] for *_, words in FAULTS])
def test_each_fault_of_a_set_is_named(tmp_path: Path, files: dict[str, str], behind: str, words: str) -> None:
    with pytest.raises(FrostlineError, match=words):
        read_texts(f"{fill(tmp_path, files)}{behind}")


def test_a_text_file_of_another_encoding_is_named(tmp_path: Path) -> None:
    fill(tmp_path, {"train/a/1.txt": "x", "test/a/1.txt": b"ok\ncaf\xe9"})
    with pytest.raises(FrostlineError, match=r"test/a/1\.txt is not UTF-8 \(line 2, byte 0xe9\)"):
        read_texts(str(tmp_path))


def test_the_benchmark_says_what_it_needs() -> None:
    with pytest.raises(FrostlineError, match=r"text needs --data-root with DIR/train\.csv.*::text=body,label=stars"):
        BENCHMARKS.load("text").load()


@pytest.mark.data
@pytest.mark.parametrize(
    ("root", "counts"),
    [
        ("snips.json.xz", (13_084, 700, 7)),
        ("trec_qc.json.xz::untested=drop", (5_167, 500, 42)),
        ("cola.json.xz::train=in_domain_train.tsv,test=in_domain_dev.tsv", (8_551, 527, 2)),
        ("sst_etc.json.xz::train=stsa.fine.train,test=stsa.fine.test", (8_544, 2_210, 5)),
        ("sst_etc.json.xz::train=TREC.train.all,test=TREC.test.all", (5_452, 500, 6)),
    ],
)
def test_real_sets_of_other_shapes(shared_data: Path, root: str, counts: tuple[int, int, int]) -> None:
    dataset = check_benchmark(BENCHMARKS.load("text"), data_root=str(shared_data / "text" / root))
    assert (len(dataset.train), len(dataset.test), len(dataset.class_names)) == counts
