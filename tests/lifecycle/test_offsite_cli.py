"""``backbone offsite`` from end to end on a small text encoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_lines import backbone

from backbones.catalog import load_backbone
from backbones.core.seed import numpy_generator
from backbones.lifecycle.offsite.restack import restack
from backbones.testing_models import WORDS, tiny_bert
from backbones.training.saving import save_backbone


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of six blocks, data of three classes, a corpus, and a split of the model."""
    folder = tmp_path_factory.mktemp("offsite")
    base = restack(tiny_bert(), [0, 1, 2, 0, 1, 2])
    generator = numpy_generator(0, "weights")
    for value in base.module.parameters():
        value.data = value.new_tensor(generator.normal(0, 0.2, tuple(value.shape)))
    save_backbone(base, folder / "owner", {})
    texts = [" ".join(generator.choice(WORDS, 4)) for _ in range(60)]
    rows = [[text, "abc"[number % 3]] for number, text in enumerate(texts)]
    parts = {"train": rows[:30], "test": rows[30:]}
    (folder / "data").mkdir()
    for part in ("train", "test"):
        lines = "".join(f"{text}\t{label}\n" for text, label in parts[part])
        (folder / "data" / f"{part}.tsv").write_text(f"text\tlabel\n{lines}")
    (folder / "corpus.txt").write_text("\n\n".join(text.capitalize() + "." for text in texts))
    done = backbone(
        "offsite", "split", folder / "owner", "--out", folder / "split", "--bottom", 1, "--top", 1, "--keep", 2,
        "--distil", folder / "corpus.txt", "--samples", 16, "--epochs", 1,
    )  # fmt: skip
    assert done[0] == 0, done[2]
    return folder


def page(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "report.json").read_text())
    page = (folder / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "<img" in page
    return found


def test_split_writes_a_folder_to_hand_over_and_a_page_to_keep(place: Path) -> None:
    assert load_backbone(str(place / "split" / "model")).depth == 4
    assert not list((place / "split" / "model").glob("report*"))
    found = page(place / "split")
    assert "2 of them stay with its owner" in str(found["lead"])
    assert (place / "split" / "distilling.png").exists()


@pytest.mark.parametrize("words", [("--pat", "lora", "--pat-set", "r=2"), ("--adapter", "layers")])
def test_tune_and_plug_give_a_model_and_the_table(place: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    data = ("--data-root", place / "data")
    code, out, err = backbone(
        "offsite", "tune", place / "split", "--out", tmp_path / "tuned", *words, *data, "--epochs", 1, "--pat-layers", 0
    ) if words[0] == "--pat" else backbone(
        "offsite", "tune", place / "split", "--out", tmp_path / "tuned", *words, *data, "--epochs", 1
    )  # fmt: skip
    assert code == 0, err
    assert "emulator, tuned" in out and "send" in out
    assert page(tmp_path / "tuned") and not list(tmp_path.glob(".tuned*"))
    code, out, err = backbone(
        "offsite", "plug", place / "owner", tmp_path / "tuned" / "adapter", "--out", tmp_path / "plugged", *data,
        "--against-full", place / "split",
    )  # fmt: skip
    assert code == 0, err
    for row in ("zero-shot", "emulator, tuned", "plug-in", "full model, same adapter", "full fine-tuning"):
        assert row in out
    assert load_backbone(str(tmp_path / "plugged" / "model")).depth == 6
    found = page(tmp_path / "plugged")
    ways = {way["name"]: way for way in found["facts"]["ways"]}  # type: ignore[index]
    assert np.isclose(ways["plug-in"]["kept"], found["facts"]["figures"]["plug-in"])  # type: ignore[index]
    assert np.isclose(ways["emulator, tuned"]["kept"], found["facts"]["figures"]["emulator, tuned"])  # type: ignore[index]


MISTAKES = [
    ("split OWNER --bottom 3 --top 3", "leave no middle of 6 blocks"),
    ("split OWNER --bottom 1 --top 1 --keep 5", "keep from 1 to 4"),
    ("split OWNER --distil absent.txt", "absent.txt does not exist"),
    ("tune OWNER --pat lora --data-root DATA", "is no export"),
    ("tune SPLIT --pat lora --pat-layers 2-4 --data-root DATA", "blocks 2,3,4 lies in the middle"),
    ("tune SPLIT --pat loora --data-root DATA", "Did you mean 'lora'"),
    ("tune SPLIT --data-root DATA", "name one of them"),
    ("tune SPLIT --adapter lyers --data-root DATA", "Did you mean 'layers'"),
    ("tune SPLIT --pat lora", "no labelled data is named"),
    ("plug OWNER SPLIT", "is no adapter"),
    ("plug OWNER SPLIT --head new", "unknown way with the head 'new'"),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES)
def test_mistakes_are_one_sentence_and_exit_code_2(place: Path, tmp_path: Path, words: str, said: str) -> None:
    names = {"OWNER": place / "owner", "SPLIT": place / "split", "DATA": place / "data"}
    code, _, err = backbone("offsite", *(names.get(word, word) for word in words.split()), "--out", tmp_path / "out")
    assert code == 2 and said in " ".join(err.split()), err
    assert not list(tmp_path.iterdir())


def test_what_exists_is_kept(place: Path, tmp_path: Path) -> None:
    for words in (
        ("split", place / "owner"),
        ("tune", place / "split", "--pat", "lora"),
        ("plug", place / "owner", place),
    ):
        code, _, err = backbone("offsite", *words, "--out", tmp_path)
        assert code == 2 and "exists already" in err
