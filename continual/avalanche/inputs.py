"""What Avalanche's data loaders hand over, as inputs of a backbone; and a memory of what was encoded already."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from backbones.base import Backbone
from backbones.core.errors import FrostlineError, unknown
from backbones.encoder import Encoder


class Inputs(Protocol):
    """How the batches of a data loader become what a backbone takes."""

    def rows(self, batch: Any) -> list[Any]:
        """Return one raw input for each sample of ``batch``.

        Raises:
            FrostlineError: a batch of another kind.
        """
        ...

    def batch(self, rows: Sequence[Any]) -> Tensor:
        """Return rows as a batch for ``Backbone.features``, on the CPU."""
        ...

    def encode(self, encoder: Encoder, rows: Sequence[Any]) -> Tensor:
        """Return features of rows: float32 on the CPU, shape (n, width); no row depends on the others."""
        ...


class _Raw:
    """Inputs that the backbone's own preprocessing takes as they are: texts."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone

    def rows(self, batch: Any) -> list[Any]:
        return list(batch)

    def batch(self, rows: Sequence[Any]) -> Tensor:
        return self.backbone.preprocessing(rows)

    def encode(self, encoder: Encoder, rows: Sequence[Any]) -> Tensor:
        return encoder.features(rows)


class _Unit(_Raw):
    """Images of any size as float tensors in 0..1 (what ``to_tensor`` of torchvision and ours make) or as uint8."""

    def rows(self, batch: Any) -> list[Any]:
        pixels = torch.stack(list(batch)) if isinstance(batch, list | tuple) and isinstance(batch[0], Tensor) else batch
        if not isinstance(pixels, Tensor) or pixels.ndim != 4 or pixels.shape[1] not in (1, 3):
            raise FrostlineError(
                f"a batch of images is {_shown(pixels)}; backbone {self.backbone.name!r} takes tensors of shape "
                "(n, 3, height, width), or (n, 1, height, width) for grey ones. For texts choose a text backbone."
            )
        if pixels.is_floating_point():
            low, high = (float(value) for value in torch.aminmax(pixels))
            if low < -1e-3 or high > 1 + 1e-3:
                raise FrostlineError(
                    f"pixels run from {low:.3g} to {high:.3g} but inputs='unit' means 0 to 1; leave Normalize out of "
                    "the transform of the benchmark, or prepare the images yourself: as_model(..., "
                    "inputs='preprocessed') and model.preprocess as transform."
                )
            # Back to the 8 bits that images have: features are then those that an engine computes from the image.
            pixels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8)
        pixels = pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
        return list(np.ascontiguousarray(pixels.cpu().numpy()))


class _Preprocessed(_Raw):
    """Images that were preprocessed already: float tensors that go into the backbone as they are."""

    def rows(self, batch: Any) -> list[Any]:
        size = self.backbone.preprocessing(()).shape[1:]
        wrong = next((row for row in batch if not isinstance(row, Tensor) or row.shape != size), None)
        if wrong is not None:
            raise FrostlineError(
                f"an image is {_shown(wrong)} but inputs='preprocessed' of backbone {self.backbone.name!r} means "
                f"tensors of shape {tuple(size)}; pass model.preprocess as the transform of the benchmark."
            )
        return [row.float().cpu() for row in batch]

    def batch(self, rows: Sequence[Any]) -> Tensor:
        return torch.stack(list(rows))

    def encode(self, encoder: Encoder, rows: Sequence[Any]) -> Tensor:
        return _BatchEncoder.of(encoder, self.batch).features(rows)


class _BatchEncoder(Encoder):
    """An encoder of rows that are preprocessed already."""

    prepare: Callable[[Sequence[Any]], Tensor]

    @classmethod
    def of(cls, encoder: Encoder, prepare: Callable[[Sequence[Any]], Tensor]) -> _BatchEncoder:
        made = cls(encoder.backbone, encoder.delta, encoder.precision, encoder.chunk)
        made.prepare = prepare
        return made

    def features(self, raw: Sequence[Any]) -> Tensor:
        parts = self._chunks(
            [0] * len(raw), lambda rows, _: self.prepare([raw[row] for row in rows]), self.backbone.features, 1.0
        )
        return torch.cat(parts) if parts else torch.empty(0, self.backbone.width)


KINDS: dict[str, dict[str, Callable[[Backbone], Inputs]]] = {
    "image": {"unit": _Unit, "preprocessed": _Preprocessed},
    "text": {"unit": _Raw},
}


def inputs_of(backbone: Backbone, kind: str) -> Inputs:
    """Return how batches for ``backbone`` are read (see ``as_model``).

    Raises:
        FrostlineError: a kind that the modality of the backbone does not have.
    """
    kinds = KINDS[backbone.modality]
    if kind not in kinds:
        raise unknown(f"inputs of a backbone for {backbone.modality}s", kind, kinds)
    return kinds[kind](backbone)


class Memory:
    """Features of inputs by their content, as long as nothing that decides them has changed.

    Args:
        most: bytes of features kept; the oldest go first. 0 keeps nothing.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._stamp: Hashable = None
        self._rows: dict[bytes, Tensor] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._rows.clear()

    def features(self, stamp: Hashable, rows: Sequence[Any], compute: Callable[[list[Any]], Tensor]) -> Tensor:
        """Return the features of ``rows``, computing those of inputs that were not met under this ``stamp``."""
        if stamp != self._stamp:
            self.clear()
            self._stamp = stamp
        keys = [_digest(row) for row in rows]
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in self._rows}
        if missing:
            self._rows.update(zip(missing, compute(list(missing.values())), strict=True))
        answer = torch.stack([self._rows[key] for key in keys])
        room = self.most // (answer.shape[1] * answer.element_size())
        for key in list(self._rows)[: max(0, len(self._rows) - room)]:
            del self._rows[key]
        return answer


def _digest(row: Any) -> bytes:
    if isinstance(row, str):
        content, kind = row.encode("utf-8", "surrogatepass"), "text"
    else:
        values = row.numpy() if isinstance(row, Tensor) else row
        content, kind = np.ascontiguousarray(values).tobytes(), f"{values.dtype}{values.shape}"
    found = hashlib.blake2b(f"{kind}\n".encode(), digest_size=16)
    found.update(content)
    return found.digest()


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"
