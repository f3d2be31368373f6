"""FeatureStore: content-addressed features and activations, in memory and on disk."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as parse_tensors
from torch import Tensor

from backbones.core.artifacts import metadata_of, tensor_bytes, write_bytes
from backbones.core.errors import FrostlineError
from backbones.core.places import cache_folder
from backbones.core.samples import Progress, Samples, silent
from backbones.encoder import Encoder
from backbones.stored import Activations, Rows, parts

SHARD_BYTES = 32 * 2**20
SHARD_SECONDS = 20.0  # what a killed run can lose at most, beside the chunk under way
TABLES_IN_MEMORY = 4
Planned = Callable[[float], None]


@dataclass
class _Table:
    """Where the rows of one key are: digest -> (place in ``held`` or shard, row)."""

    rows: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    held: list[Tensor] = field(default_factory=list)
    shards: list[Path] = field(default_factory=list)


class FeatureStore:
    """Keeps what a backbone computed, by content: a sample is encoded once per (weights, delta, preprocessing, ...).

    Entries are shards named by the SHA-256 of their bytes, written atomically, and hold the key that they belong to: a
    truncated, corrupt or misplaced shard is found out, removed and computed again, and any number of processes may
    share one folder. A folder that cannot be read or written to makes work slower, never impossible; ``notes`` say so.

    Args:
        folder: where shards are kept; None keeps features in memory only.
    """

    def __init__(self, folder: Path | str | None) -> None:
        self.folder = None if folder is None else Path(folder)
        self.notes: list[str] = []
        self.hits = 0
        self.misses = 0
        self._tables: OrderedDict[str, _Table] = OrderedDict()

    def features(
        self,
        encoder: Encoder,
        samples: Samples,
        *,
        progress: Progress = silent,
        phase: str = "features",
        planned: Planned | None = None,
    ) -> Tensor:
        """Return features in the order of ``samples``: float32, shape (n, width); computes only what is missing.

        Args:
            encoder: what encodes.
            samples: raw inputs with content digests.
            progress: told (phase, samples done, samples in all).
            phase: what to call the work.
            planned: told how many samples will be sent through the backbone, before the first is.
        """
        first = encoder.delta.first_layer if encoder.delta is not None and encoder.delta.attached else 0
        return self._features(encoder, samples, progress, phase, first, planned)

    def _features(
        self,
        encoder: Encoder,
        samples: Samples,
        progress: Progress,
        phase: str,
        first: int,
        planned: Planned | None,
    ) -> Tensor:
        digests = _rows(samples)
        chunk = encoder.chunk
        table = self._table(encoder.key(), in_memory=True)
        missing = self._count(table, digests)
        below = self.stored(encoder, samples, first) if missing and 0 < first < encoder.backbone.depth else None
        if planned is not None:
            planned(len(missing) * (1.0 if below is None else 1.0 - first / encoder.backbone.depth))

        def compute(indices: Sequence[int]) -> Tensor:
            if below is not None:
                return encoder.features_from(below[indices], first)
            return encoder.features([samples[i] for i in indices])

        self._fill(encoder, None, table, samples, missing, compute, progress, phase)
        if encoder.chunk != chunk:  # memory ran out on the way: what is stored has the bits of another chunk size
            return self._features(encoder, samples, progress, phase, first, planned)
        places = [table.rows[d] for d in digests]
        flat = torch.cat(table.held) if table.held else torch.empty(0, encoder.backbone.width)
        table.held = [flat]
        offsets = self._flatten(table)
        return flat[torch.tensor([offsets[d] for d in digests], dtype=torch.int64)] if places else flat[:0]

    @staticmethod
    def _flatten(table: _Table) -> dict[bytes, int]:
        for number, digest in enumerate(table.rows):
            table.rows[digest] = (0, number)
        return {digest: row for digest, (_, row) in table.rows.items()}

    def activations(
        self,
        encoder: Encoder,
        samples: Samples,
        layer: int,
        *,
        progress: Progress = silent,
        phase: str = "activations",
        planned: Planned | None = None,
    ) -> Activations:
        """Return what enters block ``layer`` for every sample, computing what is missing; rows are read when asked for.

        Args:
            encoder, samples, progress, phase, planned: as for ``features``.
            layer: the block.

        Raises:
            ValueError: the store has no folder; activations are too large for memory.
        """
        if self.folder is None:
            raise ValueError("activations need a store with a folder")
        table = self._table(encoder.key(layer), in_memory=False)
        digests = _rows(samples)
        missing = self._count(table, digests)
        if planned is not None:
            planned(len(missing) * layer / encoder.backbone.depth)
        rows = self._activations(encoder, samples, layer, table)
        self._fill(encoder, layer, table, samples, missing, rows.compute, progress, phase)
        rows.places = [table.rows.get(d) for d in digests]
        return rows

    def stored(self, encoder: Encoder, samples: Samples, layer: int) -> Activations | None:
        """Return activations of block ``layer`` if all are stored already, else None; computes nothing."""
        if self.folder is None:
            return None
        table = self._table(encoder.key(layer), in_memory=False)
        rows = self._activations(encoder, samples, layer, table)
        return None if None in rows.places else rows

    def _activations(self, encoder: Encoder, samples: Samples, layer: int, table: _Table) -> Activations:
        def compute(indices: Sequence[int]) -> Tensor:
            return encoder.activations([samples[i] for i in indices], layer)

        places = [table.rows.get(d) for d in _rows(samples)]
        return Activations(table.shards, places, encoder.backbone.preprocessing.join, compute, self._note)

    def missing(self, encoder: Encoder, samples: Samples) -> int:
        """Return how many different samples would have to be encoded."""
        table = self._table(encoder.key(), in_memory=True)
        return len({d for d in _rows(samples) if d not in table.rows})

    def _count(self, table: _Table, digests: list[bytes]) -> list[int]:
        first: dict[bytes, int] = {}
        for index, digest in enumerate(digests):
            if digest not in table.rows:
                first.setdefault(digest, index)
        self.misses += len(first)
        self.hits += len(digests) - len(first)
        return list(first.values())

    def _fill(
        self,
        encoder: Encoder,
        layer: int | None,
        table: _Table,
        samples: Samples,
        missing: list[int],
        compute: Callable[[Sequence[int]], Tensor],
        progress: Progress,
        phase: str,
    ) -> None:
        key, chunk, digests = encoder.key(layer), encoder.chunk, _rows(samples)
        groups = encoder.backbone.preprocessing.groups(Rows(samples, missing))
        pending: list[Tensor] = []
        waiting: list[bytes] = []
        began = time.monotonic()

        def keep() -> bool:
            kept = not waiting or self._keep(key, table, waiting, torch.cat(pending), in_memory=layer is None)
            pending.clear()
            waiting.clear()
            return kept

        try:
            group = None
            for done, kind, part in parts(missing, groups, chunk):
                if not done:
                    progress(phase, 0, len(missing))
                if layer is not None and kind != group and not keep():  # the rows of a shard have one shape
                    break
                group = kind
                rows = compute(part)
                if encoder.chunk != chunk:
                    break
                pending.append(rows)
                waiting.extend(digests[i] for i in part)
                size = len(waiting) * rows[0].numel() * rows.element_size()
                if size >= SHARD_BYTES or time.monotonic() - began >= SHARD_SECONDS:
                    if not keep():
                        break  # more of what cannot be kept would be computed for nothing
                    began = time.monotonic()
                progress(phase, done + len(part), len(missing))
        finally:
            keep()  # also when Ctrl-C or an unreadable image ends the loop: nothing computed is lost
        if encoder.chunk != chunk and layer is not None:
            raise MemoryError("memory ran out while activations were computed; pass a smaller chunk")

    def _keep(self, key: str, table: _Table, digests: list[bytes], rows: Tensor, *, in_memory: bool) -> bool:
        """Keep rows on disk, or at least in memory where they may be; returns whether they are kept anywhere."""
        names = torch.from_numpy(np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 16).copy())
        place = len(table.held) if in_memory else len(table.shards)
        if self.folder is not None:
            content = tensor_bytes({"digests": names, "rows": rows}, {"key": key})
            path = self._place(key) / f"{hashlib.sha256(content).hexdigest()}.safetensors"
            try:
                write_bytes(path, content)
            except FrostlineError as error:
                self._note(f"the feature store keeps nothing more, the run goes on without it: {error}")
                if not in_memory:
                    return False
            if not in_memory:
                table.shards.append(path)
        if in_memory:
            table.held.append(rows)
        for row, digest in enumerate(digests):
            table.rows.setdefault(digest, (place, row))
        return True

    def _note(self, text: str) -> None:
        """Note a thing once."""
        if text not in self.notes:
            self.notes.append(text)

    def _place(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / key[:2] / key

    def _table(self, key: str, *, in_memory: bool) -> _Table:
        if key in self._tables:
            self._tables.move_to_end(key)
            return self._tables[key]
        table = _Table()
        for path in self._shards(key):
            self._take(key, table, path, in_memory=in_memory)
        self._tables[key] = table
        while len(self._tables) > TABLES_IN_MEMORY:
            self._tables.popitem(last=False)
        return table

    def _shards(self, key: str) -> list[Path]:
        try:
            return sorted(self._place(key).glob("*.safetensors")) if self.folder and self._place(key).is_dir() else []
        except OSError as error:
            self._note(f"the feature store {self.folder} cannot be read ({error.strerror}): all is computed again")
            return []

    def _take(self, key: str, table: _Table, path: Path, *, in_memory: bool) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            self._note(
                f"an entry of the feature store cannot be read ({error.strerror}) and is computed again: {path.name}"
            )
            return
        sound = hashlib.sha256(content).hexdigest() == path.stem
        if not sound or metadata_of(content).get("key") != key:  # a folder's name proves nothing of what lies in it
            kind = "a corrupt entry" if not sound else "an entry of other weights, data or settings"
            with suppress(OSError):  # a store that may only be read
                path.unlink(missing_ok=True)
            state = "passed over" if path.exists() else "removed"
            self._note(f"{kind} of the feature store was {state} and is computed again: {path.name}")
            return
        shard = parse_tensors(content)
        names = shard["digests"].numpy().tobytes()
        fresh = [i for i in range(len(names) // 16) if names[16 * i : 16 * i + 16] not in table.rows]
        if in_memory:
            table.held.append(shard["rows"][fresh])
        else:
            table.shards.append(path)
        place = (len(table.held) if in_memory else len(table.shards)) - 1
        for number, i in enumerate(fresh):
            table.rows[names[16 * i : 16 * i + 16]] = (place, number if in_memory else i)


def _rows(samples: Samples) -> list[bytes]:
    digests: NDArray[np.uint8] = np.ascontiguousarray(samples.digests())
    packed = digests.tobytes()
    return [packed[16 * i : 16 * i + 16] for i in range(len(digests))]


def store_folder() -> Path:
    """Return the default place of the store: ``features`` in the cache folder."""
    return cache_folder() / "features"
