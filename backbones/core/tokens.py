"""Preprocessing of texts: token ids, a mask and the places of special tokens, padded to a length of few kinds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from backbones.core.artifacts import digest_json
from backbones.core.errors import FrostlineError

LONE = re.compile("[\ud800-\udfff]")
REMEMBERED = 100_000  # texts whose token ids are kept
MUCH = 0.05  # share of unknown tokens from which on it is told
ROWS = 3  # of a batch: ids, mask, special


class TextPreprocessing:
    """How raw texts become a batch: int64, shape (n, 3, tokens) with the rows token id, mask and special.

    The mask is 1 on tokens and 0 on padding; special is 1 on the tokens that the tokenizer adds to open and close a
    text ([CLS], [SEP], <s> ...). Lengths are rounded up to a multiple of ``bucket``: texts of one length form a group.

    Args:
        tokenizer: a fast transformers tokenizer.
        window: most tokens of a text, special ones included; longer texts are cut at the end, which is remarked.
        bucket: lengths are rounded up to a multiple of it.
        prompt: what every text opens with; it counts as a part of the text.
        lower: whether texts are written in small letters first.

    Raises:
        FrostlineError: a window that leaves no room for text, or a tokenizer without padding.
    """

    def __init__(self, tokenizer: Any, window: int, bucket: int = 8, prompt: str = "", *, lower: bool = False) -> None:
        reserved = tokenizer.num_special_tokens_to_add()
        if window <= reserved:
            raise FrostlineError(
                f"a window of {window} tokens has no room for text: this tokenizer adds {reserved} special ones; pass "
                f"{reserved + 1} or more."
            )
        if tokenizer.pad_token_id is None:
            raise FrostlineError("the tokenizer has no padding token; set pad_token in its tokenizer_config.json.")
        self.tokenizer = tokenizer
        self.window = window
        self.bucket = bucket
        self.prompt = prompt
        self.lower = lower
        self.size = window
        self.spare = 0  # places of padding that every text keeps
        self._known: dict[str, tuple[list[int], list[int]]] = {}
        self._cut: set[str] = set()
        self._unknown = self._read = 0  # tokens that the tokenizer does not know, and all

    def padded(self, positions: int | None) -> TextPreprocessing:
        """Return the same preprocessing where every text keeps at least one place of padding.

        Args:
            positions: most tokens and padding that the model takes, None for any number.
        """
        window = self.window if positions is None else min(self.window, positions - 1)
        found = TextPreprocessing(self.tokenizer, window, self.bucket, self.prompt, lower=self.lower)
        found.spare = 1
        return found

    def opening(self) -> int:
        """Return how many special tokens stand in front of a text."""
        special = tokenize(self.tokenizer, ["a"], return_special_tokens_mask=True)["special_tokens_mask"][0]
        return next((number for number, found in enumerate(special) if not found), 0)

    def described(self) -> dict[str, Any]:
        """Return all settings, for reports and keys."""
        return {
            "window": self.window,
            "bucket": self.bucket,
            **({"spare": self.spare} if self.spare else {}),
            **({"prompt": self.prompt} if self.prompt else {}),
            **({"lower": True} if self.lower else {}),
            "tokenizer": digest_json(
                [
                    self.tokenizer.backend_tokenizer.to_str(),
                    {key: str(value) for key, value in self.tokenizer.special_tokens_map.items()},
                ]
            ),
        }

    def __call__(self, raw: Sequence[str]) -> Tensor:
        """Return int64 of shape (len(raw), 3, tokens), padded to the longest group in ``raw``.

        Raises:
            FrostlineError: an input that is no text.
        """
        rows = self._tokens(raw)
        length = max((self._rounded(len(ids)) for ids, _ in rows), default=self.bucket)
        batch = torch.zeros(len(rows), ROWS, length, dtype=torch.int64)
        batch[:, 0] = int(self.tokenizer.pad_token_id)
        for number, (ids, special) in enumerate(rows):
            batch[number, 0, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
            batch[number, 1, : len(ids)] = 1
            batch[number, 2, : len(ids)] = torch.tensor(special, dtype=torch.int64)
        return batch

    def groups(self, raw: Sequence[str]) -> list[int]:
        """Return the padded length of each text, in tokens."""
        return [self._rounded(len(ids)) for ids, _ in self._tokens(raw)]

    def pack(self, batch: Tensor, tokens: Tensor) -> Tensor:
        """Put ids, mask and special in front of the hidden states: (n, tokens, 3 + width)."""
        states = tokens.float()  # token ids are exact in float32, not in bf16
        return torch.cat([batch.transpose(1, 2).to(states), states], dim=2)

    def unpack(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the batch and the hidden states."""
        # Dense, as a block gives them: a product of strided states may round otherwise.
        return packed[..., :ROWS].long().transpose(1, 2), packed[..., ROWS:].contiguous()

    def groups_of(self, packed: Tensor) -> list[int]:
        """Return the padded length of each packed row."""
        return [self._rounded(int(length)) for length in packed[..., 1].sum(dim=1).tolist()]

    def cut(self, packed: Tensor, group: int) -> Tensor:
        """Return packed rows with ``group`` tokens."""
        return packed[:, :group]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Stack packed rows, padded to the longest."""
        longest = max(part.shape[1] for part in parts)
        return torch.cat([self._padded(part, longest) for part in parts])

    def remarks(self) -> list[str]:
        """Return how many texts were cut, and what share of tokens is unknown, if that is more than a few."""
        found = []
        if self._cut:
            found.append(f"{len(self._cut)} texts are longer than {self.window} tokens; their ends were cut off")
        if self._unknown > MUCH * self._read:
            share = 100 * self._unknown / self._read
            found.append(f"the tokenizer does not know {share:.0f} % of the tokens of these texts: all such read alike")
        return found

    def _padded(self, part: Tensor, length: int) -> Tensor:
        if part.shape[1] == length:
            return part
        more = part.new_zeros(len(part), length - part.shape[1], part.shape[2])
        more[..., 0] = float(self.tokenizer.pad_token_id)
        return torch.cat([part, more], dim=1)

    def _rounded(self, length: int) -> int:
        length += self.spare
        return min(-(-length // self.bucket) * self.bucket, max(self.window + self.spare, length))

    def _tokens(self, raw: Sequence[str]) -> list[tuple[list[int], list[int]]]:
        fresh = [text for text in dict.fromkeys(raw) if _checked(text) not in self._known]
        if fresh:
            if len(self._known) + len(fresh) > REMEMBERED:
                self._known.clear()
                fresh = list(dict.fromkeys(raw))
            self._remember(fresh)
        return [self._known[text] for text in raw]

    def _remember(self, texts: list[str]) -> None:
        read = [self.prompt + text for text in texts]
        read = [text.lower() for text in read] if self.lower else read
        found = tokenize(self.tokenizer, read, return_special_tokens_mask=True)
        for text, ids, special in zip(texts, found["input_ids"], found["special_tokens_mask"], strict=True):
            self._unknown += ids.count(self.tokenizer.unk_token_id)
            self._read += len(ids) - sum(special)
            if len(ids) > self.window:
                self._cut.add(text)
            self._known[text] = self._within(list(ids), list(special))

    def _within(self, ids: list[int], special: list[int]) -> tuple[list[int], list[int]]:
        """Cut the end of the text, not the special tokens that close it."""
        closing = 0
        while closing < len(special) and special[len(special) - 1 - closing]:
            closing += 1
        over = len(ids) - self.window
        if over <= 0 or closing == len(special):
            return ids, special
        stop = len(ids) - closing
        return ids[: stop - over] + ids[stop:], special[: stop - over] + special[stop:]


def tokenize(tokenizer: Any, texts: Sequence[str], **wanted: bool) -> Any:
    """Return what a tokenizer makes of raw texts, never cut, never padded: token ids and what else is ``wanted``.

    Text that spells a special token, such as ``[MASK]``, is text; half a surrogate pair, which no tokenizer takes, is
    read as the replacement character.

    Args:
        tokenizer: a fast transformers tokenizer.
        texts: n texts.
        wanted: arguments of the tokenizer, such as ``return_offsets_mapping=True``.
    """
    return _tokenize(tokenizer, (texts,), wanted)


def tokenize_pairs(tokenizer: Any, texts: Sequence[str], beside: Sequence[str], **wanted: bool) -> Any:
    """Return what a tokenizer makes of pairs of raw texts, see ``tokenize``."""
    return _tokenize(tokenizer, (texts, beside), wanted)


def _tokenize(tokenizer: Any, parts: Sequence[Sequence[str]], wanted: dict[str, bool]) -> Any:
    usual = {"return_attention_mask": False, "return_token_type_ids": False, "truncation": False, "padding": False}
    given = {**usual, "split_special_tokens": True, "verbose": False, **wanted}
    return tokenizer(*([LONE.sub("\ufffd", text) for text in part] for part in parts), **given)


def _checked(text: Any) -> str:
    if not isinstance(text, str):
        raise FrostlineError(
            f"a text backbone met {type(text).__name__} as input; it takes texts (str). For images choose a vision "
            "backbone, such as bundled:vit-micro."
        )
    return text
