"""Relation pairs as batches: a sentence with both mentions, the cue hidden, and pairs that are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.seed import derive
from backbones.core.tokens import ROWS, TextPreprocessing, tokenize
from backbones.lifecycle.infuse.grammar import NONE
from backbones.lifecycle.infuse.pairs import Pair, Span, mentions, relations_of

DRAWS = 20  # tries to find another tail that makes no acquired pair


@dataclass(frozen=True)
class Split:
    """Pairs to learn from and pairs to be asked about."""

    train: list[Pair]
    held_out: list[Pair]


def split_heads(pairs: Sequence[Pair], share: float, seed: int) -> Split:
    """Hold out the pairs of some heads.

    A held-out head is no head and no tail of any pair that stays, and no sentence is on both sides: pairs that would
    break this stay on neither side.

    Args:
        pairs: all.
        share: of the heads to hold out, in [0, 1).
        seed: the lot of a head depends on it and on the head alone.
    """
    bar = share * float(1 << 63)
    held = [pair for pair in pairs if derive(seed, "held out", pair.head.casefold()) < bar]
    heads = {pair.head.casefold() for pair in held}
    sentences = {pair.example for pair in held}
    train = [
        pair
        for pair in pairs
        if pair.head.casefold() not in heads and pair.tail.casefold() not in heads and pair.example not in sentences
    ]
    return Split(train, held)


@dataclass(frozen=True)
class Batch:
    """Examples as a backbone takes them.

    Attributes:
        tokens: int64, shape (n, 3, tokens), see ``TextPreprocessing``.
        heads: bool, shape (n, tokens): the tokens of the head's mention.
        tails: the same of the tail's.
        labels: int64, shape (n,): the relation; 0 for none.
    """

    tokens: Tensor
    heads: Tensor
    tails: Tensor
    labels: Tensor


@dataclass(frozen=True)
class _Text:
    """A sentence, its mentions in characters, and the relation by number."""

    text: str
    head: Span
    tail: Span
    cue: Span
    label: int


@dataclass(frozen=True)
class _Row:
    """Token ids, marks of special ones, the places of head and tail among them, and the relation by number."""

    ids: list[int]
    special: list[int]
    head: list[int]
    tail: list[int]
    label: int


class Examples:
    """Makes batches of pairs.

    Args:
        backbone: a text encoder.
        pairs: with examples.
        labels: relations by number, ``none`` first; None for those of the pairs.
        known: pairs that no negative may repeat; None for ``pairs``.
        hide: replace the cue by mask tokens (unknown tokens where the tokenizer has no mask), so that the relation
            cannot be read off the words that found it.
        window: most tokens of an example; longer ones are cut around the mentions.

    Raises:
        FrostlineError: the backbone is no text encoder, or an example whose mentions do not fit into the window.
    """

    def __init__(
        self,
        backbone: Backbone,
        pairs: Sequence[Pair],
        labels: Sequence[str] | None = None,
        *,
        known: Sequence[Pair] | None = None,
        hide: bool = True,
        window: int = 48,
    ) -> None:
        check_text(backbone)
        self.labels = tuple(labels) if labels is not None else (NONE, *relations_of(pairs))
        self._prepare: TextPreprocessing = backbone.preprocessing  # type: ignore[assignment]
        self._window = min(window, self._prepare.window)
        self._hide = hide
        self._texts = [self._text(pair) for pair in pairs]
        self._known = {(p.head.casefold(), p.tail.casefold()) for p in (known if known is not None else pairs)}
        self._tails: dict[int, list[str]] = {}
        for each in self._texts:
            self._tails.setdefault(each.label, []).append(each.text[slice(*each.tail)])

    def __len__(self) -> int:
        return len(self._texts)

    def batches(
        self, rows: Sequence[int], generator: torch.Generator | None = None, negatives: float = 0.0
    ) -> list[Batch]:
        """Return the examples of some rows, those of one padded length together, the shortest first.

        Args:
            rows: which.
            generator: draws which become negatives, and their tails.
            negatives: probability that an example gets the tail of another pair of its relation and becomes ``none``;
                one for which no other tail is found stays what it is.
        """
        texts = [self._texts[row] for row in rows]
        if negatives > 0.0:
            assert generator is not None
            lots = torch.rand(len(texts), generator=generator).tolist()
            texts = [self._shuffled(t, generator) if lot < negatives else t for t, lot in zip(texts, lots, strict=True)]
        return self._batches(texts)

    def _shuffled(self, text: _Text, generator: torch.Generator) -> _Text:
        """Return an example with the tail of another pair of its relation in place of its own, labelled as none."""
        tails, head = self._tails[text.label], text.text[slice(*text.head)].casefold()
        own = text.text[slice(*text.tail)].casefold()
        for draw in torch.randint(len(tails), (DRAWS,), generator=generator).tolist():
            tail = tails[draw]
            folded = tail.casefold()
            if folded not in (own, head) and (head, folded) not in self._known:
                return _replaced(text, tail)
        return text

    def _text(self, pair: Pair) -> _Text:
        if pair.relation not in self.labels:
            raise FrostlineError(
                f"the relation {pair.relation!r} of {pair.head!r} and {pair.tail!r} is none of "
                f"{', '.join(self.labels)}; take the pair out, or infuse again with it."
            )
        found = mentions(pair.example, pair.head, pair.tail, pair.cue)
        assert found is not None, "pairs are checked when they are made"
        return _Text(pair.example, found.head, found.tail, found.cue, self.labels.index(pair.relation))

    def _batches(self, texts: Sequence[_Text]) -> list[Batch]:
        asked = {"return_special_tokens_mask": True, "return_offsets_mapping": True}
        found = tokenize(self._prepare.tokenizer, [each.text for each in texts], **asked)
        columns = (found["input_ids"], found["special_tokens_mask"], found["offset_mapping"])
        groups: dict[int, list[_Row]] = {}
        for each in zip(texts, *columns, strict=True):
            row = self._row(*each)
            groups.setdefault(self._rounded(len(row.ids)), []).append(row)
        return [self._stacked(rows, length) for length, rows in sorted(groups.items())]

    def _rounded(self, length: int) -> int:
        bucket = self._prepare.bucket
        return min(-(-length // bucket) * bucket, max(self._window, length))

    def _stacked(self, rows: Sequence[_Row], length: int) -> Batch:
        tokens = torch.zeros(len(rows), ROWS, length, dtype=torch.int64)
        tokens[:, 0] = int(self._prepare.tokenizer.pad_token_id)
        spans = torch.zeros(2, len(rows), length, dtype=torch.bool)
        for number, row in enumerate(rows):
            tokens[number, 0, : len(row.ids)] = torch.tensor(row.ids)
            tokens[number, 1, : len(row.ids)] = 1
            tokens[number, 2, : len(row.ids)] = torch.tensor(row.special)
            spans[0, number, row.head] = True
            spans[1, number, row.tail] = True
        return Batch(tokens, spans[0], spans[1], torch.tensor([row.label for row in rows]))

    def _row(self, text: _Text, ids: list[int], special: list[int], offsets: list[Span]) -> _Row:
        """Cut an example to the window, around its mentions, and hide its cue."""
        inside = [place for place, mark in enumerate(special) if not mark]

        def over(span: Span) -> list[int]:
            return [place for place in inside if offsets[place][0] < span[1] and span[0] < offsets[place][1]]

        head, tail, cue = over(text.head), over(text.tail), set(over(text.cue))
        room = self._window - (len(ids) - len(inside))
        first, last = min(head + tail, default=-1), max(head + tail, default=-1)
        if not head or not tail or last - first >= room:
            raise FrostlineError(
                f"the mentions {text.text[slice(*text.head)]!r} and {text.text[slice(*text.tail)]!r} do not fit into "
                f"{self._window} tokens in {text.text[:80]!r}; shorten the example or take the pair out."
            )
        if len(inside) > room:  # cut around the mentions
            start = min(max(inside[0], (first + last + 1 - room) // 2), inside[-1] + 1 - room)
            gone = {place for place in inside if not start <= place < start + room}
        else:
            gone = set()
        kept = [place for place in range(len(ids)) if place not in gone]
        at = {place: number for number, place in enumerate(kept)}
        hidden = self._hidden() if self._hide else None
        shown = [hidden if hidden is not None and place in cue else ids[place] for place in kept]
        return _Row(shown, [special[place] for place in kept], [at[p] for p in head], [at[p] for p in tail], text.label)

    def _hidden(self) -> int | None:
        tokenizer = self._prepare.tokenizer
        found = tokenizer.mask_token_id
        return found if found is not None else tokenizer.unk_token_id  # type: ignore[no-any-return]


def check_text(backbone: Backbone) -> None:
    """Raise FrostlineError unless ``backbone`` is a text encoder whose tokenizer says where tokens stand."""
    if not isinstance(backbone.preprocessing, TextPreprocessing):
        raise FrostlineError(
            f"backbone {backbone.name!r} takes {backbone.modality}s; relation pairs are infused into a text encoder, "
            "such as minilm, hf:bert-base-uncased or a folder of one."
        )


def _replaced(text: _Text, tail: str) -> _Text:
    start, stop = text.tail
    moved = len(tail) - (stop - start)

    def shift(span: Span) -> Span:
        return (span[0] + moved, span[1] + moved) if span[0] >= stop else span

    said = text.text[:start] + tail + text.text[stop:]
    return _Text(said, shift(text.head), (start, start + len(tail)), shift(text.cue), 0)
