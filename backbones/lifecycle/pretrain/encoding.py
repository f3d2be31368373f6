"""A tokenized corpus: token ids, and where words, sentences and documents begin."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbones.core.letters import count_words
from backbones.core.samples import Progress, silent
from backbones.core.tokens import tokenize

SENTENCES = 2000  # tokenized at a time


@dataclass(frozen=True)
class Tokens:
    """A tokenized corpus, document after document.

    Args:
        ids: int32, shape (n,), no special tokens.
        words: bool, shape (n,): whether a word begins at a token.
        sentences: bool, shape (n,): whether a sentence begins at a token.
        documents: int64, shape (d + 1,): where documents begin, and n.
        count: of words that white space separates.
    """

    ids: NDArray[np.int32]
    words: NDArray[np.bool_]
    sentences: NDArray[np.bool_]
    documents: NDArray[np.int64]
    count: int

    def digest(self) -> str:
        """Return the hex digest of tokens and documents."""
        return hashlib.sha256(self.ids.tobytes() + self.documents.tobytes()).hexdigest()


def encode(documents: Sequence[Sequence[str]], tokenizer: Any, progress: Progress = silent) -> Tokens:
    """Tokenize documents.

    Args:
        documents: of sentences.
        tokenizer: a fast transformers tokenizer.
        progress: told of sentences.
    """
    lengths = [len(document) for document in documents]
    total = sum(lengths)
    ids, words, sizes = [], [], np.zeros(total, dtype=np.int64)
    count = done = 0
    for part in _batches(documents):
        found = tokenize(tokenizer, part, add_special_tokens=False)
        for row, each in enumerate(found.encodings):
            sizes[done + row] = len(each.ids)
            ids.append(np.asarray(each.ids, dtype=np.int32))
            words.append(np.asarray(each.word_ids, dtype=np.int32))
        count += sum(map(count_words, part))
        done += len(part)
        progress("tokens", done, total)
    flat = np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    sentence = np.zeros(len(flat), dtype=np.bool_)
    sentence[starts[:-1][sizes > 0]] = True
    number = np.concatenate(words) if words else np.zeros(0, dtype=np.int32)
    word = sentence.copy()
    word[1:] |= number[1:] != number[:-1]
    return Tokens(flat, word, sentence, starts[np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)], count)


def _batches(documents: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    part: list[str] = []
    for document in documents:
        for sentence in document:
            part.append(sentence)
            if len(part) == SENTENCES:
                yield part
                part = []
    if part:
        yield part
