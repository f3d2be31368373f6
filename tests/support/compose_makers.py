"""Differences of weights in miniature, for the tests of composition."""

import torch

from backbones.compose import (
    Difference,
    difference_of,
)
from backbones.compose.difference import weights_digest
from backbones.pat.sparse import Sparse

SHAPES = {"a.weight": (4, 5), "a.bias": (4,), "b.weight": (3, 2, 2)}


FC1 = "blocks.1.mlp.fc1.weight"


def state_of(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def random_difference(state, k, seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    tensors = tuple((name, tuple(tensor.shape)) for name, tensor in state.items())
    total = sum(tensor.numel() for tensor in state.values())
    indices = torch.randperm(total, generator=generator)[:k].sort().values
    values = scale * torch.randn(k, generator=generator)
    return Difference(indices, values, tensors, weights_digest(state), "tiny", {}, f"d{seed}")


def on(backbone, seed, k=40):
    """A sparse delta that was trained, as far as anyone can tell."""
    delta = Sparse(k=k, roles=("fc1", "fc2", "proj")).grow(backbone, seed)
    with torch.no_grad():
        delta.values.normal_(generator=torch.Generator().manual_seed(seed))
    return delta


def made(backbone, seed, k=40):
    delta = on(backbone, seed, k)
    try:
        return difference_of(delta, f"d{seed}")
    finally:
        delta.detach()


def copied(backbone):
    return {name: tensor.clone() for name, tensor in backbone.frozen_state().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
