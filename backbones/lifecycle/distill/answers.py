"""What a teacher says of its inputs, remembered as far as there is room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from backbones.base import Backbone
from backbones.encoder import answered
from backbones.lifecycle.distill.losses import Terms
from backbones.lifecycle.distill.trace import Seen, Trace

ROOM = 2 * 2**30  # bytes: what a MiniLM's six layers say of 15,000 questions of a dozen tokens


class Answers:
    """A frozen teacher's embeddings, states, scores and logits, for the layers and terms that are asked for.

    What is said of an input that comes back as it was is computed once: in the precision of the teacher at first, in
    float16 (rounded by at most 0.05 %) from then on. Logits are kept as they are, at once and without limit.

    Args:
        teacher: who is asked; nothing is trained.
        layers: of the teacher, counted from 1.
        terms: what is wanted of the layers.
        head: on the teacher's features; None where no logits are wanted.
        room: bytes of what layers say that may be kept; 0 computes everything afresh.
    """

    def __init__(
        self,
        teacher: Backbone,
        layers: Sequence[int],
        terms: Terms,
        head: nn.Linear | None = None,
        room: int = ROOM,
    ) -> None:
        self.teacher, self.head, self.room = teacher, head, room
        self._trace = Trace(
            teacher,
            [layer - 1 for layer in layers],
            embedding=terms.embedding > 0,
            hidden=terms.hidden > 0,
            scores=terms.attention > 0,
        )
        self._seen: dict[Any, Seen] = {}
        self._logits: dict[Any, Tensor] = {}

    def seen(self, batch: Tensor, keys: Sequence[Any] | None = None) -> Seen:
        """Return what the teacher computes in its layers for a preprocessed batch.

        Args:
            batch: inputs of one length.
            keys: name each input, the same at every call; None where the inputs do not come back.
        """
        if keys is not None and all(key in self._seen for key in keys):
            found = Seen.join([self._seen[key].map(Tensor.float) for key in keys])  # autocast joins no float16
            return found.map(lambda tensor: tensor.to(batch.device))
        with torch.no_grad(), self._trace:
            features, seen = self._trace.run(batch)
            logits = None if self.head is None else answered(self.head, features)
        for row, key in enumerate(keys or ()):
            if logits is not None:
                self._logits[key] = logits[row].cpu()
            self._keep(key, row, seen)
        return seen

    def logits(self, batch: Tensor, keys: Sequence[Any] | None = None) -> Tensor:
        """Return what the teacher's head says of a preprocessed batch: float32, shape (n, classes); see ``seen``."""
        assert self.head is not None, "the teacher has no head"
        if keys is not None and all(key in self._logits for key in keys):
            return torch.stack([self._logits[key] for key in keys]).to(batch.device)
        with torch.no_grad():
            found = answered(self.head, self.teacher.features(batch))
        for row, key in enumerate(keys or ()):
            self._logits[key] = found[row].cpu()
        return found

    def _keep(self, key: Any, row: int, seen: Seen) -> None:
        if key in self._seen or self.room <= 0:
            return
        part = seen.map(lambda tensor: tensor[row : row + 1].to("cpu", torch.float16, copy=True))
        self.room -= 2 * sum(tensor.numel() for tensor in part.tensors())
        self._seen[key] = part
