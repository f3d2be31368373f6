"""Rounding that looks at inputs: second moments of what enters a layer, and rounding column by column (GPTQ)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.encoder import Encoder
from backbones.lifecycle.compress.grid import Codes, Quantisation, find_scales, snap, spread

DAMPING = 0.01  # of the mean of the diagonal, added to it, as in GPTQ
BATCH = 32  # samples between two reports
BLOCK = 128  # columns whose errors are handed on together


def moments(
    backbone: Backbone,
    layers: Iterable[str],
    samples: Sequence[Any],
    *,
    progress: Progress = silent,
    phase: str = "calibrate",
) -> dict[str, Tensor]:
    """Return X'X / n of the n token vectors X that enter each layer: path -> float64, shape (inputs, inputs).

    Args:
        backbone: where the layers are.
        layers: paths of linear layers and convolutions in one group.
        samples: raw inputs, without labels.
        progress: told of the samples done.
        phase: what to call the work.

    Raises:
        FrostlineError: no samples.
    """
    if not len(samples):
        raise FrostlineError("calibrated rounding needs samples, and there are none; pass some, or round to nearest.")
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def adding(path: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def add(module: nn.Module, args: tuple[Any, ...]) -> None:
            rows = _rows(module, args[0].detach().float())
            product = (rows.T @ rows).double().cpu()
            sums[path] = sums[path] + product if path in sums else product
            counts[path] = counts.get(path, 0) + len(rows)

        return add

    handles = [backbone.module.get_submodule(path).register_forward_pre_hook(adding(path)) for path in layers]
    encoder = Encoder(backbone, precision="fp32")
    try:
        for start in range(0, len(samples), BATCH):
            encoder.features([samples[row] for row in range(start, min(start + BATCH, len(samples)))])
            progress(phase, min(start + BATCH, len(samples)), len(samples))
    finally:
        for handle in handles:
            handle.remove()
    return {path: total / counts[path] for path, total in sums.items()}


def _rows(module: nn.Module, entering: Tensor) -> Tensor:
    """Return the vectors that the rows of a layer's weight are multiplied with: shape (n, inputs)."""
    if isinstance(module, nn.Conv2d):
        assert not isinstance(module.padding, str)
        entering = unfold(
            entering, module.kernel_size, dilation=module.dilation, padding=module.padding, stride=module.stride
        ).transpose(1, 2)
    return entering.reshape(-1, entering.shape[-1])


def quantise_calibrated(weight: Tensor, settings: Quantisation, moment: Tensor, mask: Tensor | None = None) -> Codes:
    """Put a linear weight on the grid column by column; later columns make up for the error of earlier ones.

    Frantar et al., GPTQ (2023): the columns with the largest inputs come first; the scales are those of rounding to the
    nearest, so that they are found before any column is moved.

    Args:
        weight: shape (outputs, ...).
        settings: the grid.
        moment: of the inputs, see ``moments``.
        mask: bool, of the weight's shape: what is not pruned; pruned weights stay zero.
    """
    plain = weight.detach().float().reshape(len(weight), -1)
    scale, group = find_scales(plain, settings)
    order = torch.argsort(moment.diagonal(), descending=True, stable=True)
    left = plain[:, order].clone()
    steps = spread(scale, group, plain.shape)[:, order]
    seen = None if mask is None else mask.reshape(plain.shape)[:, order]
    inverse = _upper(moment[order][:, order]).float()
    found = torch.zeros(plain.shape, dtype=torch.int8)
    for start in range(0, left.shape[1], BLOCK):
        stop = min(start + BLOCK, left.shape[1])
        errors = torch.zeros(len(left), stop - start)
        for column in range(start, stop):
            wanted = left[:, column]
            found[:, column] = snap(wanted, steps[:, column], settings.top)
            if seen is not None:
                found[:, column] *= seen[:, column]  # what was to make up for others there is handed on as an error
            error = (wanted - found[:, column] * steps[:, column]) / inverse[column, column]
            left[:, column + 1 : stop] -= error[:, None] * inverse[column, column + 1 : stop]
            errors[:, column - start] = error
        left[:, stop:] -= errors @ inverse[start:stop, stop:]  # later blocks hear of a whole block at once
    codes = torch.zeros_like(found)
    codes[:, order] = found
    return Codes(codes.reshape(weight.shape), scale, group, settings.bits)


def _upper(moment: Tensor) -> Tensor:
    """Return the upper Cholesky factor of the inverse of a damped matrix of second moments."""
    damped = moment.clone()
    dead = damped.diagonal() == 0  # inputs that are always zero
    damped.diagonal()[dead] = 1.0
    damped.diagonal().add_(DAMPING * damped.diagonal().mean())
    factor: Tensor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    return factor
