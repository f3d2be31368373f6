"""Adding differences to their base: in any order the same bits, and taken off without a trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from backbones.base import Backbone
from backbones.compose.difference import Difference, weights_digest
from backbones.core.errors import FrostlineError, nearest

SHOWN = 16  # digits of a fingerprint in a message


def check_base(state: Mapping[str, Tensor], differences: Sequence[Difference], name: str) -> tuple[str, ...]:
    """Check that all differences belong to one base.

    Args:
        state: the weights of the base.
        differences: what is to be added.
        name: what the base is called.

    Returns:
        A remark for each difference that does not say what its base is.

    Raises:
        FrostlineError: a difference of another base (both fingerprints are shown), a tensor that the base lacks, or
            one of another shape.
    """
    own = weights_digest(state) if any(each.base for each in differences) else ""
    for each in differences:
        if each.base and each.base != own:
            raise FrostlineError(
                f"{each.label} was made from another base: {each.base_name or 'unnamed'} with fingerprint "
                f"{each.base[:SHOWN]}; {name} has fingerprint {own[:SHOWN]}. Pass the base that it was made from."
            )
        for tensor, shape in each.tensors:
            if tensor not in state:
                close = nearest(tensor, state, limit=1)
                hint = f" The nearest is {close[0]!r}." if close else ""
                raise FrostlineError(f"{each.label} changes the tensor {tensor!r}, which {name} does not have.{hint}")
            if not state[tensor].is_floating_point():
                raise FrostlineError(f"{each.label} changes {tensor!r}, which holds {state[tensor].dtype}: no weights.")
            if tuple(state[tensor].shape) != shape:
                raise FrostlineError(
                    f"{each.label} changes the tensor {tensor!r} of shape {shape}, which in {name} has shape "
                    f"{tuple(state[tensor].shape)}; pass the base that it was made from."
                )
    return tuple(
        f"{each.label} does not say which base it was made from; only names and shapes could be checked"
        for each in differences
        if not each.base
    )


def combined(state: Mapping[str, Tensor], differences: Sequence[Difference]) -> dict[str, Tensor]:
    """Return the tensors that change, with all differences added; everything else of the base stays as it is.

    Differences are summed in float64 in the order of their digests and rounded once, so that their order here does not
    matter to any bit; entries whose sum is zero keep their bits.

    Args:
        state: the weights of the base, see ``check_base``.
        differences: what to add.
    """
    sums: dict[str, Tensor] = {}
    for each in sorted(differences, key=lambda item: item.digest):
        for name, places, values in each.parts():
            if name not in sums:
                sums[name] = torch.zeros(state[name].numel(), dtype=torch.float64)
            sums[name].index_add_(0, places, values.double())
    return {name: _added(state[name].detach(), total) for name, total in sums.items()}


def _added(tensor: Tensor, total: Tensor) -> Tensor:
    flat = tensor.cpu().flatten().clone()
    places = total.nonzero().squeeze(1)
    flat[places] = (flat[places].double() + total[places]).to(flat.dtype)
    return flat.view(tensor.shape).to(tensor.device)


@contextmanager
def composed(backbone: Backbone, differences: Sequence[Difference]) -> Iterator[Backbone]:
    """Add differences to the frozen weights for a while; afterwards every weight has its old bits again.

    Args:
        backbone: the base of all of them; deltas that are on it stay on it.
        differences: what to add.

    Raises:
        FrostlineError: see ``check_base``; nothing is changed then.
    """
    state = backbone.frozen_state()
    check_base(state, differences, f"backbone {backbone.name!r}")
    fresh = combined(state, differences)
    kept = {name: state[name].clone() for name in fresh}  # subtracting again would not give the old bits
    try:
        _write(state, fresh)
        yield backbone
    finally:
        _write(state, kept)


@torch.no_grad()
def _write(state: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> None:
    for name, tensor in fresh.items():
        state[name].copy_(tensor)


def overlaps(differences: Sequence[Difference]) -> list[list[int]]:
    """Return how many weights each pair of differences both change; on the diagonal how many each changes."""
    places = [{name: found for name, found, _ in each.parts()} for each in differences]
    return [[sum(_shared(a[name], b[name]) for name in a.keys() & b.keys()) for b in places] for a in places]


def _shared(a: Tensor, b: Tensor) -> int:
    return int(torch.isin(a, b, assume_unique=True).sum())
