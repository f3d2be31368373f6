"""Magnitude pruning: global masks, exact, nested from round to round, in force while weights are trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.wraps import rule_on

Masks = dict[str, Tensor]  # path of a linear layer -> bool, of its weight's shape: True is kept


def check_sparsity(value: float) -> float:
    """Return a share of weights to prune; raises FrostlineError outside [0, 1)."""
    if not 0 <= value < 1:
        raise FrostlineError(
            f"sparsity {value:g} is not in [0, 1): it is the share of weights that become zero, such as 0.5."
        )
    return value


def schedule(sparsity: float, rounds: int, start: float = 0.0) -> list[float]:
    """Return rising sparsities whose last is ``sparsity``; each round leaves the same share of what was left before.

    Args:
        sparsity: share of weights to prune.
        rounds: how many.
        start: share that is pruned already.

    Raises:
        FrostlineError: a sparsity outside [0, 1), one below ``start``, or less than one round.
    """
    check_sparsity(sparsity)
    if rounds < 1:
        raise FrostlineError(f"{rounds} rounds of pruning: pass 1 or more.")
    if sparsity < start:
        raise FrostlineError(f"sparsity {sparsity:g} is below the {start:g} that is pruned already; raise it.")
    if sparsity == start:
        return []
    left = (1 - sparsity) / (1 - start)
    return [1 - (1 - start) * left ** (number / rounds) for number in range(1, rounds)] + [sparsity]


def prune_more(backbone: Backbone, layers: Sequence[str], sparsity: float, masks: Mapping[str, Tensor]) -> Masks:
    """Zero the smallest weights of all ``layers`` together until ``sparsity`` of them are zero; returns the new masks.

    What ``masks`` has pruned stays pruned. ``round(sparsity * weights)`` weights are pruned in all, as
    ``torch.nn.utils.prune.global_unstructured`` counts them, which does the choosing.

    Args:
        backbone: changed in place.
        layers: paths of linear layers.
        sparsity: share in [0, 1).
        masks: of the rounds before; empty for none.

    Raises:
        FrostlineError: a sparsity outside [0, 1), or below that of ``masks``.
    """
    check_sparsity(sparsity)
    weights = {path: _weight(backbone, path) for path in layers}
    total = sum(weight.numel() for weight in weights.values())
    before = {path: masks.get(path, torch.ones_like(weight, dtype=torch.bool)) for path, weight in weights.items()}
    done = sum(int((~mask).sum()) for mask in before.values())
    wanted = round(sparsity * total)
    if wanted < done:
        raise FrostlineError(f"sparsity {sparsity:g} is below the {done / total:g} that is pruned already; raise it.")
    scores = {path: _scores(weight, before[path]) for path, weight in weights.items()}
    # Pruned on stand-ins: torch's way of taking its hooks off again changes the order of a module's parameters.
    stands = {path: _StandIn(score) for path, score in scores.items()}
    chosen = [(stand, "weight") for stand in stands.values()]
    prune.global_unstructured(chosen, prune.L1Unstructured, amount=wanted)
    found = {path: stand.weight_mask.bool() for path, stand in stands.items()}
    apply_masks(backbone, found)
    return found


def apply_masks(backbone: Backbone, masks: Mapping[str, Tensor]) -> None:
    """Set the pruned weights to zero in place."""
    with torch.no_grad():
        for path, mask in masks.items():
            _weight(backbone, path).masked_fill_(~mask, 0.0)  # a product would leave zeros with a sign


@contextmanager
def held(backbone: Backbone, masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Keep pruned weights at zero, and without gradient, while the backbone is trained."""
    undo = [rule_on(backbone.module.get_submodule(path), "weight", _Masked(mask), path) for path, mask in masks.items()]
    try:
        yield
    finally:
        for off in undo:
            off()
        apply_masks(backbone, masks)  # weight decay and momentum have been at work on what the masks hid


def zeros(masks: Mapping[str, Tensor]) -> int:
    """Return how many weights are pruned."""
    return sum(int((~mask).sum()) for mask in masks.values())


class _Masked(nn.Module):
    """The rule of a mask."""

    replaces = False

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = mask.clone()  # no buffer: not one of the backbone's tensors

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


class _StandIn(nn.Module):
    weight_mask: Tensor

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(scores, requires_grad=False)


def _scores(weight: Tensor, mask: Tensor) -> Tensor:
    """Return magnitudes; what is pruned comes first, also before weights that happen to be zero."""
    return torch.where(mask, weight.detach().abs().clamp_min(torch.finfo(weight.dtype).tiny), 0.0)


def _weight(backbone: Backbone, path: str) -> Tensor:
    found = backbone.module.get_submodule(path).weight
    assert isinstance(found, Tensor)
    return found
