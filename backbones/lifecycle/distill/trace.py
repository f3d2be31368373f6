"""Trace: what a transformer computes on the way to its features, seen through its sites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.settings import Settings
from backbones.delta import Delta

SOFTMAX = (torch.softmax, torch.Tensor.softmax, functional.softmax)
MASKED = -1e30  # scores below are of masked pairs: models write -inf or the least number there


class Watching(Settings):
    """Settings of the delta that looks on: nothing to choose."""


@dataclass
class Seen:
    """What one forward pass computed.

    Attributes:
        embedding: what enters the first block, float, shape (n, tokens, width).
        hidden: layer -> what leaves it, of the same shape.
        scores: layer -> scores before the softmax, scaled, masked pairs at -inf or the least number, float, shape
            (n, heads, tokens, tokens).
    """

    embedding: Tensor | None = None
    hidden: dict[int, Tensor] = field(default_factory=dict)
    scores: dict[int, Tensor] = field(default_factory=dict)

    def map(self, change: Callable[[Tensor], Tensor]) -> Seen:
        """Return the same with every tensor changed."""
        return Seen(
            None if self.embedding is None else change(self.embedding),
            {layer: change(tensor) for layer, tensor in self.hidden.items()},
            {layer: change(tensor) for layer, tensor in self.scores.items()},
        )

    def tensors(self) -> list[Tensor]:
        """Return all tensors."""
        first = [] if self.embedding is None else [self.embedding]
        return [*first, *self.hidden.values(), *self.scores.values()]

    @staticmethod
    def join(parts: Sequence[Seen]) -> Seen:
        """Stack what was computed for inputs of one length."""
        first = parts[0]
        embeddings = [part.embedding for part in parts if part.embedding is not None]
        return Seen(
            torch.cat(embeddings) if embeddings else None,
            {layer: torch.cat([part.hidden[layer] for part in parts]) for layer in first.hidden},
            {layer: torch.cat([part.scores[layer] for part in parts]) for layer in first.scores},
        )


class Trace:
    """Watches forward passes of a backbone as long as it is entered; gradients flow through what it sees.

    The scores are those that the model itself turns into attention: the products of its queries and keys as they go
    into torch's attention, after norms and rotations of any kind, with its own scale and mask; or, in a model that
    computes attention step by step, what goes into the softmax. No layout of weights is assumed.

    Args:
        backbone: what is watched.
        layers: blocks, counted from 0.
        embedding: whether to keep what enters the first block.
        hidden: whether to keep what leaves ``layers``.
        scores: whether to keep the scores of ``layers``.
    """

    def __init__(
        self,
        backbone: Backbone,
        layers: Sequence[int],
        *,
        embedding: bool = True,
        hidden: bool = True,
        scores: bool = True,
    ) -> None:
        self.backbone = backbone
        self.layers = tuple(layers)
        self._wanted = (embedding, hidden, scores)
        self._attached = ExitStack()
        self._seen = Seen()

    def __enter__(self) -> Trace:
        embedding, hidden, scores = self._wanted
        with ExitStack() as stack:
            delta = stack.enter_context(Delta(self.backbone, Watching()))
            if embedding:
                delta.before(self.backbone.sites("block", 0)[0], self._keep_embedding)
            for layer in self.layers:
                if hidden:
                    delta.after(self.backbone.sites("block", layer)[0], partial(self._keep_hidden, layer))
                if scores:
                    delta.around(self.backbone.sites("attn", layer)[0], partial(self._keep_scores, layer))
            self._attached = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._attached.close()
        self._seen = Seen()

    def run(self, batch: Any) -> tuple[Tensor, Seen]:
        """Return the features of a preprocessed batch, shape (n, width), and what was seen on the way."""
        self._seen = Seen()
        features = self.backbone.features(batch)
        seen, self._seen = self._seen, Seen()
        return features, seen

    def _keep_embedding(self, tokens: Tensor) -> Tensor:
        self._seen.embedding = tokens
        return tokens

    def _keep_hidden(self, layer: int, tokens: Tensor) -> Tensor:
        self._seen.hidden[layer] = tokens
        return tokens

    def _keep_scores(self, layer: int, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        with _Scores() as met:
            out = call(*args, **named)
        if len(met.scores) != 1:
            site = self.backbone.sites("attn", layer)[0]
            raise FrostlineError(
                f"the attention {site.path} of backbone {self.backbone.name!r} ran {len(met.scores)} softmaxes where "
                "one was looked for, so that its scores are not known; set the weight of the attention term to 0."
            )
        self._seen.scores[layer] = met.scores[0]
        return out


class _Scores(TorchFunctionMode):
    """Collects what goes into the softmax of every attention that runs while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.scores: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            self.scores.append(_attention_scores(*args, **named))
        elif func in SOFTMAX and (named["dim"] if "dim" in named else args[1]) == -1:
            self.scores.append(args[0])
        return func(*args, **named)


def _attention_scores(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return what torch's attention, called with the same arguments, turns into probabilities."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is None:
        return scores
    return scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask


def real_tokens(backbone: Backbone, batch: Tensor) -> Tensor | None:
    """Return which tokens of a preprocessed batch are no padding, bool, shape (n, tokens); None: all of them."""
    return batch[:, 1].bool() if backbone.modality == "text" else None
