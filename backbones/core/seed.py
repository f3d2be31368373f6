"""Seeds: independent generators derived from one seed and a path of words, never the global ones."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derive(seed: int, *words: object) -> int:
    """Return a 63-bit seed that depends on ``seed`` and on every word, and on nothing else."""
    text = "\x1f".join([str(seed), *map(str, words)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_generator(seed: int, *words: object) -> torch.Generator:
    """Return a fresh CPU generator for the purpose that ``words`` name."""
    return torch.Generator().manual_seed(derive(seed, *words))


def numpy_generator(seed: int, *words: object) -> np.random.Generator:
    """Return a fresh numpy generator for the purpose that ``words`` name."""
    return np.random.default_rng(derive(seed, *words))
