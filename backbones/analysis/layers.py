"""Features of every layer from one pass through the blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from backbones.base import Backbone
from backbones.core.launch import autocast, fitting, pick_precision
from backbones.core.samples import Progress, silent
from backbones.core.settings import Settings
from backbones.delta import Delta
from backbones.encoder import usual_chunk
from backbones.stored import parts

EMBEDDINGS = "embeddings"


class Listen(Settings):
    """Settings of the delta that listens to every layer: nothing to choose."""


def layer_names(depth: int) -> list[str]:
    """Return the names of what ``layer_features`` gives: ``"embeddings"``, then the numbers of the blocks."""
    return [EMBEDDINGS, *map(str, range(depth))]


class _Listener:
    """What one pass has said: the output of the embedding, what enters block 0, what leaves every block."""

    def __init__(self) -> None:
        self.embedded: Any = None
        self.states: list[Tensor] = []
        self.shown: Tensor | None = None  # hidden states that the blocks now give in place of their own

    def embed(self, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if self.shown is None:
            self.embedded = call(*args, **named)
        return self.embedded

    def enter(self, tokens: Tensor) -> Tensor:
        if self.shown is None:
            self.states = [tokens]
        return tokens

    def block(self, last: bool, call: Callable[..., Any], tokens: Tensor, *args: Any, **named: Any) -> Any:
        if self.shown is not None:
            return self.shown if last else tokens
        given = call(tokens, *args, **named)
        self.states.append(given[0] if isinstance(given, tuple) else given)
        return given


@contextmanager
def listening(backbone: Backbone) -> Iterator[tuple[Callable[[Any], Tensor], Callable[[Any], list[Tensor]]]]:
    """Let every layer of a backbone be heard for a while.

    Yields:
        ``pooled`` and ``states``, functions of a preprocessed batch. The first returns, of every layer, what the
        backbone makes of its hidden states, shape (batch, depth + 1, width): the blocks run once, then the last norm
        and the pooling of the backbone run on each layer's states, as if the backbone ended there. The second returns
        the hidden states themselves, depth + 1 tensors of shape (batch, tokens, width): the embeddings, which enter
        block 0, then the output of each block.
    """
    listener = _Listener()
    blocks = backbone.sites("block")

    def states(batch: Any) -> list[Tensor]:
        backbone.features(batch)
        return listener.states

    def pooled(batch: Any) -> Tensor:
        last = backbone.features(batch)
        found = []
        try:
            for hidden in listener.states[:-1]:
                listener.shown = hidden
                found.append(backbone.features(batch))
        finally:
            listener.shown = None
        return torch.stack([*found, last], dim=1)

    with Delta(backbone, Listen()) as delta:
        delta.around(backbone.sites("embed")[0], listener.embed)
        delta.before(blocks[0], listener.enter)
        for site in blocks:
            delta.around(site, partial(listener.block, site == blocks[-1]))
        yield pooled, states


def layer_features(
    backbone: Backbone,
    samples: Sequence[Any],
    *,
    precision: str = "auto",
    chunk: int | None = None,
    progress: Progress = silent,
    phase: str = "features of all layers",
) -> Tensor:
    """Return what a backbone says of each sample after every layer, pooled as it pools its last.

    Every forward pass has the same shape (short chunks are padded), so that a sample's features do not depend on the
    samples beside it; those of the last layer are the features that the backbone gives.

    Args:
        backbone: the frozen transformer, with what deltas are on it.
        samples: n raw inputs, see ``Backbone.preprocessing``.
        precision: ``"fp32"``, ``"bf16"`` or ``"auto"`` (bf16 where the device computes it natively).
        chunk: samples per forward pass, None for a good number; halved when memory runs out.
        progress: told (phase, samples done, samples in all).
        phase: what to call the work.

    Returns:
        float32 on the CPU, shape (n, depth + 1, width), in the order of ``layer_names``.
    """
    size = chunk or usual_chunk(backbone)
    precision = pick_precision(precision, backbone.device)
    while True:
        work = partial(_encoded, backbone, samples, precision, size, progress, phase)
        if (found := fitting(work, smallest=size == 1)) is not None:
            return found
        size //= 2


def _encoded(
    backbone: Backbone, samples: Sequence[Any], precision: str, size: int, progress: Progress, phase: str
) -> Tensor:
    found = torch.empty(len(samples), backbone.depth + 1, backbone.width)
    with listening(backbone) as (pooled, _), torch.inference_mode(), autocast(backbone.device, precision):
        for rows, batch in batches(backbone, samples, size, progress, phase):
            found[rows] = pooled(batch)[: len(rows)].float().cpu()
    return found


def batches(
    backbone: Backbone, samples: Sequence[Any], size: int, progress: Progress, phase: str
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield (rows, their batch on the backbone's device): inputs of one length together, short batches padded.

    Args:
        backbone: whose preprocessing makes the batches.
        samples: raw inputs.
        size: rows of every batch, with the padding.
        progress: told (phase, samples done, samples in all).
        phase: what to call the work.
    """
    prepare, count = backbone.preprocessing, len(samples)
    progress(phase, 0, count)
    for done, _, rows in parts(list(range(count)), prepare.groups(samples), size):
        batch = prepare([samples[row] for row in rows])
        short = size - len(batch)
        if short:
            batch = torch.cat([batch, batch[-1:].expand(short, *batch.shape[1:])]).contiguous()
        yield rows, batch.to(backbone.device)
        progress(phase, done + len(rows), count)
