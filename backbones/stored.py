"""Rows of activations: read from disk one by one, or kept in memory; samples visited group by group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from backbones.core.samples import Progress, Samples, silent
from backbones.encoder import Encoder, by_group

ROOM = 2**30  # bytes: what enters a block of a ViT-Ti/16 at 224 px for 7,000 images


class Activations:
    """Stored activations of some samples, read from disk row by row.

    Args:
        shards: files of rows.
        places: for each sample, (number of its shard, row in it).
        join: stacks rows, see ``backbones.core.batches.Preprocess``.
    """

    def __init__(
        self, shards: list[Path], places: list[tuple[int, int]], join: Callable[[Sequence[Tensor]], Tensor]
    ) -> None:
        self._join = join
        self._shards = shards
        self._places = places
        self._open: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, indices: Sequence[int]) -> Tensor:
        """Return packed activations: float32, shape (len(indices), tokens, width or more)."""
        return self._join([self._row(*self._places[i]) for i in indices])

    def _row(self, shard: int, row: int) -> Tensor:
        if shard not in self._open:
            self._open[shard] = safe_open(str(self._shards[shard]), framework="pt").get_slice("rows")
        tensor: Tensor = self._open[shard][row : row + 1]
        return tensor


class Kept:
    """What enters a block for some samples, in memory as far as there is room; the rest is computed at every request.

    Several epochs then run the blocks below once.

    Args:
        encoder: what encodes; no delta may touch a block below ``layer``.
        samples: raw inputs.
        layer: the block.
        room: bytes that may be kept.
    """

    def __init__(self, encoder: Encoder, samples: Samples, layer: int, room: int = ROOM) -> None:
        self._encoder, self._samples, self._layer, self._room = encoder, samples, layer, room
        self._rows: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def kept(self) -> int:
        """Number of samples in memory."""
        return len(self._rows)

    def fill(self, *, progress: Progress = silent, phase: str = "activations") -> None:
        """Compute and keep what there is room for, group by group.

        Args:
            progress: told (phase, samples done, samples in all).
            phase: what to call the work.
        """
        self._rows.clear()
        chunk, used, total = self._encoder.chunk, 0, len(self._samples)
        everything = list(range(total))
        groups = self._encoder.backbone.preprocessing.groups(Rows(self._samples, everything))
        for done, _, part in parts(everything, groups, chunk):
            rows = self._encoder.activations([self._samples[i] for i in part], self._layer)
            used += rows.numel() * rows.element_size()
            if used > self._room:
                break
            if self._encoder.chunk != chunk:  # memory ran out: what is kept has the bits of another chunk size
                self._rows.clear()
                self._room //= 2
                return self.fill(progress=progress, phase=phase)
            self._rows |= {row: rows[i : i + 1] for i, row in enumerate(part)}
            progress(phase, done + len(part), total)
        return None

    def __getitem__(self, indices: Sequence[int]) -> Tensor:
        """Return packed activations: float32, shape (len(indices), tokens, width or more)."""
        prepare = self._encoder.backbone.preprocessing
        missing = [index for index in indices if index not in self._rows]
        found: dict[int, Tensor] = {}
        if missing:
            rows = self._encoder.lower(prepare([self._samples[i] for i in missing]), self._layer)
            found = {row: rows[i : i + 1] for i, row in enumerate(missing)}
        return prepare.join([self._rows[i] if i in self._rows else found[i] for i in indices])


class Rows(Sequence[Any]):
    """Some rows of samples, read when asked for: images need not be decoded to know their group."""

    def __init__(self, samples: Samples, rows: Sequence[int]) -> None:
        self._samples = samples
        self._indices = rows

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> Any:
        return self._samples[self._indices[index]]


def parts(indices: list[int], groups: list[int], size: int) -> Iterator[tuple[int, int, list[int]]]:
    """Yield (done so far, group, at most ``size`` of its indices), group by group."""
    done = 0
    for group, rows in by_group(groups):
        for start in range(0, len(rows), size):
            part = [indices[row] for row in rows[start : start + size]]
            yield done, group, part
            done += len(part)
