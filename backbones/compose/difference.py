"""Difference: which weights of a base change and by how much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor

from backbones.core.artifacts import digest_json, digest_tensors
from backbones.core.errors import FrostlineError
from backbones.delta import Delta
from backbones.pat.sparse import SparseDelta, largest

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True, eq=False)
class Difference:
    """Changes of single weights of one base.

    Args:
        indices: int64, shape (k,), strictly ascending: places in the concatenation of the flattened ``tensors``.
        values: float32 or float64, shape (k,): what is added there.
        tensors: (name, shape) of the tensors that it may change, in the order of the concatenation.
        base: digest of the weights that it was made from (``weights_digest``); ``""`` if nobody knows.
        base_name: what they were called.
        settings: how it was made; JSON types.
        label: what to call it in messages.
        notes: what a user must know of how it was read.

    Raises:
        FrostlineError: places that are out of range, not ascending or not as many as values; values that are not
            finite.
    """

    indices: Tensor
    values: Tensor
    tensors: Shapes
    base: str
    base_name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    label: str = "difference"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [name for name, _ in self.tensors]
        wrong = _wrong(self.indices, self.values, sum(prod(shape) for _, shape in self.tensors))
        wrong = wrong if len(set(names)) == len(names) else "it names a tensor twice"
        if wrong:
            raise FrostlineError(f"{self.label} is no difference of weights: {wrong}. Make or copy it again.")

    @property
    def k(self) -> int:
        """How many weights change."""
        return len(self.indices)

    @cached_property
    def digest(self) -> str:
        """Digest of what it changes and by how much."""
        return digest_json([[list(entry) for entry in self.tensors], digest_tensors(self._tensors())])

    def parts(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Yield (name, places in the flattened tensor, values) of every tensor that changes."""
        start, low = 0, 0
        for name, shape in self.tensors:
            stop = start + prod(shape)
            high = int(torch.searchsorted(self.indices, stop))
            if high > low:
                yield name, self.indices[low:high] - start, self.values[low:high]
            start, low = stop, high

    def _tensors(self) -> dict[str, Tensor]:
        return {"indices": self.indices, "values": self.values}


def _wrong(indices: Tensor, values: Tensor, total: int) -> str:
    """Return what is wrong with places and values, ``""`` for nothing."""
    if indices.dtype != torch.int64 or values.dtype not in (torch.float32, torch.float64):
        return f"indices are {indices.dtype} and values {values.dtype}, not int64 and float32 or float64"
    if indices.ndim != 1 or indices.shape != values.shape:
        return f"indices have shape {tuple(indices.shape)} and values {tuple(values.shape)}, not (k,) both"
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < total:
        return f"indices go from {int(indices.min())} to {int(indices.max())}, its tensors have {total} weights"
    if not (indices.diff() > 0).all():
        return "its indices are not ascending, or one occurs twice"
    return "" if values.isfinite().all() else "some of its values are not finite"


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Return the digest by which a difference knows its base: SHA-256 of all weights, names and shapes."""
    return digest_tensors(state)


def difference_of(delta: Delta, label: str = "difference") -> Difference:
    """Return what a trained delta changes: of a sparse one its own entries, else all that folding it in changes.

    Raises:
        FrostlineError: it cannot be folded into weights, or is still in the stage that trains every weight.
    """
    backbone = delta.backbone
    state = backbone.frozen_state()
    if not isinstance(delta, SparseDelta):
        return extract_difference(state, delta.merged(), base_name=backbone.name, label=label)
    if len(delta.dense):
        raise FrostlineError(f"{label}: the delta trains every weight at the moment; finish its training first.")
    return Difference(
        delta.indices.detach().cpu().clone(),
        delta.values.detach().cpu().clone(),
        tuple((spot.key, tuple(spot.shape)) for spot in delta.spots),
        weights_digest(state),
        backbone.name,
        {"pat": "sparse", **delta.settings.model_dump(mode="json")},
        label,
    )


def extract_difference(
    base_state: Mapping[str, Tensor],
    tuned_state: Mapping[str, Tensor],
    k: int | None = None,
    *,
    base_name: str = "",
    label: str = "difference",
) -> Difference:
    """Return the ``k`` weights that differ most between two states of one model.

    Values are float64, so that adding all of them to the base gives the tuned weights bit for bit.

    Args:
        base_state: name -> tensor.
        tuned_state: the same names and shapes.
        k: how many, exactly; of equal ones the first are taken. None: all that differ.
        base_name: what the base is called.
        label: what to call the difference.

    Raises:
        FrostlineError: the states are not of one model, or have fewer than ``k`` weights.
    """
    for name in sorted({*base_state, *tuned_state}):
        shapes = [tuple(state[name].shape) if name in state else None for state in (base_state, tuned_state)]
        if shapes[0] != shapes[1]:
            raise FrostlineError(
                f"{label}: the tensor {name!r} is {shapes[0] or 'absent'} in the base and {shapes[1] or 'absent'} in "
                "the tuned weights; pass two states of one model."
            )
    names = [name for name in base_state if base_state[name].is_floating_point()]
    moved = torch.cat([(tuned_state[name].double() - base_state[name].double()).flatten().cpu() for name in names])
    if k is not None and not 1 <= k <= len(moved):
        raise FrostlineError(f"{label}: k = {k}, but the model has {len(moved)} weights; pass 1 to that.")
    indices = moved.nonzero().squeeze(1) if k is None else largest(moved, k)
    tensors = tuple((name, tuple(base_state[name].shape)) for name in names)
    settings = {"extracted": True, "k": k}
    return Difference(indices, moved[indices], tensors, weights_digest(base_state), base_name, settings, label)


def strongest(difference: Difference, k: int) -> Difference:
    """Return the ``k`` largest changes of a difference; raises FrostlineError if it has fewer."""
    if not 1 <= k <= difference.k:
        raise FrostlineError(f"{difference.label}: k = {k}, but it changes {difference.k} weights; pass 1 to that.")
    kept = largest(difference.values, k)
    return replace(difference, indices=difference.indices[kept], values=difference.values[kept])
