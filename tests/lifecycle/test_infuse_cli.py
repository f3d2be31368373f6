"""``backbone infuse``: from a corpus to a student, and what is refused."""

import json

import pytest
import torch
from command_lines import backbone

from backbones.catalog import load_backbone
from backbones.encoder import Encoder
from backbones.lifecycle.infuse.saved import open_infused
from backbones.testing_models import raw_batch, tiny_bert, tiny_vit
from backbones.training.saving import save_backbone

OWN = """
[[patterns]]
relation = "runs"
left = "head"
cues = ["runs to"]
[[patterns]]
relation = "sleeps"
left = "head"
cues = ["sleeps where"]
"""
NAMES = ["cat", "dog", "card", "bank", "money", "flight", "book"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a corpus, patterns and a saved miniature."""
    folder = tmp_path_factory.mktemp("infuse")
    lines = [f"I see the {name}, the {name}." for name in NAMES for _ in range(2)]
    for number, one in enumerate(NAMES):
        lines += [f"The red {one} runs to the {other} now." for other in NAMES[number + 1 :]]
        lines += [f"The blue {one} sleeps where the {other} is." for other in NAMES[:number]]
    (folder / "corpus.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "own.toml").write_text(OWN, encoding="utf-8")
    save_backbone(tiny_bert(), folder / "base", {})
    return folder


@pytest.fixture(scope="module")
def made(place):
    """What the three commands say and write, one after the other."""
    said = [
        backbone("infuse", "acquire", place / "corpus.txt", "--patterns", place / "own.toml", "--out", place / "pairs")
    ]
    words = ("--bottleneck", 4, "--epochs", 2, "--batch", 8, "--window", 12, "--held-out", 0.4)
    said.append(backbone("infuse", "train", place / "base", "--pairs", place / "pairs", "--out", place / "run", *words))
    words = ("--corpus", place / "corpus.txt", "--batch", 8, "--layers", 3, "--sentences", 30)
    said.append(backbone("infuse", "distill", place / "run", "--out", place / "small", *words))
    for code, out, err in said:
        assert code == 0, out + err
    return [out for _, out, _ in said]


def test_every_command_writes_a_page_and_says_what_to_do_next(place, made):
    for name, out in zip(("pairs", "run", "small"), made, strict=True):
        assert (place / name / "report.html").is_file()
        json.loads((place / name / "report.json").read_text())
        assert f"page: {place / name}" in out
    assert "backbone infuse train BASE" in made[0] and "backbone infuse distill" in made[1]
    assert "runs" in made[0] and "sleeps" in made[0] and "which" in made[1]


def test_the_infused_model_is_a_delta_on_its_base(place, made):
    infused, delta = open_infused(place / "run")
    assert not delta.notes
    base = load_backbone(str(place / "base"))
    raw = raw_batch(base)
    facts = json.loads((place / "run" / "report.json").read_text())
    assert base.fingerprint() == infused.fingerprint()
    assert base.fingerprint() in json.dumps(facts)
    plain = Encoder(base, precision="fp32").features(raw)
    assert not torch.equal(Encoder(infused, delta, precision="fp32").features(raw), plain)


def test_the_student_is_an_ordinary_backbone(place, made):
    student = load_backbone(str(place / "small" / "model"))
    assert student.depth == 3 and student.width == 24
    assert Encoder(student, precision="fp32").features(raw_batch(student)).isfinite().all()
    assert not list(place.glob(".*training*"))


def test_nothing_that_exists_is_written_over(place, made):
    pairs = place / "pairs" / "pairs.jsonl"
    before = pairs.read_bytes()
    for words in (
        ("acquire", place / "corpus.txt", "--out", place / "pairs"),
        ("train", place / "base", "--pairs", place / "pairs", "--out", place / "run"),
        ("distill", place / "run", "--corpus", place / "corpus.txt", "--out", place / "small"),
    ):
        code, _, err = backbone("infuse", *words)
        assert code == 2 and "exists already" in err
    assert pairs.read_bytes() == before


def test_mistakes_end_with_exit_code_2_and_leave_no_folder(place, made, tmp_path):
    save_backbone(tiny_vit(), tmp_path / "vit", {})
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "odd.jsonl").write_text('{"head": "cat", "relation": "runs", "example": "the cat"}\n')
    pairs, corpus = place / "pairs", place / "corpus.txt"
    for words, wanted in (
        (("acquire", tmp_path / "empty.txt"), "no sentence in"),
        (("acquire", tmp_path / "none.txt"), "does not exist"),
        (("acquire", corpus, "--min-count", "0"), "min_count = 0"),
        (("train", tmp_path / "vit", "--pairs", pairs), "takes images"),
        (("train", place / "base", "--pairs", tmp_path / "odd.jsonl"), "line 1: tail"),
        (("train", place / "base", "--pairs", pairs, "--layers", "9"), "layers run from 0 to 2"),
        (("train", place / "base", "--pairs", pairs, "--cue", "mask"), "cue = 'mask'"),
        (("distill", place / "run", "--corpus", corpus, "--layers", "2"), "do not divide the teacher's 3"),
        (("distill", place / "run", "--corpus", tmp_path / "empty.txt"), "no sentence in"),
        (("distill", tmp_path / "vit", "--corpus", corpus), "holds no delta"),
    ):
        code, _, err = backbone("infuse", *words, "--out", tmp_path / "out")
        assert code == 2 and wanted in err, (words, err)
        assert not (tmp_path / "out").exists()
