"""Vectors of texts and of spans in them under a frozen text encoder, each computed once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from backbones.core.samples import Progress, silent
from backbones.lm import LanguageModel
from zeroshot.scorers.recent import Recent

Span = tuple[int, int]
Key = tuple[str, Span | None]
"""A text, and a stretch of its characters or None for the whole."""

TOKENS_PER_BATCH = {"cpu": 2048}
TOKENS_ELSEWHERE = 65_536
REMEMBERED = 20_000  # vectors that are kept: 30 MB of MiniLM's, and the texts that they are of


class Vectors:
    """A cache of unit vectors: the mean of a text's last hidden states, or of those that a span touches.

    Spans of one text share its pass. The REMEMBERED vectors that were asked for last are kept.

    The pooling is that of Sentence-BERT (Reimers and Gurevych 2019, arXiv 1908.10084).

    Args:
        model: a text encoder.
        chunk: tokens of one forward pass, padding included; None for a good number.
    """

    def __init__(self, model: LanguageModel, chunk: int | None = None) -> None:
        self.model = model
        self.chunk = chunk or TOKENS_PER_BATCH.get(model.device.type, TOKENS_ELSEWHERE)
        self._known: Recent[Key, NDArray[np.float32]] = Recent(REMEMBERED)

    def __len__(self) -> int:
        return len(self._known)

    def forget(self) -> None:
        """Drop all vectors."""
        self._known.clear()

    def of(self, keys: Sequence[Key], progress: Progress = silent) -> NDArray[np.float32]:
        """Return float32 of shape (len(keys), width): unit rows, each within rounding the same in every call.

        Args:
            keys: texts of at most the model's window, each with a span of it or None; a span without any token counts
                as the whole text.
            progress: told of texts encoded.
        """
        if not keys:
            return np.zeros((0, self.model.module.config.hidden_size), dtype=np.float32)
        asked = dict.fromkeys(keys)
        known = {key: vector for key in asked if (vector := self._known.recall(key)) is not None}
        known.update(self._learned([key for key in asked if key not in known], progress))
        return np.stack([known[key] for key in keys])

    def fits(self, text: str) -> bool:
        """Tell whether ``text`` with its special tokens fits into the model's window."""
        window = self.model.window
        # No tokenizer makes more tokens than bytes (and the two special ones): most texts need not be tokenized.
        if window is None or len(text.encode(errors="surrogatepass")) + 2 <= window:
            return True
        return len(self.model.encode([text])[0][0]) <= window

    def _learned(self, keys: Sequence[Key], progress: Progress) -> dict[Key, NDArray[np.float32]]:
        found: dict[Key, NDArray[np.float32]] = {}
        wanted: dict[str, set[Span | None]] = {}
        for text, span in keys:
            wanted.setdefault(text, set()).add(span)
        if not wanted:
            return found
        texts = list(wanted)
        ids, offsets = self.model.encode(texts)
        done = 0
        for batch in self._batches([len(row) for row in ids]):
            for number, states in zip(batch, self._states([ids[number] for number in batch]), strict=True):
                for span in wanted[texts[number]]:
                    rows = _touched(offsets[number], span)
                    found[texts[number], span] = self._known[texts[number], span] = _unit(states[rows].mean(axis=0))
            done += len(batch)
            progress("encode texts", done, len(texts))
        return found

    def _batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """Group texts of like length so that little is padding."""
        batches: list[list[int]] = []
        for number in sorted(range(len(lengths)), key=lambda index: (lengths[index], index)):
            if not batches or (len(batches[-1]) + 1) * lengths[number] > self.chunk:
                batches.append([])
            batches[-1].append(number)
        return batches

    def _states(self, ids: list[list[int]]) -> list[NDArray[np.float32]]:
        """Return the last hidden states of each row, without those of padding."""
        longest = max(map(len, ids))
        padding = self.model.tokenizer.pad_token_id or 0
        device = self.model.device
        rows = torch.tensor([[*row, *[padding] * (longest - len(row))] for row in ids], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids], device=device)
        with torch.inference_mode():
            states = self.model.module(input_ids=rows, attention_mask=mask).last_hidden_state.float().cpu().numpy()
        return [states[number, : len(row)] for number, row in enumerate(ids)]


def _touched(offsets: Sequence[tuple[int, int]], span: Span | None) -> NDArray[np.int64]:
    """Return the numbers of the tokens that ``span`` touches, all for None or where it touches none."""
    if span is not None:
        found = [number for number, (start, end) in enumerate(offsets) if start < span[1] and end > span[0]]
        if found:
            return np.asarray(found)
    return np.arange(len(offsets))


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), dtype=np.float32)
