"""Masked-language modelling of a text encoder without a word head: what a domain difference is trained by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, layer_norm

from backbones.base import Backbone
from backbones.compose.difference import Difference, difference_of
from backbones.core.seed import torch_generator
from backbones.pat.sparse import Sparse

IGNORED = -100  # label of a token that was not masked
BATCH = 32
HEAD_RATE, HEAD_RATE_LATER = 3e-3, 1e-3
Batch = tuple[Tensor, Tensor]


class WordHead(nn.Module):
    """Masked-word head: an affine map (the identity at first), then the frozen word embeddings; thrown away after.

    Args:
        embeddings: float32, shape (words, width); frozen.
        counts: how often each word occurs in the texts, which the bias starts from; shape (words,).
    """

    def __init__(self, embeddings: Tensor, counts: Tensor) -> None:
        super().__init__()
        self.embeddings = layer_norm(embeddings, embeddings.shape[1:])
        self.map = nn.Parameter(torch.eye(embeddings.shape[1]))
        self.scale = nn.Parameter(torch.tensor(0.01))
        self.bias = nn.Parameter(((counts + 0.5) / (counts + 0.5).sum()).log())

    def forward(self, states: Tensor) -> Tensor:
        """Return logits, shape (n, words), of hidden states, shape (n, width)."""
        return self.scale * layer_norm(states @ self.map, states.shape[1:]) @ self.embeddings.T + self.bias


def masked(batch: Tensor, mask_token: int, words: int, generator: torch.Generator) -> Batch:
    """Hide 15 % of the tokens of a text batch, as BERT does: 80 % by the mask, 10 % by a random word, 10 % not at all.

    Returns:
        The batch and int64 labels of shape (n, tokens), ``IGNORED`` where there is nothing to guess.
    """
    ids, text = batch[:, 0], batch[:, 1].bool() & ~batch[:, 2].bool()
    chosen = text & (torch.rand(ids.shape, generator=generator) < 0.15)
    how = torch.rand(ids.shape, generator=generator)
    noise = torch.randint(0, words, ids.shape, generator=generator)
    hidden = torch.where(chosen & (how < 0.8), mask_token, torch.where(chosen & (how > 0.9), noise, ids))
    return torch.stack([hidden, batch[:, 1], batch[:, 2]], dim=1), ids.masked_fill(~chosen, IGNORED)


def domain_difference(
    backbone: Backbone, pat: Sparse, texts: Sequence[str], held: Sequence[str], steps: int, lr: float, seed: int
) -> Difference:
    """Train a difference by masked-language modelling.

    The head learns alone for ``steps`` optimizer steps first, then body and head together for ``steps`` in each of the
    two stages of the difference.

    Args:
        backbone: a text encoder with nothing on it.
        pat: what may change.
        texts: to learn from.
        held: other texts; the loss on them without and with the difference is noted in its settings.
        steps: see above; lr: peak rate of the body.
        seed: of the order, the masks and the selection before training.
    """
    prepare: Any = backbone.preprocessing
    embeddings = backbone.frozen_state()["embeddings.word_embeddings.weight"].detach()
    ids = prepare(texts)
    counts = torch.bincount(ids[:, 0][ids[:, 1].bool()], minlength=len(embeddings)).float()
    head = WordHead(embeddings, counts)
    generator = torch_generator(seed, "compose", "masks")

    def batches(rows: Tensor, draw: torch.Generator) -> Iterator[Batch]:
        for part in rows.split(BATCH):
            chosen = prepare([texts[row] for row in part.tolist()])
            yield masked(chosen, prepare.tokenizer.mask_token_id, len(embeddings), draw)

    def some(count: int) -> Iterator[Batch]:
        return batches(torch.randint(0, len(texts), (count * BATCH,), generator=generator), generator)

    hold = [masked(prepare(held), prepare.tokenizer.mask_token_id, len(embeddings), torch_generator(0, "held"))]
    _learn(backbone, head, [], some(steps), steps, 0.0, HEAD_RATE)
    before = _loss(backbone, head, hold)
    after = before
    delta = pat.grow(backbone, seed)
    try:
        for stage in range(delta.stages(0)):
            delta.enter(0, stage)
            _learn(backbone, head, list(delta.parameters()), some(steps), steps, lr, HEAD_RATE_LATER)
            print(
                f"  words, seed {seed}, stage {stage + 1}: {before:.3f}, {_loss(backbone, head, hold):.3f}", flush=True
            )
        after = _loss(backbone, head, hold)
        found = difference_of(delta, f"domain-{seed}")
    finally:
        delta.detach()
    alone = _loss(backbone, head, hold)
    losses = {"loss_before": before, "loss_after": after, "loss_without": alone}
    return replace(found, settings={**found.settings, **losses})


def _learn(
    backbone: Backbone,
    head: WordHead,
    body: list[nn.Parameter],
    batches: Iterator[Batch],
    steps: int,
    lr: float,
    head_lr: float,
) -> None:
    groups = [{"params": list(head.parameters()), "lr": head_lr}, {"params": body, "lr": lr}]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.0)
    peaks = [group["lr"] for group in optimizer.param_groups]
    for step, batch in enumerate(batches):
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * min(1.0, (step + 1) / (0.1 * steps)) * (1 - step / steps)
        optimizer.zero_grad()
        guess(backbone, head, batch, trained=bool(body)).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([*body, *head.parameters()], 1.0)
        optimizer.step()


@torch.no_grad()
def _loss(backbone: Backbone, head: WordHead, batches: Sequence[Batch]) -> float:
    return sum(guess(backbone, head, batch, trained=False).item() for batch in batches) / len(batches)


def guess(backbone: Backbone, head: WordHead, batch: Batch, *, trained: bool) -> Tensor:
    """Return the mean loss, in nats, of guessing the hidden words of a batch; ``trained``: gradients reach the body."""
    hidden, wanted = batch
    seen = hidden[:, 1].bool()[:, None, None, :].expand(-1, 1, hidden.shape[2], -1)
    with torch.set_grad_enabled(trained):
        states = backbone.module(input_ids=hidden[:, 0], attention_mask=seen).last_hidden_state[wanted != IGNORED]
    return cross_entropy(head(states), wanted[wanted != IGNORED])
