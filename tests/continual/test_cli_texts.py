"""Texts and stacks through the command line, on a tiny text encoder made here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_lines import cil

from backbones.testing import tiny_bert
from backbones.testing_models import WORDS


def command(place: Path, *words: object) -> list[str]:
    common = ["--benchmark", "text", "--data-root", place / "data", "--backbone", place / "encoder", "--increment", 2]
    return [*map(str, common), "--store", str(place / "store"), "--tune-set", "epochs=1", *map(str, words)]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a saved encoder and a data set of four classes told apart by one word each."""
    place = tmp_path_factory.mktemp("texts")
    backbone = tiny_bert()
    backbone.module.save_pretrained(place / "encoder")
    backbone.preprocessing.tokenizer.save_pretrained(place / "encoder")
    words = [word for word in WORDS if len(word) > 2]
    names = words[:4]
    rows = [f"{name} {word} {name},about {name}" for name in names for word in words[4:]]
    (place / "data").mkdir()
    for part, some in (("train", rows[::2]), ("test", rows[1::2])):
        (place / "data" / f"{part}.csv").write_text("\n".join(["text,label", *some]) + "\n")
    return place


@pytest.fixture(scope="module")
def finished(place) -> Path:
    """A finished run."""
    words = command(place, "--pat", "layernorm+pasta", "--pat-layers", "1-2", "--ipt", "--out", place / "first")
    code, out, err = cil(*words)
    assert code == 0, out + err
    assert "it states no pooling: the mean is taken" in out
    return place / "first"


def test_a_stack_learns_texts_and_its_report_says_what_it_trained(finished):
    report = json.loads((finished / "report.json").read_text())
    assert report["settings"]["pat"] == "layernorm+pasta"
    assert set(report["settings"]["pat_settings"]) == {"layernorm", "pasta"}
    assert report["settings"]["pat_settings"]["pasta"]["layers"] == "1-2"
    assert report["parameters"]["trainable_pat"] > 0
    assert (finished / "plots" / "map.png").stat().st_size > 0


def test_the_run_is_repeated_from_its_settings(finished, place):
    code, out, err = cil("--config", finished / "settings.toml", "--out", place / "again", "--store", place / "store")
    assert code == 0, out + err
    one, two = (json.loads((folder / "report.json").read_text()) for folder in (finished, place / "again"))
    assert one["summary"] == two["summary"] and one["fingerprints"] == two["fingerprints"]


def test_texts_and_files_of_texts_are_classified_alike(finished, place):
    texts = ["the cat dog the", "cat card cat"]
    (place / "some.txt").write_text("\n".join(texts) + "\n\n")
    code, out, err = cil("predict", finished, *texts, "--json")
    assert code == 0, out + err
    code, other, err = cil("predict", finished, place / "some.txt", "--json")
    assert code == 0, other + err
    assert json.loads(out) == json.loads(other)
    assert [row["text"] for row in json.loads(out)] == texts


@pytest.mark.parametrize(
    "words, said",
    [
        (("--pat", "layernorm+layernorm"), "names 'layernorm' twice"),
        (("--pat", "layernrom+pasta"), "Did you mean 'layernorm'"),
        (("--pat", "layernorm+pasta", "--pat-set", "length=3"), "rite it as layernorm.KEY"),
        (("--pat", "layernorm+bitfit"), "overlap"),
        (("--pat", "pasta", "--pat-layers", "1-7"), "layers run from 0 to 2"),
        (("--pat", "pasta", "--pooling", "best"), "unknown pooling 'best'"),
        (("--pat", "pasta", "--max-tokens", "2"), "has no room for text"),
        (("--pat", "pasta", "--max-tokens", "400"), "takes at most 40 tokens"),
        (("--pat", "pasta", "--image-size", "32"), "takes texts; leave the size out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_each_mistake_is_answered(place, words, said):
    code, out, err = cil(*command(place, *words, "--out", place / "wrong"))
    assert code == 2 and said in err and "Traceback" not in err, out + err


def test_images_and_texts_are_not_mixed(place):
    code, _, err = cil("--benchmark", "text", "--data-root", place / "data", "--backbone", "bundled:vit-micro")
    assert code == 2 and "is of texts, but backbone 'bundled:vit-micro' takes images" in err
    code, _, err = cil("--backbone", place / "encoder")
    assert code == 2 and "is of images" in err and "takes texts" in err
    code, _, err = cil("--pooling", "cls")
    assert code == 2 and "is for text encoders" in err


def test_the_list_of_pats_counts_on_the_backbone_named(place):
    code, out, err = cil("--list", "pats", "--backbone", place / "encoder")
    assert code == 0, err
    line = next(line for line in out.splitlines() if line.strip().startswith("pasta"))
    assert line.split()[1:4] == ["144", "yes", "no"]  # 3 blocks x 2 special tokens x 24
