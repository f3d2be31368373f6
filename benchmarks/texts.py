"""Texts as samples: strings in memory with their classes."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from backbones.core.errors import FrostlineError

__all__ = ["DIGEST_BYTES", "ArrayTexts"]

DIGEST_BYTES = 16


class ArrayTexts:
    """Texts in memory, kept exactly as they are given.

    Args:
        texts: n strings; they are copied into a tuple, so that what was digested cannot change behind the digest.
        labels: integers from 0, shape (n,), indices into the class names.
        notes: what a user must know of how they were read.

    Raises:
        FrostlineError: something that is no string, labels that are no such integers, or another number of them.
    """

    modality = "text"

    def __init__(
        self, texts: Sequence[str], labels: NDArray[np.int64] | Sequence[int], notes: tuple[str, ...] = ()
    ) -> None:
        if isinstance(texts, str):
            raise FrostlineError(f"texts is one string ({texts[:40]!r}); give a list of strings.")
        self._texts = tuple(texts)
        self.notes = notes
        for row, text in enumerate(self._texts):
            if not isinstance(text, str):
                raise FrostlineError(f"text {row} is {text!r:.40}, of type {type(text).__name__}; it must be a string.")
        self._labels = _labels(labels, len(self._texts))
        self._digests: NDArray[np.uint8] | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        """Classes: int64, shape (n,), read-only."""
        return self._labels

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: int) -> str:
        """Text ``index``."""
        return self._texts[index]

    def digests(self) -> NDArray[np.uint8]:
        """BLAKE2b of each text in UTF-8: uint8, shape (n, 16); computed once.

        Half a surrogate pair, which JSON can smuggle in and UTF-8 has no place for, is digested as if it had one.
        """
        if self._digests is None:
            found = b"".join(_digest(text) for text in self._texts)
            self._digests = np.frombuffer(found, dtype=np.uint8).reshape(-1, DIGEST_BYTES)
        return self._digests


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()


def _labels(labels: NDArray[np.int64] | Sequence[int], count: int) -> NDArray[np.int64]:
    given = np.asarray(labels)
    if given.shape != (count,):
        raise FrostlineError(f"{count} texts came with labels of shape {given.shape}; give one label for each text.")
    if count and not np.issubdtype(given.dtype, np.integer):
        raise FrostlineError(f"labels have dtype {given.dtype}; they must be integers, indices into the class names.")
    if count and given.min() < 0:
        raise FrostlineError(f"label {given.min()} of text {int(given.argmin())} is negative; labels count from 0.")
    array = given.astype(np.int64)
    array.flags.writeable = False
    return array
