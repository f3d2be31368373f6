"""Small corpora and images to pre-train on, and tokenized corpora whose tokens say where they stand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from backbones.core.labelled import Labelled, Task
from backbones.lifecycle.pretrain.encoding import Tokens

NOUNS = ("harbour", "lantern", "orchard", "miller", "captain", "river", "garden", "letter", "window", "stranger")
VERBS = ("follows", "remembers", "crosses", "watches", "forgets", "carries")
TAILS = ("before the morning", "without a word", "in the evening", "near the station", "after the rain")


def write_corpus(path: Path, documents: int = 30, sentences: int = 8, seed: int = 0) -> Path:
    """Write documents of short sentences, parted by empty lines; each document has its own noun."""
    draw = np.random.default_rng(seed)
    texts = []
    for _ in range(documents):
        subject = draw.choice(NOUNS)
        lines = [
            f"The {subject} {draw.choice(VERBS)} the {draw.choice(NOUNS)} {draw.choice(TAILS)}."
            for _ in range(sentences)
        ]
        texts.append(" ".join(lines))
    path.write_text("\n\n".join(texts), encoding="utf-8")
    return path


def numbered_tokens(lengths: list[int], seed: int = 0) -> Tokens:
    """Return documents of so many tokens; token ids count from 10 on, words and sentences begin here and there."""
    draw = np.random.default_rng(seed)
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    total = int(bounds[-1])
    words, sentences = draw.random(total) < 0.6, draw.random(total) < 0.1
    sentences[bounds[:-1][np.asarray(lengths) > 0]] = True
    return Tokens(np.arange(10, 10 + total, dtype=np.int32), words | sentences, sentences, bounds, total)


def coloured_task(each: int = 12, size: int = 16, seed: int = 0) -> Task:
    """Return images of three classes that differ in colour, with noise."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), each)
    images = draw.integers(0, 90, (len(labels), size, size, 3))
    images[np.arange(len(labels)), :, :, labels] += 150
    parts = [
        Labelled(list(images[rows].astype(np.uint8)), labels[rows].astype(np.int64), ("red", "green", "blue"), "image")
        for rows in (np.arange(len(labels)) % 4 != 0, np.arange(len(labels)) % 4 == 0)
    ]
    return Task("colours", *parts)
