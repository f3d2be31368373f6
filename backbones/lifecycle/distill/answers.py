"""What a teacher says of its inputs, remembered as far as there is room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from backbones.base import Backbone
from backbones.lifecycle.distill.losses import Terms
from backbones.lifecycle.distill.trace import Seen, Trace

ROOM = 2 * 2**30  # bytes: what a MiniLM's six layers say of 15,000 questions of a dozen tokens


class Answers:
    """A frozen teacher's embeddings, states, scores and logits, for the layers and terms that are asked for.

    What is said of an input that comes back as it was is computed once: in the precision of the teacher at first, in
    float16 (rounded by at most 0.05 %) from then on. Logits are kept as they are.

    Args:
        teacher: who is asked; nothing is trained.
        head: on its features; None where no logits are wanted.
        layers: of the teacher, counted from 1.
        terms: what is wanted of the layers; None for nothing.
        room: bytes that may be kept; 0 computes everything afresh.
    """

    def __init__(
        self,
        teacher: Backbone,
        head: nn.Linear | None,
        layers: Sequence[int],
        terms: Terms | None,
        room: int = ROOM,
    ) -> None:
        self.teacher, self.head, self._room = teacher, head, room
        wanted = [layer - 1 for layer in layers] if terms is not None else []
        self._trace = Trace(
            teacher,
            wanted,
            embedding=terms is not None and terms.embedding > 0,
            hidden=terms is not None and terms.hidden > 0,
            scores=terms is not None and terms.attention > 0,
        )
        self._kept: dict[Any, tuple[Seen, Tensor | None]] = {}

    def of(self, batch: Tensor, keys: Sequence[Any] | None = None) -> tuple[Seen, Tensor | None]:
        """Return what the teacher computes for a preprocessed batch, and its logits, (n, classes), if it has a head.

        Args:
            batch: inputs of one length.
            keys: name each input, the same at every call; None where the inputs do not come back.
        """
        if keys is not None and all(key in self._kept for key in keys):
            return self._recall([self._kept[key] for key in keys])
        with torch.no_grad(), self._trace:
            features, seen = self._trace.run(batch)
            logits = None if self.head is None else self.head(features.float())
        if keys is not None:
            self._remember(keys, seen, logits)
        return seen, logits

    def _remember(self, keys: Sequence[Any], seen: Seen, logits: Tensor | None) -> None:
        for row, key in enumerate(keys):
            if key in self._kept or self._room <= 0:
                continue

            def one(tensor: Tensor, row: int = row) -> Tensor:
                return tensor[row : row + 1].to("cpu", torch.float16, copy=True)

            part = seen.map(one)
            self._room -= 2 * sum(tensor.numel() for tensor in part.tensors())
            self._kept[key] = (part, None if logits is None else logits[row : row + 1].cpu().clone())

    def _recall(self, found: Sequence[tuple[Seen, Tensor | None]]) -> tuple[Seen, Tensor | None]:
        device, parts = self.teacher.device, [seen for seen, _ in found]
        logits = [row for _, row in found if row is not None]
        return Seen.join(parts).map(lambda tensor: tensor.to(device, torch.float32)), (
            torch.cat(logits).to(device) if logits else None
        )
