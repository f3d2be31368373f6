"""A compressed backbone as bytes: packed codes, scales and masks in safetensors, and the formula of their size.

A weight of n numbers of which m are not pruned takes, at b bits with s scales, ``m*b/8 + mask + 2*s`` bytes; the mask
is a bitmap of n bits or m gaps of a fixed width, whichever is smaller, and where n*b/8 bytes are less than codes and
mask together, pruned weights are stored as the code zero and there is no mask. All other tensors count at their dtype.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from backbones.core.artifacts import tensor_bytes
from backbones.core.settings import Settings
from backbones.lifecycle.compress.grid import Codes, top_code
from backbones.lifecycle.compress.packing import gaps, mask_of, pack, packed_bytes, unpack

FULL = 32  # bits of a weight on no grid
Coding = Literal["all", "bitmap", "gaps"]


class Entry(Settings):
    """How one weight is stored.

    Args:
        shape: of the weight.
        bits: of a code, 32 for float32.
        group: inputs that share a scale, 0 without a grid.
        coding: where the stored numbers belong: to ``all`` places, to the ones of a ``bitmap``, or after ``gaps``.
        stored: how many numbers are stored.
        width: bits of a gap.
    """

    shape: tuple[int, ...]
    bits: int = Field(ge=2, le=FULL)
    group: int
    coding: Coding
    stored: int
    width: int = 0


@dataclass(frozen=True)
class Weights:
    """All tensors of a compressed backbone.

    Attributes:
        codes: name of a weight -> its place on a grid.
        masks: name of a weight -> what is not pruned, bool.
        rest: every other tensor, and pruned weights without a grid.
    """

    codes: Mapping[str, Codes]
    masks: Mapping[str, Tensor]
    rest: Mapping[str, Tensor]

    def plain(self) -> dict[str, Tensor]:
        """Return every tensor as the plain model takes it."""
        return {**self.rest, **{name: codes.weight() for name, codes in self.codes.items()}}


@dataclass
class Packed:
    """Tensors of a file, how to read them, and the bytes that the formula gives."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    formula: int = 0

    def file(self) -> bytes:
        """Return the content of the safetensors file."""
        return tensor_bytes(self.tensors, {"format": "frostline packed 1"})


def pack_weights(weights: Weights) -> Packed:
    """Pack all tensors; see the module for the formula of their size."""
    packed = Packed()
    for name, codes in weights.codes.items():
        numbers = codes.codes.reshape(-1).numpy().astype(np.int64) + top_code(codes.bits)
        mask = weights.masks.get(name)
        entry, tensors = _coded(numbers, codes.bits, mask, tuple(codes.codes.shape), codes.group)
        packed.tensors |= {f"{name}:{key}": value for key, value in tensors.items()}
        packed.tensors[f"{name}:scale"] = codes.scale.to(torch.bfloat16)
        packed.entries[name] = entry
        packed.formula += size(entry, codes.scale.numel())
    for name, tensor in weights.rest.items():
        mask = weights.masks.get(name)
        if mask is None:
            packed.tensors[name] = tensor.detach().cpu().contiguous().clone()
            packed.formula += tensor.numel() * tensor.element_size()
            continue
        numbers = tensor.detach().float().reshape(-1).numpy().view(np.uint32).astype(np.int64)
        entry, tensors = _coded(numbers, FULL, mask, tuple(tensor.shape), 0)
        packed.tensors |= {f"{name}:{key}": value for key, value in tensors.items()}
        packed.entries[name] = entry
        packed.formula += size(entry, 0)
    return packed


def size(entry: Entry, scales: int) -> int:
    """Return the bytes of a stored weight by the formula."""
    places = int(np.prod(entry.shape))
    mask = {"all": 0, "bitmap": packed_bytes(places, 1), "gaps": packed_bytes(entry.stored, entry.width)}[entry.coding]
    return packed_bytes(entry.stored, entry.bits) + mask + 2 * scales


def _coded(
    numbers: np.ndarray[Any, np.dtype[np.int64]], bits: int, mask: Tensor | None, shape: tuple[int, ...], group: int
) -> tuple[Entry, dict[str, Tensor]]:
    """Choose the smallest way to store numbers of which a mask tells those that matter."""
    ones = np.ones(len(numbers), dtype=bool) if mask is None else mask.reshape(-1).cpu().numpy()
    found, width = gaps(ones)
    stored = len(found)
    by_mask = min(packed_bytes(len(ones), 1), packed_bytes(stored, width))
    if packed_bytes(len(ones), bits) <= packed_bytes(stored, bits) + by_mask:
        entry = Entry(shape=shape, bits=bits, group=group, coding="all", stored=len(numbers))
        return entry, {"codes": _bytes(pack(numbers, bits))}
    codes = _bytes(pack(numbers[ones], bits))
    if packed_bytes(len(ones), 1) <= packed_bytes(stored, width):
        entry = Entry(shape=shape, bits=bits, group=group, coding="bitmap", stored=stored)
        return entry, {"codes": codes, "mask": _bytes(np.packbits(ones))}
    entry = Entry(shape=shape, bits=bits, group=group, coding="gaps", stored=stored, width=width)
    return entry, {"codes": codes, "mask": _bytes(pack(found, width))}


def _bytes(values: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    return torch.from_numpy(values.copy())


def unpack_weights(tensors: Mapping[str, Tensor], entries: Mapping[str, Entry]) -> dict[str, Tensor]:
    """Return every tensor as the plain model takes it, bit for bit what ``Weights.plain`` gave.

    Args:
        tensors: of the file.
        entries: how to read them.

    Raises:
        KeyError, ValueError: the file does not hold what the entries say.
    """
    plain = {name: tensor for name, tensor in tensors.items() if ":" not in name}
    for name, entry in entries.items():
        numbers = _decoded(entry, tensors[f"{name}:codes"].numpy(), tensors.get(f"{name}:mask"))
        if entry.bits == FULL:
            values = torch.from_numpy(numbers.astype(np.uint32).view(np.float32).copy())
            plain[name] = values.reshape(entry.shape)
            continue
        codes = torch.from_numpy((numbers - top_code(entry.bits)).astype(np.int8)).reshape(entry.shape)
        plain[name] = Codes(codes, tensors[f"{name}:scale"].float(), entry.group, entry.bits).weight()
    return plain


def _decoded(
    entry: Entry, codes: np.ndarray[Any, np.dtype[np.uint8]], mask: Tensor | None
) -> np.ndarray[Any, np.dtype[np.int64]]:
    numbers = unpack(codes, entry.bits, entry.stored)
    if entry.coding == "all":
        return numbers
    assert mask is not None
    places = int(np.prod(entry.shape))
    if entry.coding == "bitmap":
        ones = np.unpackbits(mask.numpy(), count=places).astype(bool)
    else:
        ones = mask_of(unpack(mask.numpy(), entry.width, entry.stored), places)
    whole = np.full(places, 0 if entry.bits == FULL else top_code(entry.bits), dtype=np.int64)
    whole[ones] = numbers
    return whole
