"""Varied images: what is usual for natural pictures, on batches."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

SHIFT = 8  # a shift is at most this fraction of the side


def flip_and_shift(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Return images mirrored with probability 1/2 and shifted by up to an eighth of their side, edges repeated.

    Args:
        batch: preprocessed images, float, shape (n, 3, side, side).
        generator: CPU generator of the draws.
    """
    count, _, height, width = batch.shape
    reach = max(1, height // SHIFT)
    mirrored = (torch.rand(count, generator=generator) < 0.5).to(batch.device)
    offsets = torch.randint(0, 2 * reach + 1, (2, count), generator=generator).to(batch.device)
    batch = torch.where(mirrored[:, None, None, None], batch.flip(-1), batch)
    padded = pad(batch, (reach,) * 4, mode="replicate").permute(0, 2, 3, 1)
    rows = (offsets[0, :, None] + torch.arange(height, device=batch.device))[:, :, None]
    columns = (offsets[1, :, None] + torch.arange(width, device=batch.device))[:, None, :]
    which = torch.arange(count, device=batch.device)[:, None, None]
    return padded[which, rows, columns].permute(0, 3, 1, 2).contiguous()
