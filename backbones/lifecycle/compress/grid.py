"""Weights on a symmetric grid of whole numbers: codes times a scale for each tensor, channel or group of inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from backbones.core.settings import Settings

Granularity = Literal["channel", "tensor", "group"]
FEWEST, MOST = 2, 8  # bits
SHRUNK = 40  # scales that a search by squared error tries
LOWEST = 0.3  # the smallest of them, as a share of the largest


class Quantisation(Settings):
    """How weights are put on a grid.

    Args:
        bits: of a code: at most ``2**bits - 1`` levels, from ``-(2**(bits-1) - 1)`` to its opposite; zero is one.
        granularity: what shares a scale: an output ``channel``, the whole ``tensor``, or a ``group`` of inputs of one
            channel.
        group: inputs in a group.
        scales: ``minmax`` (the largest weight gets the largest code) or ``mse`` (the scale of least squared error among
            40 between 0.3 and 1 times that).
        rounding: ``nearest``, or ``calibrated``: each column's rounding error is made up for by the columns after it,
            so that the outputs on samples stay close (GPTQ, Frantar et al. 2023).
    """

    bits: int = Field(ge=FEWEST, le=MOST)
    granularity: Granularity = "channel"
    group: int = Field(64, ge=1)
    scales: Literal["mse", "minmax"] = "mse"
    rounding: Literal["nearest", "calibrated"] = "nearest"

    @property
    def top(self) -> int:
        """The largest code."""
        return top_code(self.bits)


def top_code(bits: int) -> int:
    """Return the largest code of a grid."""
    return int(2 ** (bits - 1)) - 1


@dataclass(frozen=True)
class Codes:
    """A weight on its grid.

    Attributes:
        codes: int8, of the weight's shape (outputs, ...).
        scale: float32 with the 8 significant bits of bfloat16, shape (1, 1), (outputs, 1) or (outputs, groups): its
            product with a code is exact.
        group: inputs that share a scale.
        bits: of a code.
    """

    codes: Tensor
    scale: Tensor
    group: int
    bits: int

    def weight(self) -> Tensor:
        """Return codes times scales: float32, of the weight's shape."""
        flat = self.codes.reshape(len(self.codes), -1)
        return (flat.float() * spread(self.scale, self.group, flat.shape)).reshape(self.codes.shape)


def spread(scale: Tensor, group: int, shape: torch.Size) -> Tensor:
    """Return the scale of each weight: shape (outputs, inputs)."""
    return scale.repeat_interleave(group, dim=1)[:, : shape[1]].expand(shape)


def quantise(weight: Tensor, settings: Quantisation) -> Codes:
    """Put a weight on the grid by rounding to the nearest level; a weight on such a grid already keeps its values.

    Args:
        weight: floating point, shape (outputs, ...), at least two dimensions, finite.
        settings: the grid; its ``rounding`` is not looked at.
    """
    flat = weight.detach().float().reshape(len(weight), -1)
    scale, group = find_scales(flat, settings)
    return Codes(snap(flat, spread(scale, group, flat.shape), settings.top).reshape(weight.shape), scale, group,
                 settings.bits)  # fmt: skip


def snap(values: Tensor, scale: Tensor, top: int) -> Tensor:
    """Return the nearest codes, int8, half to even, clipped to ``-top`` and ``top``."""
    return torch.round(values / scale).clamp_(-top, top).to(torch.int8)


def find_scales(flat: Tensor, settings: Quantisation) -> tuple[Tensor, int]:
    """Return the scales of a weight of shape (outputs, inputs), and how many inputs share one.

    Scales are rounded to bfloat16: half of the bytes, and a product of a code and a scale that float32 holds exactly.
    The largest weight still gets the largest code (127 times an error of 1/256 is below one half).
    """
    rows, inputs = flat.shape
    if settings.granularity == "tensor":
        return _search(flat.reshape(1, -1), settings).reshape(1, 1), inputs
    group = min(settings.group, inputs) if settings.granularity == "group" else inputs
    shares = pad(flat, (0, -inputs % group)).reshape(-1, group)  # zeros change neither a maximum nor an error
    return _search(shares, settings).reshape(rows, -1), group


def _search(rows: Tensor, settings: Quantisation) -> Tensor:
    """Return one scale for each row: float32, shape (rows, 1)."""
    largest = rows.abs().amax(dim=1, keepdim=True)
    best = _short(largest / settings.top)
    if settings.scales == "minmax":
        return best
    least = _squared_error(rows, best, settings.top)
    for share in torch.linspace(1.0, LOWEST, SHRUNK)[1:].tolist():
        scale = _short(largest * share / settings.top)
        error = _squared_error(rows, scale, settings.top)
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    return best


def _short(scale: Tensor) -> Tensor:
    """Round to bfloat16; rows of zeros get the scale 1."""
    short = scale.to(torch.bfloat16).float()
    return torch.where(short > 0, short, torch.ones_like(short))


def _squared_error(rows: Tensor, scale: Tensor, top: int) -> Tensor:
    return (torch.round(rows / scale).clamp_(-top, top) * scale - rows).square().sum(dim=1, keepdim=True)
