"""What enters a block, computed once: whatever changes above it alone need not run what lies below again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from backbones.base import Backbone
from backbones.core.labelled import Labelled
from backbones.core.samples import Progress, silent
from backbones.delta import Delta
from backbones.encoder import Encoder, by_group

BLOCK = 16  # chunks between two reports of progress


def packed_rows(backbone: Backbone, raw: Sequence[Any], layer: int, phase: str, progress: Progress) -> list[Tensor]:
    """Return what enters block ``layer``, packed, one (1, own tokens, ...) on the CPU for each raw input.

    Args:
        backbone: what is on it acts, see ``backbones.encoder.Encoder.activations``.
        raw: inputs.
        layer: the block.
        phase: what to call the work.
        progress: told of the inputs done.
    """
    encoder, prepare = Encoder(backbone, precision="fp32"), backbone.preprocessing
    found: list[Tensor] = []
    for start in range(0, len(raw), BLOCK * encoder.chunk):
        part = [raw[row] for row in range(start, min(start + BLOCK * encoder.chunk, len(raw)))]
        packed = encoder.activations(part, layer)
        groups = prepare.groups_of(packed)
        found += [prepare.cut(packed[row : row + 1], group).clone() for row, group in enumerate(groups)]
        progress(phase, start + len(part), len(raw))
    return found


def chunks(backbone: Backbone, rows: Sequence[Tensor]) -> Iterator[list[int]]:
    """Yield the places of packed rows of one length, a forward pass at a time."""
    size = Encoder(backbone).chunk
    for _, places in by_group([row.shape[1] for row in rows]):
        yield from (places[start : start + size] for start in range(0, len(places), size))


def grouped(rows: Sequence[Tensor], run: Callable[[Tensor], Tensor], device: torch.device) -> Tensor:
    """Return what ``run`` makes of packed rows in their order, (n, ...); rows of one length go forward together."""
    groups = by_group([row.shape[1] for row in rows])
    parts = [run(torch.cat([rows[place] for place in places]).to(device)) for _, places in groups]
    order = torch.tensor([place for _, places in groups for place in places]).argsort()
    return torch.cat(parts)[order.to(device)]


class Lower:
    """Features of labelled data, for which the blocks below ``layer`` run once for each backbone and data.

    Args:
        layer: the lowest block that anything on the backbone will touch; 0 to remember nothing.
    """

    def __init__(self, layer: int = 0) -> None:
        self.layer = layer
        self._held: dict[tuple[int, int], tuple[Any, list[Tensor]]] = {}

    def features(
        self, backbone: Backbone, data: Labelled, delta: Delta | None, phase: str, progress: Progress = silent
    ) -> Tensor:
        """Return features: float32 on the CPU, shape (n, width).

        Args:
            backbone: what lies below ``layer`` must not change between calls.
            data: raw inputs.
            delta: on the backbone.
            phase: what to call the work.
            progress: told of the samples done.
        """
        encoder = Encoder(backbone, delta, precision="fp32")
        size = BLOCK * encoder.chunk
        starts = range(0, len(data), size)
        if self.layer == 0 or (delta is not None and delta.first_layer < self.layer):
            found = []
            for start in starts:
                rows = range(start, min(start + size, len(data)))
                found.append(encoder.features(data.raw(rows)))
                progress(phase, rows.stop, len(data))
            return torch.cat(found)
        packed = self.rows(backbone, data, phase, progress)
        join = backbone.preprocessing.join
        return torch.cat([encoder.features_from(join(packed[at : at + size]), self.layer) for at in starts])

    def rows(self, backbone: Backbone, data: Labelled, phase: str, progress: Progress = silent) -> list[Tensor]:
        """Return what enters block ``layer``, see ``packed_rows``."""
        key = (id(backbone), id(data))
        if key not in self._held:  # with what the key stands for, so that it stays alive
            made = packed_rows(backbone, data.raw(range(len(data))), self.layer, phase, progress)
            self._held[key] = ((backbone, data), made)
        return self._held[key][1]
