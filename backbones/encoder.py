"""Encoder: a backbone, the delta on it, and how both are run; equal inputs give equal bits whatever the batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from backbones.base import Backbone, passed
from backbones.core.artifacts import digest_json
from backbones.core.launch import autocast, fitting, pick_precision
from backbones.core.settings import Settings
from backbones.delta import Delta

# About what keeps the activations of a ViT inside the caches of two CPU cores (measured: ViT-Ti/16 at 224 px is
# fastest at 8 images a chunk); accelerators want many more.
TOKENS_PER_CHUNK = {"cpu": 2048}
TOKENS_ELSEWHERE = 50_000


class Resume(Settings):
    """Settings of the delta that enters a backbone at a block: nothing to choose."""


class _Reached(Exception):  # noqa: N818 (no error: the way out of a forward pass)
    """Carries the activations out of a forward pass that need not go on."""

    def __init__(self, tokens: Tensor) -> None:
        self.tokens = tokens


class Encoder:
    """Runs a backbone with an optional delta over raw inputs.

    Every forward pass has the same shape (short chunks are padded), so a sample's features do not depend on the
    samples beside it: batch sizes 1 and 128, shuffled or not, give the same bits.

    Args:
        backbone: the frozen transformer.
        delta: what is on it, None for nothing.
        precision: ``"fp32"``, ``"bf16"`` or ``"auto"`` (bf16 where the device computes it natively).
        chunk: samples per forward pass, None for a good number; halved when memory runs out.
    """

    def __init__(
        self, backbone: Backbone, delta: Delta | None = None, precision: str = "auto", chunk: int | None = None
    ) -> None:
        self.backbone = backbone
        self.delta = delta.eval() if delta is not None else None
        self.precision = pick_precision(precision, backbone.device)
        self.chunk = chunk or usual_chunk(backbone)
        self.forwards = 0.0
        self.seconds = 0.0
        self.notes: list[str] = []

    def key(self, layer: int | None = None) -> str:
        """Return the digest of all that decides a sample's features (or the activations that enter block ``layer``).

        Weights are read afresh at every call, so that a changed weight can never meet an old entry.
        """
        delta = self.delta.fingerprint() if self.delta is not None else ""
        described = getattr(self.backbone.reading, "described", None) if layer is None else None
        return digest_json(
            {
                "format": 1,
                "backbone": self.backbone.fingerprint(),
                "delta": delta if layer is None or self._touches_below(layer) else "",
                "preprocessing": self.backbone.preprocessing.described(),
                **({"reading": described()} if described is not None else {}),
                "precision": self.precision,
                "chunk": self.chunk,
                "device": self.backbone.device.type,
                "torch": torch.__version__,
                "layer": layer,
            }
        )

    def _touches_below(self, layer: int) -> bool:
        return self.delta is not None and self.delta.attached and self.delta.first_layer < layer

    def features(self, raw: Sequence[Any]) -> Tensor:
        """Encode raw inputs: float32 on the CPU, shape (len(raw), width)."""
        prepare = self.backbone.preprocessing
        parts = self._chunks(prepare.groups(raw), lambda rows, _: prepare(_of(raw, rows)), self.backbone.features, 1.0)
        return torch.cat(parts) if parts else torch.empty(0, self.backbone.width)

    def activations(self, raw: Sequence[Any], layer: int) -> Tensor:
        """Return what enters block ``layer``, packed: float32 on the CPU, shape (len(raw), tokens, width or more).

        See ``backbones.core.batches.Preprocess`` for what packed means.
        """
        prepare = self.backbone.preprocessing
        share = layer / self.backbone.depth
        with reaching(self.backbone, layer) as run:
            parts = self._chunks(prepare.groups(raw), lambda rows, _: prepare(_of(raw, rows)), run, share)
        return prepare.join(parts)

    def lower(self, batch: Tensor, layer: int) -> Tensor:
        """Return what enters block ``layer`` for a preprocessed batch, packed, on the CPU: one pass, as it comes."""
        began, device = time.perf_counter(), self.backbone.device
        with reaching(self.backbone, layer) as run, torch.no_grad(), autocast(device, self.precision):
            out = run(batch.to(device)).float().cpu()
        self.seconds += time.perf_counter() - began
        self.forwards += len(batch) * layer / self.backbone.depth
        return out

    def features_from(self, packed: Tensor, layer: int) -> Tensor:
        """Encode stored activations of block ``layer`` (see ``activations``): float32, shape (len(packed), width)."""
        prepare = self.backbone.preprocessing
        share = 1.0 - layer / self.backbone.depth
        with entering(self.backbone, layer) as enter:
            parts = self._chunks(
                prepare.groups_of(packed), lambda rows, group: prepare.cut(packed[rows], group), enter, share
            )
        return torch.cat(parts) if parts else torch.empty(0, self.backbone.width)

    def _chunks(
        self,
        groups: Sequence[int],
        batch: Callable[[list[int], int], Tensor],
        run: Callable[[Tensor], Tensor],
        share: float,
    ) -> list[Tensor]:
        """Run chunks of equal shape; returns one row (1, ...) for each input, in their order."""
        while (found := self._pass(groups, batch, run, share)) is None:
            self._halve()  # and all again: one chunk size, one set of bits
        return [found[row] for row in range(len(groups))]

    def _pass(
        self,
        groups: Sequence[int],
        batch: Callable[[list[int], int], Tensor],
        run: Callable[[Tensor], Tensor],
        share: float,
    ) -> dict[int, Tensor] | None:
        """Return a row for each input, or None if memory ran out."""
        found: dict[int, Tensor] = {}
        for group, rows in by_group(groups):
            for start in range(0, len(rows), self.chunk):
                part = rows[start : start + self.chunk]
                work = partial(self._made, batch, part, group, run)
                out = fitting(work, smallest=self.chunk == 1)
                if out is None:
                    return None
                found |= {row: out[i : i + 1] for i, row in enumerate(part)}
                self.forwards += share * len(part)
        return found

    def _made(
        self, batch: Callable[[list[int], int], Tensor], part: list[int], group: int, run: Callable[[Tensor], Tensor]
    ) -> Tensor:
        return self._run(batch(part, group), run)

    def _run(self, batch: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
        short = self.chunk - len(batch)
        padded = torch.cat([batch, batch[-1:].expand(short, *batch.shape[1:])]).contiguous() if short else batch
        began = time.perf_counter()
        device = self.backbone.device
        with torch.inference_mode(), autocast(device, self.precision):
            out = run(padded.to(device)).float().cpu()
        self.seconds += time.perf_counter() - began
        return out[: len(batch)]

    def _halve(self) -> None:
        self.chunk = max(1, self.chunk // 2)
        self.notes.append(f"out of memory: the chunk was halved to {self.chunk} samples")


def by_group(groups: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Return (group, its rows in order) by ascending group."""
    found: dict[int, list[int]] = {}
    for row, group in enumerate(groups):
        found.setdefault(group, []).append(row)
    return sorted(found.items())


def _of(raw: Sequence[Any], rows: list[int]) -> list[Any]:
    return [raw[row] for row in rows]


def usual_chunk(backbone: Backbone) -> int:
    """Return the number of samples per forward pass, a power of two, for the backbone's device and sequence length."""
    budget = TOKENS_PER_CHUNK.get(backbone.device.type, TOKENS_ELSEWHERE) // backbone.tokens
    return 1 << max(0, min(9, budget.bit_length() - 1))


def answered(head: nn.Module, features: Tensor) -> Tensor:
    """Return what a head says of features, in the precision of its own weights whatever autocast is on.

    Args:
        head: maps features to anything, on any device and in any float type; it stays where it is.
        features: float, shape (n, width), of a backbone that may compute in another precision.

    Returns:
        On the device of ``features``; float32, or float64 of a head in float64.
    """
    own = next(iter(head.parameters()), features.float())
    with autocast(own.device, "fp32"):
        found: Tensor = head(features.to(own))
        return found.to(features.device, torch.promote_types(found.dtype, torch.float32))


@contextmanager
def reaching(backbone: Backbone, layer: int) -> Iterator[Callable[[Tensor], Tensor]]:
    """Leave a backbone before block ``layer`` for a while.

    Yields:
        A function from a preprocessed batch to what enters the block, packed. That block and those above do not run.
    """

    def reach(tokens: Tensor) -> Tensor:
        raise _Reached(tokens)

    def run(batch: Tensor) -> Tensor:
        try:
            return backbone.features(batch)
        except _Reached as reached:
            return backbone.preprocessing.pack(batch, reached.tokens)

    with Delta(backbone, Resume()) as stop:
        stop.before(backbone.sites("block", layer)[0], reach, first=True)
        yield run


@contextmanager
def entering(backbone: Backbone, layer: int) -> Iterator[Callable[[Tensor], Tensor]]:
    """Enter a backbone at block ``layer`` for a while.

    Yields:
        A function from packed activations of that block (see ``Encoder.activations``) to features, (batch, width); with
        gradients if enabled. The blocks below do not run; the delta on the blocks above does. Whole passes through the
        backbone are possible in between.
    """
    held: list[Tensor] = []

    def skip(block: nn.Module, call: Callable[..., Any], tokens: Tensor, *args: Any, **named: Any) -> Any:
        return passed(backbone.beside, block, tokens, args) if held else call(tokens, *args, **named)

    def enter(packed: Tensor) -> Tensor:
        batch, tokens = backbone.preprocessing.unpack(packed)
        held.append(tokens)
        try:
            return backbone.features(batch)
        finally:
            held.pop()

    with Delta(backbone, Resume()) as bypass:
        for below in range(layer):
            site = backbone.sites("block", below)[0]
            bypass.around(site, partial(skip, backbone.module.get_submodule(site.path)))
        bypass.before(backbone.sites("block", layer)[0], lambda tokens: held[-1] if held else tokens, first=True)
        yield enter
