"""Pieces that low-rank methods share: words for roles, names of sites, scaling, fresh factors, the product itself."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator
from torch import Tensor
from torch.nn.functional import linear


def split_words(value: Any) -> Any:
    """Split a string at commas, as it comes from a command line; leave the rest as it is."""
    if not isinstance(value, str):
        return value
    return tuple(word.strip() for word in value.split(",") if word.strip())


Words = Annotated[tuple[str, ...], BeforeValidator(split_words)]


def key_of(path: str) -> str:
    """Return the path of a site as the name of a parameter, which must not have dots in it."""
    return path.replace(".", "/")


def path_of(key: str) -> str:
    """Return the path of a site from the name that ``key_of`` gave it."""
    return key.replace("/", ".")


def scaling_of(alpha: float, rank: int, rslora: bool) -> float:
    """Return what the product of the factors is multiplied with.

    Args:
        alpha: of LoRA.
        rank: of the factors.
        rslora: divide by the root of the rank (Kalajdzievski 2023, arXiv 2312.03732) in place of the rank.
    """
    return alpha / math.sqrt(rank) if rslora else alpha / rank


def fresh_down(rank: int, width: int, generator: torch.Generator) -> Tensor:
    """Return a new A, float32 of shape (rank, width): Kaiming-uniform with a = sqrt(5), so within 1 / sqrt(width)."""
    bound = 1.0 / math.sqrt(width)
    return torch.empty(rank, width).uniform_(-bound, bound, generator=generator)


def add_low_rank(out: Tensor, inner: Tensor, up: Tensor, scaling: float) -> Tensor:
    """Return ``out + scaling * inner @ up.T`` in one pass over ``out``.

    Args:
        out: float, shape (..., d_out).
        inner: float, shape (..., rank), what the first factor made of the input.
        up: float, shape (d_out, rank).
        scaling: see ``scaling_of``.
    """
    # addmm reads and writes the wide output once and scales the narrow gradients; a product, a scaling and a sum of
    # their own would each go over the wide output, forth and back.
    wide = torch.addmm(out.flatten(0, -2), inner.flatten(0, -2), up.t(), alpha=scaling)
    return wide.view(out.shape)


def row_norms(weight: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """Return the Euclidean norms of the rows of ``weight + B @ A``, shape (outputs,), without building it.

    ||W_j + B_j A||^2 = ||W_j||^2 + 2 B_j (A W_j^T) + B_j (A A^T) B_j^T; gradients reach A and B.

    Args:
        weight: float, shape (outputs, inputs), taken as a constant.
        A: float, shape (rank, inputs).
        B: float, shape (outputs, rank).
    """
    frozen = weight.detach()
    across = linear(frozen, A)  # (outputs, rank)
    squared = frozen.square().sum(1) + 2 * (across * B).sum(1) + ((B @ (A @ A.T)) * B).sum(1)
    # Rounding can take a row that the change cancels below zero.
    return squared.clamp_min(torch.finfo(squared.dtype).tiny).sqrt()
