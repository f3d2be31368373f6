"""Sequences to learn from: windows of documents, and pairs of which the second part follows the first or does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.core.errors import FrostlineError
from backbones.lifecycle.pretrain.encoding import Tokens
from backbones.lifecycle.pretrain.vocabulary import Frame

LEAST = 4  # tokens of a window: two words on each side
FOLLOWS, STRANGE = 0, 1  # labels of pairs, as BertForPreTraining reads them
MULTIPLE = 8  # lengths of batches are rounded up to a multiple of it


@dataclass(frozen=True)
class Windows:
    """Stretches of documents, each at most as long as an input has room; whole words where a word fits at all.

    Args:
        tokens: the corpus.
        begin, end: int64, shape (w,): tokens of each window.
        document: int64, shape (w,), ascending.
    """

    tokens: Tokens
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    document: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.begin)

    @property
    def words(self) -> float:
        """Words of all windows, about: those of the corpus by the share of its tokens that lie in a window."""
        return self.tokens.count * float((self.end - self.begin).sum()) / max(1, len(self.tokens.ids))

    def take(self, documents: NDArray[np.int64]) -> Windows:
        """Return the windows of some documents."""
        rows = np.isin(self.document, documents)
        return Windows(self.tokens, self.begin[rows], self.end[rows], self.document[rows])

    def split(self, share: float, generator: np.random.Generator) -> tuple[Windows, Windows]:
        """Return the windows of most documents, and those of documents that are held out.

        Args:
            share: of the windows to hold out, about and at least one document, never the longest; of a single
                document, its last windows.
            generator: of the choice.
        """
        documents, sizes = np.unique(self.document, return_counts=True)
        wanted = share * len(self)
        if len(documents) == 1:
            cut = len(self) - max(1, round(wanted))
            parts = (slice(None, cut), slice(cut, None))
            first, second = (Windows(self.tokens, self.begin[p], self.end[p], self.document[p]) for p in parts)
            return first, second
        order = generator.permutation(np.delete(np.arange(len(documents)), sizes.argmax()))
        enough = np.searchsorted(np.cumsum(sizes[order]), wanted) + 1
        held = documents[order[:enough]]
        return self.take(np.setdiff1d(documents, held)), self.take(held)


def cut(tokens: Tokens, room: int) -> Windows:
    """Cut documents into windows of at most ``room`` tokens.

    Raises:
        FrostlineError: the corpus is shorter than one window.
    """
    if len(tokens.ids) < room:
        raise FrostlineError(
            f"the corpus has {len(tokens.ids)} tokens, fewer than one sequence takes ({room} besides special tokens): "
            "pass more text, or shorter sequences (length)."
        )
    begin, end, document = [], [], []
    starts = tokens.words
    for number, (first, last) in enumerate(
        zip(tokens.documents[:-1].tolist(), tokens.documents[1:].tolist(), strict=True)
    ):
        place = first
        while last - place >= LEAST:
            stop = min(place + room, last)
            back = stop
            while back < last and back > place and not starts[back]:
                back -= 1
            stop = back if back > place else stop  # a word longer than the window is cut
            if stop - place >= LEAST:
                begin.append(place)
                end.append(stop)
                document.append(number)
            place = stop
    return Windows(tokens, *(np.asarray(column, dtype=np.int64) for column in (begin, end, document)))


@dataclass(frozen=True)
class Batch:
    """Inputs of a language model before anything is masked.

    Args:
        ids: int64, shape (n, t).
        seen: bool, shape (n, t): False on padding.
        types: int64, shape (n, t): 1 on the second text.
        word: int64, shape (n, t): number of the word in its row, -1 on special tokens and padding.
        strange: int64, shape (n,): whether the second text comes from another document; None without pairs.
    """

    ids: Tensor
    seen: Tensor
    types: Tensor
    word: Tensor
    strange: Tensor | None


class Singles:
    """Batches of one window a row.

    Args:
        windows: cut to the room of ``frame``.
        frame: special tokens around.
        pad: token of padding.
    """

    def __init__(self, windows: Windows, frame: Frame, pad: int) -> None:
        self.windows, self.frame, self.pad = windows, frame, pad

    def __len__(self) -> int:
        return len(self.windows)

    def __call__(self, rows: Sequence[int], generator: torch.Generator) -> Batch:
        """Return the batch of ``rows``; nothing is drawn."""
        spans = [[(int(self.windows.begin[row]), int(self.windows.end[row]))] for row in rows]
        return _stack(self.windows.tokens, spans, (self.frame.opening, self.frame.closing), False, self.pad, None)


class Pairs:
    """Batches of two texts a row: a window in two parts, or its first part and the second of another document's.

    Half of the pairs are strange ones (Devlin et al. 2019), drawn anew each time that a row is met. A window parts
    where a sentence begins, if one begins inside it. A strange part is filled as the true one: it has as many tokens,
    begins where a sentence (or a word) does and ends with a word, so that lengths say nothing of the label.

    Args:
        windows: cut to the room of ``frame``, of two documents or more.
        frame: special tokens around and between.
        pad: token of padding.

    Raises:
        FrostlineError: all windows are of one document.
    """

    def __init__(self, windows: Windows, frame: Frame, pad: int) -> None:
        self.windows, self.frame, self.pad = windows, frame, pad
        documents, first, self._document = np.unique(windows.document, return_index=True, return_inverse=True)
        self._begin, self._end = windows.begin[first], windows.end[np.append(first[1:], len(windows)) - 1]
        self._longest = np.argsort(self._begin - self._end, kind="stable")  # documents, the longest first
        self._rank = np.argsort(self._longest)
        self._sizes = (self._end - self._begin)[self._longest]
        if len(documents) < 2:
            raise FrostlineError(
                "next-sentence prediction needs two documents or more, and the corpus is one: part documents by "
                "empty lines or by lines that begin with \\x1e, or leave the task out (--no-next-sentence)."
            )

    def __len__(self) -> int:
        return len(self.windows)

    def __call__(self, rows: Sequence[int], generator: torch.Generator) -> Batch:
        """Return the batch of ``rows``; where windows part and which pairs are strange comes from ``generator``."""
        draws = torch.rand((len(rows), 4), generator=generator, dtype=torch.float64).tolist()
        spans, strange = [], []
        for row, (where, other, which, there) in zip(rows, draws, strict=True):
            begin, end = int(self.windows.begin[row]), int(self.windows.end[row])
            middle, marks = self._parting(begin, end, where)
            rank = int(self._rank[self._document[row]])
            room = min(end - middle, int(self._sizes[1 if rank == 0 else 0]))  # before it is known which it becomes
            second = (middle, middle + room)
            if other < 0.5:
                second = self._from_elsewhere(rank, which, there, room, marks)
            spans.append([(begin, middle), second])
            strange.append(STRANGE if other < 0.5 else FOLLOWS)
        labels = torch.tensor(strange, dtype=torch.int64)
        return _stack(self.windows.tokens, spans, self.frame.pair, self.frame.types, self.pad, labels)

    def _from_elsewhere(
        self, rank: int, which: float, where: float, room: int, marks: NDArray[np.bool_]
    ) -> tuple[int, int]:
        """Return ``room`` tokens of another document than the one of that rank, from one of ``marks`` on."""
        enough = int(np.searchsorted(-self._sizes, -room, side="right"))
        place = int(which * (enough - (rank < enough)))
        document = int(self._longest[place + (rank < enough and place >= rank)])
        begin, last = int(self._begin[document]), int(self._end[document]) - room
        stops = self.windows.tokens.words[begin + room : last + room + 1]
        whole = np.append(stops, True)[: last - begin + 1]  # the end of all tokens ends a word too
        whole[-1] = True
        starts = marks[begin : last + 1]
        # The first place of a document begins a sentence, and its last such place ends with a word.
        places = next(hits for each in (starts & whole, starts) if len(hits := np.flatnonzero(each)))
        start = begin + int(places[int(where * len(places))])
        return start, start + room

    def _parting(self, begin: int, end: int, draw: float) -> tuple[int, NDArray[np.bool_]]:
        """Return where a window parts, and the marks of all places that are like it."""
        tokens = self.windows.tokens
        for marks in (tokens.sentences, tokens.words):
            places = np.flatnonzero(marks[begin + 1 : end])
            if len(places):
                return begin + 1 + int(places[int(draw * len(places))]), marks
        return (begin + end) // 2, np.ones_like(tokens.words)


def _stack(
    tokens: Tokens,
    rows: Sequence[Sequence[tuple[int, int]]],
    around: Sequence[tuple[int, ...]],
    types: bool,
    pad: int,
    strange: Tensor | None,
) -> Batch:
    """Lay spans of tokens between special tokens, padded to a common length."""
    special = sum(len(part) for part in around)
    longest = max(special + sum(end - begin for begin, end in spans) for spans in rows)
    shape = (len(rows), -(-longest // MULTIPLE) * MULTIPLE)
    ids = np.full(shape, pad, dtype=np.int64)
    seen, kinds = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.int64)
    word = np.full(shape, -1, dtype=np.int64)
    for number, spans in enumerate(rows):
        place = len(around[0])
        ids[number, :place] = around[0]
        words = 0
        for part, (begin, end) in enumerate(spans):
            stop, closing = place + end - begin, around[part + 1]
            ids[number, place:stop] = tokens.ids[begin:end]
            marks = tokens.words[begin:end].copy()
            marks[0] = True  # what is left of a word that was cut counts as one
            word[number, place:stop] = words + np.cumsum(marks) - 1
            words += int(marks.sum())
            ids[number, stop : stop + len(closing)] = closing
            kinds[number, place : stop + len(closing)] = int(types and part > 0)
            place = stop + len(closing)
        seen[number, :place] = True
    tensors = [torch.from_numpy(each) for each in (ids, seen, kinds, word)]
    return Batch(tensors[0], tensors[1], tensors[2], tensors[3], strange)
