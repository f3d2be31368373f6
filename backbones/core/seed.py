"""Seeds: independent generators derived from one seed and a path of words, never the global ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

CPU = torch.device("cpu")


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


@contextmanager
def lent_generator(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Lend torch's own generators a seed to what can draw from no other: weights of a new module, dropout.

    The generators of the CPU and of ``device`` have their old states back afterwards; those of other devices are not
    touched, as they would be by ``torch.manual_seed``.

    Args:
        seed: from ``derive``.
        device: where what draws computes.
    """
    lent = [torch.default_generator]
    if device.type == "cuda":
        torch.cuda.init()
        index = device.index if device.index is not None else torch.cuda.current_device()
        lent.append(torch.cuda.default_generators[index])
    before = [generator.get_state() for generator in lent]
    for generator in lent:
        generator.manual_seed(seed)
    try:
        yield
    finally:
        for generator, state in zip(lent, before, strict=True):
            generator.set_state(state)
