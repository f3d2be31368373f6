"""Acceptability by minimal pairs: which of two sentences a language model finds likelier, as in BLiMP.

Sources: pseudo-log-likelihood, Salazar et al., ACL 2020 (arXiv 1910.14659); minimal pairs, Warstadt et al., TACL 2020
(arXiv 1912.00582).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.core.tokens import tokenize
from backbones.lm import LanguageModel

Named = Mapping[str, Sequence[tuple[str, str]]]
TIED = 1e-4  # nats: two sentences this near are tied; single precision cannot tell them apart
TOKENS = 2048  # of a forward pass
TOGETHER = 4096  # sentences whose masked inputs are held at a time


@dataclass(frozen=True)
class Pairs:
    """Log-likelihoods of minimal pairs, by paradigm.

    Attributes:
        good, bad: paradigm -> nats of the sentences, float64, shape (n,).
        accuracy: paradigm -> share of the pairs whose good sentence is likelier; a tie (both within ``TIED`` nats, as
            a model that cannot tell them apart gives) counts one half.
        ties: share of all pairs that are tied.
    """

    good: dict[str, NDArray[np.float64]]
    bad: dict[str, NDArray[np.float64]]

    @property
    def accuracy(self) -> dict[str, float]:
        return {name: float(np.mean(_won(self.good[name], self.bad[name]))) for name in self.good}

    @property
    def overall(self) -> float:
        """Mean of the paradigms' accuracies: each counts alike, as in BLiMP."""
        return float(np.mean(list(self.accuracy.values())))

    @property
    def ties(self) -> float:
        tied = [_won(self.good[name], self.bad[name]) == 0.5 for name in self.good]
        return float(np.mean(np.concatenate(tied)))


def _won(good: NDArray[np.float64], bad: NDArray[np.float64]) -> NDArray[np.float64]:
    gap = good - bad
    return np.where(np.abs(gap) <= TIED, 0.5, (gap > 0).astype(np.float64))


def minimal_pairs(language_model: LanguageModel, pairs: Named, progress: Progress = silent) -> Pairs:
    """Compare the sentences of minimal pairs under a masked or causal language model.

    Args:
        language_model: of kind masked (pseudo-log-likelihood) or causal (log-likelihood).
        pairs: paradigm -> (good, bad) sentences.
        progress: told of sentences.

    Raises:
        FrostlineError: no pairs; see pseudo_log_likelihood.
    """
    empty = [name for name, rows in pairs.items() if not len(rows)]
    if not pairs or empty:
        which = f"paradigm {empty[0]!r} holds" if empty else "the set holds"
        raise FrostlineError(f"minimal pairs: {which} no pairs; pass at least one (good, bad) pair for each paradigm.")
    sentences = [sentence for rows in pairs.values() for pair in rows for sentence in pair]
    scores = pseudo_log_likelihood(language_model, sentences, progress).reshape(-1, 2)
    bounds = np.cumsum([len(rows) for rows in pairs.values()])[:-1]
    parts = dict(zip(pairs, np.split(scores, bounds), strict=True))
    return Pairs({name: part[:, 0] for name, part in parts.items()}, {name: part[:, 1] for name, part in parts.items()})


def pseudo_log_likelihood(
    language_model: LanguageModel, sentences: Sequence[str], progress: Progress = silent
) -> NDArray[np.float64]:
    """Return how likely a language model finds each sentence, in nats: float64, shape (n,).

    A masked model: the sum over the tokens of the log-probability of the token where it alone is masked and all others
    are seen; special tokens are seen and never masked. A causal model: the sum of the log-probabilities of the tokens
    given those before; the first token of a tokenizer without a token for the beginning is not counted.

    Inputs are batched by equal length, so nothing is padded, and equal ones run once. Other sentences in the call, or
    another order, change a score by rounding alone.

    Args:
        language_model: of kind masked or causal.
        sentences: raw texts.
        progress: told of sentences.

    Raises:
        FrostlineError: a sentence without a token or too long for the model; an encoder without a head.
    """
    if language_model.kind not in ("masked", "causal"):
        raise FrostlineError(
            f"language model {language_model.name!r} was loaded as an {language_model.kind}, which predicts no tokens; "
            "load it as masked or causal."
        )
    run = _masked if language_model.kind == "masked" else _causal
    found = np.zeros(len(sentences))
    for start in range(0, len(sentences), TOGETHER):
        part = list(sentences[start : start + TOGETHER])
        encoded = _encode(language_model, part)
        with torch.inference_mode():
            for done, row, value in run(language_model, encoded):
                found[start + row] += value
                progress("likelihoods", start + int(done * len(part)), len(sentences))
    progress("likelihoods", len(sentences), len(sentences))
    return found


def pseudo_perplexity(
    language_model: LanguageModel, sentences: Sequence[str], progress: Progress = silent
) -> tuple[float, int]:
    """Return exp(- sum of log-likelihoods / number of tokens), and that number; special tokens are not counted."""
    scores = pseudo_log_likelihood(language_model, sentences, progress)
    tokens = sum(len(places) for _, places in _encode(language_model, list(sentences)))
    return float(np.exp(-scores.sum() / tokens)), tokens


Encoded = list[tuple[list[int], list[int]]]
"""Token ids of a sentence, and the places among them that count."""


def _encode(model: LanguageModel, sentences: list[str]) -> Encoded:
    encoded: Any = tokenize(model.tokenizer, sentences, return_special_tokens_mask=True)
    found: Encoded = []
    for text, ids, special in zip(sentences, encoded["input_ids"], encoded["special_tokens_mask"], strict=True):
        places = [place for place, is_special in enumerate(special) if not is_special]
        if not places:
            raise FrostlineError(f"the sentence {text!r} has no token; leave empty sentences out.")
        if model.kind == "causal" and places[0] == 0:
            begin = model.tokenizer.bos_token_id
            ids = ids if begin is None else [begin, *ids]
            places = places[1:] if begin is None else [place + 1 for place in places]
        if model.window is not None and len(ids) > model.window:
            raise FrostlineError(
                f"the sentence {text[:60]!r}... has {len(ids)} tokens and {model.name!r} takes {model.window}; "
                "leave it out or cut it."
            )
        found.append((ids, places))
    return found


def _masked(model: LanguageModel, encoded: Encoded) -> Iterator[tuple[float, int, float]]:
    """Yield (share done, sentence, log-probability of one of its tokens)."""
    table: dict[tuple[int, ...], list[tuple[int, int, int]]] = {}
    for number, (ids, places) in enumerate(encoded):
        for place in places:
            row = (*ids[:place], model.tokenizer.mask_token_id, *ids[place + 1 :])
            table.setdefault(row, []).append((number, place, ids[place]))
    done = 0
    for rows in _equally_long(list(table)):
        asked = [(at, *item) for at, row in enumerate(rows) for item in table[row]]
        index = torch.tensor([[at, place] for at, _, place, _ in asked], device=model.device)
        logits = _logits(model, torch.tensor(rows, device=model.device), index)
        values = _logprobs(logits, torch.tensor([token for *_, token in asked], device=model.device))
        done += len(rows)
        for (_, number, _, _), value in zip(asked, values, strict=True):
            yield done / len(table), number, value


def _causal(model: LanguageModel, encoded: Encoded) -> Iterator[tuple[float, int, float]]:
    """Yield (share done, sentence, log-probability of one of its tokens)."""
    table: dict[tuple[int, ...], list[int]] = {}
    for number, (ids, _) in enumerate(encoded):
        table.setdefault(tuple(ids), []).append(number)
    done = 0
    for rows in _equally_long(list(table), TOKENS // 4):
        asked = [(at, place) for at, row in enumerate(rows) for place in encoded[table[row][0]][1]]
        batch = torch.tensor(rows, device=model.device)
        done += len(rows)
        if not asked:
            continue
        index = torch.tensor(asked, device=model.device)
        logits = model.module(input_ids=batch).logits[index[:, 0], index[:, 1] - 1]
        for (at, _), value in zip(asked, _logprobs(logits, batch[index[:, 0], index[:, 1]]), strict=True):
            for number in table[rows[at]]:
                yield done / len(table), number, value


def _equally_long(rows: Iterable[tuple[int, ...]], tokens: int = TOKENS) -> Iterator[list[tuple[int, ...]]]:
    """Yield rows in batches of one length and about so many tokens; the order given does not matter."""
    batch: list[tuple[int, ...]] = []
    for row in sorted(rows, key=lambda row: (len(row), row)):
        if batch and (len(row) != len(batch[0]) or len(row) * (len(batch) + 1) > tokens):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _logits(model: LanguageModel, ids: Tensor, places: Tensor) -> Tensor:
    """Return logits, shape (n, vocabulary), at ``places``, shape (n, 2), of ``ids``; the head's matrix sees no other.

    Over all places that matrix would cost as much as all layers of a small model.
    """
    shape = tuple(ids.shape)
    narrowed = False

    def narrow(_: Any, entering: tuple[Any, ...]) -> tuple[Any, ...] | None:
        nonlocal narrowed
        hidden = entering[0]
        if narrowed or not isinstance(hidden, Tensor) or tuple(hidden.shape[:2]) != shape:
            return None
        narrowed = True
        return (hidden[places[:, 0], places[:, 1]][:, None], *entering[1:])

    head = model.module.get_output_embeddings()
    hook = head.register_forward_pre_hook(narrow) if head is not None else None
    try:
        logits: Tensor = model.module(input_ids=ids).logits
    finally:
        if hook is not None:
            hook.remove()
    return logits[:, 0] if narrowed else logits[places[:, 0], places[:, 1]]


def _logprobs(logits: Tensor, tokens: Tensor) -> list[float]:
    """Return the log-probability of one token in each row of logits, shape (n, vocabulary)."""
    logits = logits.float()
    most = logits.amax(-1, keepdim=True)
    total = (logits - most).exp_().sum(-1).double().log() + most[:, 0].double()
    values: list[float] = (logits.gather(1, tokens[:, None])[:, 0].double() - total).tolist()
    return values
