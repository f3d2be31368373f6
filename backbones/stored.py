"""Rows of a feature store: activations read from disk one by one, samples visited group by group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from backbones.core.samples import Samples
from backbones.encoder import by_group


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
