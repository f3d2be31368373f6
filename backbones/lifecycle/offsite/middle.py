"""The blocks between two places of a backbone as a function, and an emulator that learns to do what they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.delta import Delta
from backbones.encoder import Resume, by_group
from backbones.lifecycle.offsite.layout import Layout
from backbones.lifecycle.offsite.lower import chunks, packed_rows
from backbones.training.loop import Course, Recipe, Say, mute, train

PHASE = "distilling the emulator"


class Distilling(Recipe):
    """How an emulator is distilled: a ``Recipe`` and the weight of its loss.

    Args:
        weight: of the loss, 30 in the paper. It is the only loss here, so the weight counts against ``clip`` alone.
    """

    epochs: float | None = Field(default=2.0, gt=0)
    lr: float = Field(default=5e-4, gt=0)
    weight: float = Field(default=30.0, gt=0)


@dataclass(frozen=True)
class Distilled:
    """How a distillation went; ``before`` and ``after`` are the loss without its weight over all the data."""

    course: Course
    samples: int
    before: float
    after: float


class _LeftError(Exception):
    """Carries hidden states out of a forward pass that need not go on."""

    def __init__(self, tokens: Tensor) -> None:
        self.tokens = tokens


@contextmanager
def passing(backbone: Backbone, first: int, stop: int) -> Iterator[Callable[[Tensor], Tensor]]:
    """Run the blocks from ``first`` to ``stop`` (excluded) alone for a while.

    Yields:
        A function from packed activations of block ``first`` (see ``Encoder.activations``) to the hidden states that
        leave block ``stop - 1``, (batch, tokens, width), with gradients if enabled.
    """
    held: list[Tensor] = []

    def skip(_call: Callable[..., Any], tokens: Tensor, *_args: Any, **_named: Any) -> Any:
        return tokens

    def leave(tokens: Tensor) -> Tensor:
        raise _LeftError(tokens)

    def run(packed: Tensor) -> Tensor:
        batch, tokens = backbone.preprocessing.unpack(packed)
        held.append(tokens)
        try:
            backbone.features(batch)
        except _LeftError as left:
            return left.tokens
        finally:
            held.pop()
        raise RuntimeError("the blocks did not run")

    with Delta(backbone, Resume()) as bypass:
        for below in range(first):
            bypass.around(backbone.sites("block", below)[0], skip)
        bypass.before(backbone.sites("block", first)[0], lambda _tokens: held[-1], first=True)
        bypass.after(backbone.sites("block", stop - 1)[0], leave)
        yield run


def distance(teacher: Tensor, student: Tensor, mask: Tensor) -> Tensor:
    """Return mean(((T - S) / RMS(T))^2) over the tokens that count, with the root mean square of each token.

    What reads the tokens above normalises each by itself; one figure for all would let the few tokens of a ViT whose
    norms are many times those of the others (Darcet et al. 2023, arXiv 2309.16588) decide alone.

    Args:
        teacher: float, shape (batch, tokens, width); student: the like.
        mask: bool, shape (batch, tokens), True on tokens that count.
    """
    wanted, found = teacher[mask], student[mask]
    return ((wanted - found).square().mean(-1) / wanted.square().mean(-1).clamp(min=1e-12)).mean()


def distil(
    full: Backbone,
    emulator: Backbone,
    layout: Layout,
    data: Sequence[Any],
    recipe: Distilling,
    *,
    progress: Progress = silent,
    say: Say = mute,
) -> Distilled:
    """Train the emulator's middle in place to give what the full middle gives (Offsite-Tuning, section 3.3).

    What enters the middle and what leaves it are computed once and kept in memory.

    Args:
        full: the full model, frozen.
        emulator: numbered as the full model, see ``backbones.lifecycle.offsite.restack``.
        layout: which blocks are which.
        data: raw inputs without labels.
        recipe: how.
        progress: told of every step.
        say: told the estimate.

    Raises:
        FrostlineError: no data, or see ``train``.
    """
    if not len(data):
        raise FrostlineError("there is nothing to distil the emulator on; pass unlabelled data with some samples.")
    first, stop = layout.bottom, layout.depth - layout.top
    entering = packed_rows(full, data, first, f"{PHASE}: what enters the middle", progress)
    with passing(full, first, stop) as run, torch.no_grad():
        wanted = [_rows(run, entering, rows, full) for rows in chunks(full, entering)]
    targets = {row: state for part in wanted for row, state in part.items()}
    params: dict[str, nn.Parameter] = {}
    for layer in layout.kept:
        site = emulator.sites("block", layer)[0]
        block = emulator.module.get_submodule(site.path)
        params |= {f"{site.path}.{name}": value for name, value in block.named_parameters()}
    prepare = emulator.preprocessing

    with passing(emulator, first, stop) as go:

        def loss(rows: list[int], _generator: torch.Generator) -> Tensor:
            total = torch.zeros((), device=emulator.device)
            for _, places in by_group([targets[row].shape[1] for row in rows]):
                mine = [rows[place] for place in places]
                packed = prepare.join([entering[row] for row in mine]).to(emulator.device)
                target = torch.cat([targets[row] for row in mine]).to(emulator.device)
                total = total + distance(target, go(packed), _mask(emulator, packed)) * (len(mine) / len(rows))
            return total

        before = _mean(loss, len(data))
        course = train(
            params, lambda r, g: recipe.weight * loss(r, g), len(data), recipe, progress=progress, say=say, phase=PHASE
        )
        after = _mean(loss, len(data))
    return Distilled(course, len(data), before, after)


def _mean(loss: Callable[[list[int], torch.Generator], Tensor], count: int, most: int = 256) -> float:
    """Return the mean loss over the first samples."""
    used, parts = min(count, most), []
    with torch.no_grad():
        for start in range(0, used, 32):
            rows = list(range(start, min(start + 32, used)))
            parts.append(float(loss(rows, torch.Generator())) * len(rows))
    return sum(parts) / used


def _rows(
    run: Callable[[Tensor], Tensor], entering: Sequence[Tensor], rows: list[int], full: Backbone
) -> dict[int, Tensor]:
    packed = torch.cat([entering[row] for row in rows])
    left = run(packed.to(full.device)).cpu()
    return {row: left[place : place + 1] for place, row in enumerate(rows)}


def _mask(backbone: Backbone, packed: Tensor) -> Tensor:
    """Return which tokens are no padding: bool, shape (batch, tokens)."""
    batch, tokens = backbone.preprocessing.unpack(packed)
    if backbone.modality == "text":
        return batch[:, 1].bool()
    return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
