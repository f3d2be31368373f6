"""The study of checkpoints: public sets as labelled spans, the page, what is kept."""

import json

import pytest

from backbones.analysis.spans import read_edges
from backbones.core.errors import FrostlineError
from benchmarks.studies import edges
from benchmarks.studies.volumes import curves_of, measure
from benchmarks.studies.volumes_page import page


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_mentions_become_spans_of_their_own_sentence(tmp_path):
    document = {
        "tokens": ["Ann", "saw", "Bo", ".", "New York", "slept", "."],
        "sentences": [[[["Ann"], ["saw"], ["Bo"], ["."]], ""], [[["New York"], ["slept"], ["."]], ""]],
        "entity_mentions": [
            {"sent_idx": 0, "start": 0, "end": 1, "entity_type": "PER"},
            {"sent_idx": 0, "start": 2, "end": 3, "entity_type": "PER"},
            {"sent_idx": 1, "start": 4, "end": 5, "entity_type": "GPE"},
            {"sent_idx": 1, "start": 5, "end": 6, "entity_type": "RARE"},
        ],
    }
    write(tmp_path / "wikievents_dev.jsonl", [document] * 2)
    rows = edges.frequent(edges.types(tmp_path / "wikievents_dev.jsonl"), 2)
    edges.save(tmp_path / "types.jsonl", rows)
    found = read_edges(tmp_path / "types.jsonl")
    pairs = zip(found.places, found.labels, strict=True)
    named = [(found.texts[text][slice(*spans[0])], found.classes[label]) for (text, spans), label in pairs]
    once = [("Ann", "PER"), ("Bo", "PER"), ("NewYork", "GPE"), ("slept", "RARE")]
    assert named == once * 2
    assert {target["label"] for _, targets in edges.frequent(rows, 3) for target in targets} == {"PER"}


def test_roles_are_pairs_of_spans_and_whole_texts_one_span(tmp_path):
    sentence = {
        "tokens": ["Ann", "met", "Bo"],
        "entity_mentions": [{"id": "a", "start": 0, "end": 1}],
        "event_mentions": [
            {"trigger": {"start": 1, "end": 2}, "arguments": [{"entity_id": "a", "role": "Agent"}]},
        ],
    }
    write(tmp_path / "geneva_val.json", [sentence])
    [(text, [target])] = edges.roles(tmp_path / "geneva_val.json")
    assert (text, target) == ("Ann met Bo", {"span1": [1, 2], "span2": [0, 1], "label": "Agent"})
    texts = [(f"text number {number}", number % 2) for number in range(20)]
    drawn = list(edges.whole(texts, 3))
    assert drawn == list(edges.whole(texts, 3)) != list(edges.whole(texts, 3, seed=1))
    assert sorted(targets[0]["label"] for _, targets in drawn) == ["0"] * 3 + ["1"] * 3
    assert all(targets[0]["span1"] == [0, 3] for _, targets in drawn)


def row(seen, code, share):
    layer = {"mdl": {"kbit": code, "uniform kbit": 9.0}, "linear": 0.5}
    task = {
        "known": 80,
        "held": 20,
        "classes": 4,
        "last": layer,
        "embeddings": layer,
        "orders": [code - 0.1, code + 0.1],
    }
    figures = {"code of types": code, "minimal pairs": share, "held-out loss": 10 - share / 10}
    return {
        "seen": seen,
        "unit": "tokens",
        "made": "a run",
        "parameters": 2_000_000,
        "figures": figures,
        "codes": {"types": task},
        "paradigms": {"a": share, "b": share},
    }


def test_the_page_says_which_figures_are_monotone():
    rows = [row(0, 5.0, 50.0), row(10, 4.0, 55.0), row(20, 3.0, 65.0), row(40, 3.5, 66.0), row(80, 2.0, 70.0)]
    curves = curves_of(rows)
    assert {curve.name: curve.monotone for curve in curves} == {
        "code of types": False,
        "minimal pairs": True,
        "held-out loss": True,
    }
    facts = {"rows": rows, "since": 0.0, "each": 50}
    text = page(facts, curves, "volumes", ["a.png"])
    assert "logistic fits over the 4 of them that have seen" in text  # none of the start, which has no logarithm
    assert "| code of types | no | 0.5000 |" in text and "| minimal pairs | yes | 0.0000 |" in text
    assert (
        "| 80 | 2.000 | 70.000 | 3.000 |" in text
        and "| 80 | 0.100 | 50.0 | 2.00 |" in text
        and "standard error of one figure about 5.0 points" in text
    )
    assert all(len(line) <= 120 for line in text.splitlines() if not line.startswith("|"))


def test_one_checkpoint_makes_a_page_without_fits():
    rows = [row(10, 4.0, 55.0)]
    text = page({"rows": rows, "since": 0.0, "each": 50}, curves_of(rows), "volumes", ["a.png"])
    assert "| code of types | yes | 0.0000 | | | | | | no fit: " in text and "| 10 | 4.000 | 55.000 |" in text


def test_a_folder_that_says_nothing_of_its_training_is_refused(tmp_path):
    (tmp_path / "frostline.json").write_text(json.dumps({"words": 5}))
    with pytest.raises(FrostlineError, match="does not say what it has seen; pass checkpoints of backbone pretrain"):
        measure(tmp_path, {}, tmp_path / "none", 1, tmp_path)
