"""Masked-language modelling: which words are hidden, and by what (Devlin et al. 2019)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

IGNORED = -100  # label of a token that is not asked for


class Masking:
    """Hides words of a batch: 80 % by the mask, 10 % by a random token, 10 % not at all.

    The corruption is transformers' ``DataCollatorForLanguageModeling``, driven by our generator. The choice is ours:
    its whole-word variant hides more than the share asked for (a word of k tokens with 1 - (1 - share)^k) and knows
    neither random tokens nor kept ones.

    Args:
        tokenizer: with a mask token.
        share: of tokens to hide; a row in which the draw hides none hides one word.
        whole_words: all tokens of a word are hidden or none.
    """

    def __init__(self, tokenizer: Any, share: float = 0.15, *, whole_words: bool = False) -> None:
        from transformers import DataCollatorForLanguageModeling

        self.share = share
        self.whole_words = whole_words
        # All positions that we leave open are taken: the choice has been made.
        self._collator: Any = DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm_probability=1.0)

    def choose(self, word: Tensor, generator: torch.Generator) -> Tensor:
        """Return which tokens to hide: bool, shape (n, t).

        Args:
            word: int64, shape (n, t): number of the word in its row, -1 where nothing may be hidden.
            generator: of the choice.
        """
        open_ = word >= 0
        draws = torch.rand(word.shape, generator=generator)
        if self.whole_words:
            draws = draws.gather(1, word.clamp(min=0))
        draws = draws.masked_fill(~open_, 2.0)
        least = draws.min(dim=1, keepdim=True).values
        return ((draws < self.share) | (draws == least)) & open_

    def __call__(self, ids: Tensor, word: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return what the model reads and what it is asked: int64, shape (n, t); ``IGNORED`` where nothing is asked.

        Args:
            ids: int64, shape (n, t).
            word: see choose.
            generator: of all draws.
        """
        chosen = self.choose(word, generator)
        self._collator.generator = generator
        hidden, labels = self._collator.torch_mask_tokens(ids.clone(), special_tokens_mask=~chosen)
        return hidden, labels
