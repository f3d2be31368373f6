"""One forward pass of a language model, with the head computed only where its answer is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from backbones.lm import LanguageModel

FAIR = 96  # tokens of a batch from which on padding costs more than another batch
LIKE = 0.9  # share of the longest row's length that a row needs to join such a batch
LOGITS = 26_000_000  # bytes of logits at a time: fewer waste the multiplication, more leave the cache


def logprobs(
    model: LanguageModel, places: Sequence[tuple[int, int]], wanted: Sequence[tuple[int, int]], **inputs: Any
) -> tuple[list[float], Any]:
    """Run the model once and return log-probabilities of some tokens at some positions, in nats.

    The head's matrix has a column for each token of the vocabulary, so the head over all positions may cost as much as
    all layers, and its output is what fills memory. So positions that nobody asks for do not enter it, and the others
    enter it a few at a time. Models that do more to logits than their head does are left to do it (see head_is_last).

    Args:
        model: masked or causal.
        places: (row, column) in the batch of the positions that are asked, at least one.
        wanted: (number of the place, token) pairs.
        inputs: what the model takes, ``input_ids`` of shape (batch, length) among it.

    Returns:
        One value for each wanted pair, and the model's whole output.
    """
    index = torch.tensor(places, device=model.device)
    shape = tuple(inputs["input_ids"].shape)
    last = model.head_is_last
    caught: list[Tensor] = []

    def narrow(_: Any, entering: tuple[Any, ...]) -> tuple[Any, ...] | None:
        hidden = entering[0]
        if caught or not isinstance(hidden, Tensor) or tuple(hidden.shape[:2]) != shape:
            return None
        caught.append(hidden[index[:, 0], index[:, 1]])
        return (caught[0][None, :1] if last else caught[0][None], *entering[1:])

    head = model.module.get_output_embeddings()
    hook = head.register_forward_pre_hook(narrow) if head is not None else None
    try:
        output = model.module(**inputs)
    finally:
        if hook is not None:
            hook.remove()
    if not (caught and last):
        return _values(output.logits[0] if caught else output.logits[index[:, 0], index[:, 1]], wanted, 0), output
    size = max(1, LOGITS // (4 * output.logits.shape[-1]))
    values = [0.0] * len(wanted)
    order = sorted(range(len(wanted)), key=lambda number: wanted[number][0])
    at = 0
    for start in range(0, len(places), size):
        stop = at
        while stop < len(order) and wanted[order[stop]][0] < start + size:
            stop += 1
        part, at = order[at:stop], stop
        if part:
            logits = head(caught[0][start : start + size])
            found = _values(logits, [wanted[number] for number in part], start)
            for number, value in zip(part, found, strict=True):
                values[number] = value
    return values, output


def _values(logits: Tensor, wanted: Sequence[tuple[int, int]], start: int) -> list[float]:
    """Return log-probabilities of (row + start, token) pairs; logits, shape (n, vocabulary), are overwritten."""
    if not wanted:
        return []
    rows = torch.tensor([row - start for row, _ in wanted], device=logits.device)
    tokens = torch.tensor([token for _, token in wanted], device=logits.device)
    logits = logits.float()
    chosen = logits[rows, tokens]
    most = logits.amax(-1, keepdim=True)
    normalisers = logits.sub_(most).exp_().sum(-1).double().log() + most[:, 0].double()
    values: list[float] = (chosen.double() - normalisers[rows]).tolist()
    return values


def pad(rows: Sequence[Sequence[int]], fill: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return ids and attention mask of rows of unequal length, padded on the right: int64, shape (n, longest)."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    return ids, (torch.arange(longest, device=device)[None] < lengths[:, None]).long()


def filler(model: LanguageModel) -> int:
    """Return the token that fills up short rows; where there is none, any: it is masked."""
    token = model.tokenizer.pad_token_id
    return int(token) if token is not None else 0


def batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Return indices in batches of like length.

    Args:
        lengths: tokens of each row.
        budget: most tokens of a batch, padding included; a batch of fair size takes no row that would be padded much.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    found: list[list[int]] = []
    for index in order:
        longest, count = (lengths[found[-1][0]], len(found[-1])) if found else (0, 0)
        much = longest * count >= FAIR and lengths[index] < LIKE * longest
        if count and longest * (count + 1) <= budget and not much:
            found[-1].append(index)
        else:
            found.append([index])
    return found
