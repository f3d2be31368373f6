"""Whole numbers of a few bits as bytes, and where a mask has its ones: as a bitmap or as gaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WORD = 32


def pack(values: NDArray[np.int64], bits: int) -> NDArray[np.uint8]:
    """Pack numbers from 0 to ``2**bits - 1`` one after the other, most significant bit first.

    Args:
        values: shape (n,).
        bits: 1 to 32.

    Returns:
        uint8, shape (ceil(n * bits / 8),).
    """
    words = values.astype(">u4").view(np.uint8).reshape(-1, WORD // 8)
    return np.packbits(np.unpackbits(words, axis=1)[:, WORD - bits :])


def unpack(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.int64]:
    """Return ``count`` numbers packed by ``pack``: int64, shape (count,)."""
    rows = np.unpackbits(packed, count=count * bits).reshape(count, bits)
    words = np.zeros((count, WORD), dtype=np.uint8)
    words[:, WORD - bits :] = rows
    return np.packbits(words, axis=1).view(">u4").reshape(count).astype(np.int64)


def packed_bytes(count: int, bits: int) -> int:
    """Return how many bytes ``pack`` needs."""
    return -(-count * bits // 8)


def gaps(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], int]:
    """Return the zeros before each one of a mask, shape (ones,), and the bits that the largest of them needs (1 up)."""
    places = np.flatnonzero(mask)
    found = np.diff(places, prepend=-1) - 1
    return found, max(1, int(found.max(initial=0)).bit_length())


def mask_of(found: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Return the mask of ``count`` places that has these gaps."""
    mask = np.zeros(count, dtype=bool)
    mask[np.cumsum(found + 1) - 1] = True
    return mask
