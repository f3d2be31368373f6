"""Rows of activations: read from disk one by one, or kept in memory; samples visited group by group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from backbones.core.samples import Progress, Samples, silent
from backbones.encoder import Encoder, by_group

ROOM = 2**30  # bytes: what enters a block of a ViT-Ti/16 at 224 px for 7,000 images


class Activations:
    """Stored activations of some samples, read from disk row by row; what is not there (any more) is computed.

    Args:
        shards: files of rows.
        places: for each sample, (number of its shard, row in it), None where it is not stored.
        join: stacks rows, see ``backbones.core.batches.Preprocess``.
        compute: returns the rows of some samples, with the bits of those that are stored.
        note: told of files that cannot be read.
    """

    def __init__(
        self,
        shards: list[Path],
        places: list[tuple[int, int] | None],
        join: Callable[[Sequence[Tensor]], Tensor],
        compute: Callable[[Sequence[int]], Tensor],
        note: Callable[[str], None],
    ) -> None:
        self.places, self.compute = places, compute
        self._join, self._note = join, note
        self._shards = shards
        self._open: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, indices: Sequence[int]) -> Tensor:
        """Return packed activations: float32, shape (len(indices), tokens, width or more)."""
        found = [self._row(i) for i in indices]
        lost = [i for i, row in zip(indices, found, strict=True) if row is None]
        anew = iter(self.compute(lost).split(1) if lost else ())
        return self._join([next(anew) if row is None else row for row in found])

    def _row(self, index: int) -> Tensor | None:
        place = self.places[index]
        if place is None:
            return None
        shard, row = place
        try:
            if shard not in self._open:
                self._open[shard] = safe_open(str(self._shards[shard]), framework="pt").get_slice("rows")
            tensor: Tensor = self._open[shard][row : row + 1]
        except (OSError, SafetensorError) as error:
            self._note(f"stored activations cannot be read and are computed again, batch by batch: {error}")
            self.places[index] = None
            return None
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
