"""Infusion: a side network learns relations on a frozen text encoder, whose weights stay what they are to the bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, layer_norm

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.core.seed import derive, torch_generator
from backbones.delta import Delta
from backbones.encoder import answered
from backbones.lifecycle.infuse.examples import Batch, Examples, Split, check_text, split_heads
from backbones.lifecycle.infuse.grammar import NONE
from backbones.lifecycle.infuse.pairs import Pair, relations_of
from backbones.lifecycle.infuse.settings import KaidStyle
from backbones.lifecycle.infuse.states import States, tapped
from backbones.training.loop import Course, Say, mute, train

HEAD_SCALE = 0.02  # standard deviation of the classifier's first weights


@dataclass(frozen=True)
class Infused:
    """A side network on its backbone, and what it learned from.

    Attributes:
        delta: attached to the backbone.
        head: the classifier of relations that was trained with it: (4 width, 1 + relations).
        labels: what its outputs mean; ``none`` first.
        split: pairs that it learned from, and pairs of other heads.
        course: of the training.
        fingerprint: of the frozen backbone, before and after.
    """

    delta: Delta
    head: nn.Linear
    labels: tuple[str, ...]
    split: Split
    course: Course
    fingerprint: str


def infuse(
    backbone: Backbone,
    pairs: list[Pair],
    settings: KaidStyle | None = None,
    *,
    checkpoint: Path | None = None,
    keep: bool = False,
    progress: Progress = silent,
    say: Say = mute,
) -> Infused:
    """Infuse relation pairs into a text encoder, which stays frozen.

    Args:
        backbone: a text encoder; deltas on it stay.
        pairs: acquired, edited or made by hand, of two relations or more.
        settings: see ``KaidStyle``.
        checkpoint, keep: see ``backbones.training.loop.train``.
        progress: told of every step.
        say: told the estimate.

    Raises:
        FrostlineError: no text encoder, fewer than two relations (also once heads are held out), examples that do not
            fit, or see ``train``. Nothing is left on the backbone then.
    """
    settings = settings or KaidStyle()
    check_text(backbone)
    labels = (NONE, *relations_of(pairs))
    split = split_heads(pairs, settings.held_out, settings.recipe.seed)
    _check_split(split, labels, settings)
    hide = settings.cue == "hide"
    examples = Examples(backbone, split.train, labels, known=pairs, hide=hide, window=settings.window)
    before = backbone.fingerprint()
    delta = settings.side.grow(backbone, derive(settings.recipe.seed, "infuse"))
    head = _head(backbone, len(labels), settings.recipe.seed)
    params = {f"side.{name}": param for name, param in delta.named_parameters()}
    params |= {f"head.{name}": param for name, param in head.named_parameters()}
    try:
        with tapped(backbone) as states:
            loss = partial(_losses, examples, settings, head, lambda tokens: states(tokens.to(backbone.device)))
            course = train(
                params, loss, len(examples), settings.recipe, modules=(delta, head), checkpoint=checkpoint, keep=keep,
                progress=progress, say=say, phase="infusing",
            )  # fmt: skip
    except BaseException:
        delta.detach()
        raise
    after = backbone.fingerprint()
    if after != before:  # a delta of someone else's that trains what is frozen, say
        delta.detach()
        raise FrostlineError(
            f"the frozen weights of {backbone.name!r} have changed meanwhile ({before[:12]}, now {after[:12]}); "
            "infuse on a backbone that nothing else trains."
        )
    return Infused(delta, head.requires_grad_(False), labels, split, course, before)


def _losses(
    examples: Examples,
    settings: KaidStyle,
    head: nn.Linear,
    states: Callable[[Tensor], States],
    rows: list[int],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return the losses over some examples; ``states`` gives those of the frozen encoder and those with the delta."""
    sums: dict[str, Tensor] = {}
    for batch in examples.batches(rows, generator, settings.negatives):
        frozen, _, left = states(batch.tokens)
        logits, share = answered(head, mention_features(left, batch)), len(batch.labels) / len(rows)
        found = {"relation": cross_entropy(logits, batch.labels.to(logits.device))}
        if settings.preserve:
            found["preserve"] = settings.preserve * turned(frozen, left, batch)
        sums = {name: sums.get(name, 0.0) + share * value for name, value in found.items()}
    return sums


def mention_features(states: Tensor, batch: Batch) -> Tensor:
    """Return what a relation is told from: [a, b, |a - b|, a b] of the mean states a of the head and b of the tail.

    Args:
        states: of the tokens, float, shape (n, tokens, width).
        batch: says where the mentions are.

    Returns:
        float32, shape (n, 4 width); a and b have mean 0 and variance 1.
    """
    one, other = (_mean(states.float(), mask.to(states.device)) for mask in (batch.heads, batch.tails))
    one, other = (layer_norm(each, each.shape[-1:]) for each in (one, other))
    return torch.cat([one, other, (one - other).abs(), one * other], dim=1)


def turned(frozen: Tensor, left: Tensor, batch: Batch) -> Tensor:
    """Return 1 - cosine between the mean states of each sentence without and with a delta, averaged."""
    real = batch.tokens[:, 1].bool().to(left.device)
    return 1.0 - cosine_similarity(_mean(frozen.float(), real), _mean(left.float(), real)).mean()


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    weights = mask.to(states.dtype)[..., None]
    return (states * weights).sum(dim=1) / weights.sum(dim=1)


def _check_split(split: Split, labels: tuple[str, ...], settings: KaidStyle) -> None:
    left = {pair.relation for pair in split.train}
    gone = [label for label in labels[1:] if label not in left]
    if gone:
        raise FrostlineError(
            f"once {settings.held_out:.0%} of the heads are held out, no pair is left to learn {', '.join(gone)} from "
            f"({len(split.train)} pairs in all); take the relation out, add pairs, or hold out fewer heads "
            "(held_out=0 holds out none)."
        )


def _head(backbone: Backbone, labels: int, seed: int) -> nn.Linear:
    head: nn.Linear = nn.utils.skip_init(nn.Linear, 4 * backbone.width, labels)
    with torch.no_grad():
        head.weight.copy_(HEAD_SCALE * torch.randn(head.weight.shape, generator=torch_generator(seed, "relations")))
        head.bias.zero_()
    return head.to(backbone.device)
