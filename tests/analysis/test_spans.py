"""Edge probing: spans are pooled where they lie, texts are not torn apart, rows are held to their layout."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from backbones.analysis.ranking import probe_layers, ranked
from backbones.analysis.spans import Edges, read_edges, span_features
from backbones.core.errors import FrostlineError
from backbones.testing_models import WORDS, tiny_bert, tiny_vit


def write(path: Path, rows: list[object]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def words_of(count: int = 40) -> list[object]:
    """Return texts whose targets are single words, of the class that the word is."""
    generator = np.random.default_rng(0)
    rows = []
    for _ in range(count):
        words = generator.choice(["cat", "dog", "the", "runs"], 6).tolist()
        picks = [n for n, word in enumerate(words) if word in ("cat", "dog")]
        rows.append({"text": " ".join(words), "targets": [{"span1": [n, n + 1], "label": words[n]} for n in picks]})
    return rows


def test_a_span_is_the_mean_of_its_tokens(tmp_path: Path) -> None:
    rows = [
        {"text": "the red cat runs", "targets": [{"span1": [1, 3], "span2": [3, 4], "label": "a"}]},
        {"text": "a dog", "targets": [{"span1": [0, 1], "span2": [0, 2], "label": "b"}]},
    ]
    edges, backbone = read_edges(write(tmp_path / "spans.jsonl", rows)), tiny_bert()
    found, kept = span_features(backbone, edges)
    assert found.shape == (2, 4, 48) and kept.tolist() == [0, 1]
    batch = backbone.preprocessing(["the red cat runs"])
    states = backbone.module(
        input_ids=batch[:, 0], attention_mask=batch[:, 1].bool()[:, None, None], output_hidden_states=True
    ).hidden_states
    for layer, hidden in enumerate(states):  # token 0 is [CLS]
        wanted = torch.cat([hidden[0, 2:4].mean(0), hidden[0, 4]])
        assert torch.allclose(found[0, layer], wanted, atol=1e-5)


def test_classes_of_words_are_found_in_the_embeddings(tmp_path: Path) -> None:
    edges, backbone = read_edges(write(tmp_path / "spans.jsonl", words_of())), tiny_bert()
    features, kept = span_features(backbone, edges)
    first, second = edges.divide()
    layers = probe_layers("tiny", features[first], features[second], edges.take(first), edges.take(second))
    assert len(kept) == len(edges) and layers[0].layer == "embeddings" and layers[0].linear == 1.0
    assert ranked(layers)[0].linear == 1.0 and layers[-1].layer == "mix"


def test_targets_of_a_text_stay_together(tmp_path: Path) -> None:
    edges = read_edges(write(tmp_path / "spans.jsonl", words_of()))
    first, second = edges.divide(0.25, seed=3)
    texts = [{edges.places[row][0] for row in rows} for rows in (first, second)]
    assert not texts[0] & texts[1] and sorted([*first, *second]) == list(range(len(edges)))


def test_spans_beyond_the_window_are_left_out() -> None:
    backbone = tiny_bert()  # 40 tokens
    text = " ".join(WORDS[n % 20] for n in range(60))
    ends = [0]
    for word in text.split():
        ends.append(ends[-1] + len(word) + 1)
    places = tuple((0, ((ends[n], ends[n + 1] - 1),)) for n in (0, 37, 38, 59))
    edges = Edges((text,), places, np.array([0, 1, 0, 1]), ("a", "b"))
    features, kept = span_features(backbone, edges)
    assert kept.tolist() == [0, 1] and features.shape == (2, 4, 24)  # 38 words between [CLS] and [SEP]
    with pytest.raises(FrostlineError, match="within the 40 tokens"):
        span_features(backbone, edges.take(np.array([3])))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "holds 0 spans of 0 classes"),
        ([{"text": "a b", "targets": [{"span1": [0, 1], "label": "x"}]}], "1 spans of 1 classes"),
        ([{"targets": []}], "row 1 is no text with targets"),
        (
            [{"text": "a b", "targets": [{"span1": [0, 3], "label": "x"}]}],
            r"row 1: span1 = \[0, 3\] lies outside the 2",
        ),
        ([{"text": "a b", "targets": [{"span1": [1, 1], "label": "x"}]}], r"span1 = \[1, 1\]"),
        ([{"text": "a b", "targets": [{"span1": [0, 1], "label": ["x", "y"]}]}], "one label, a text"),
        (
            [
                {"text": "a b", "targets": [{"span1": [0, 1], "label": "x"}]},
                {"text": "a b", "targets": [{"span1": [0, 1], "span2": [1, 2], "label": "y"}]},
            ],
            "of one span and of two",
        ),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, rows: list[object], words: str) -> None:
    with pytest.raises(FrostlineError, match=words):
        read_edges(write(tmp_path / "spans.jsonl", rows))


def test_what_has_no_spans_is_named(tmp_path: Path) -> None:
    edges = read_edges(write(tmp_path / "spans.jsonl", words_of(3)))
    with pytest.raises(FrostlineError, match="tiny-vit' takes images, which have no spans"):
        span_features(tiny_vit(), edges)
    with pytest.raises(FrostlineError, match="single text"):
        Edges(("a b",), ((0, ((0, 1),)),), np.array([0]), ("a", "b")).divide()
    with pytest.raises(FrostlineError, match="cannot be read"):
        read_edges(tmp_path / "nowhere.jsonl")
