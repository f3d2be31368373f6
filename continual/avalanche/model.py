"""A frozen backbone, the delta on it and a growing classifier as one model that Avalanche's strategies can train."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor, nn

from backbones.base import Backbone
from backbones.catalog import LoadOptions, load_backbone
from backbones.core.artifacts import digest_tensors
from backbones.core.errors import FrostlineError
from backbones.core.launch import autocast
from backbones.delta import Delta
from backbones.encoder import Encoder, answered
from backbones.pat.base import Pat
from backbones.pat.sites import UnfitError, fitting
from continual.avalanche.classifier import CosineClassifier
from continual.avalanche.inputs import Memory, inputs_of

BLOCK = 256  # samples of a data set that are in memory at once while it is encoded
MEMORY = 256  # MiB


class BackboneClassifier(nn.Module):
    """See ``as_model``, which makes it.

    Attributes:
        source: the backbone.
        body: the frozen module, and the delta while there is one.
        classifier: features -> logits.
        schedule: when the delta learns, ``"first"`` or ``"every"``; None while there is none.
    """

    def __init__(
        self, backbone: Backbone, classifier: nn.Module, inputs: str, precision: str, chunk: int | None, memory: int
    ) -> None:
        super().__init__()
        self.source = backbone
        # One parent for both: where an optimizer has groups, Avalanche gives the delta the group of the backbone.
        self.body = nn.ModuleDict({"backbone": backbone.module})
        self.classifier = classifier
        self.schedule: str | None = None
        self._inputs = inputs_of(backbone, inputs)
        self._precision, self._chunk = precision, chunk
        self._memory = Memory(memory * 2**20)
        self._encoder: tuple[torch.device, Encoder] | None = None

    @property
    def delta(self) -> Delta | None:
        """What is on the backbone."""
        return next((part for part in self.body.values() if isinstance(part, Delta)), None)

    @property
    def moving(self) -> bool:
        """Whether the delta is being trained."""
        return self.delta is not None and any(p.requires_grad for p in self.delta.parameters())

    @property
    def drifts(self) -> bool:
        """Whether features go on moving after the first experience."""
        return self.delta is not None and self.schedule == "every" and self.delta.parameter_count > 0

    @property
    def encoder(self) -> Encoder:
        """What computes features that do not depend on the company in a batch."""
        device = self.source.device
        if self._encoder is None or self._encoder[0] != device:
            self._encoder = device, Encoder(self.source, self.delta, self._precision, self._chunk)
            self.train(self.training)  # making an encoder puts the delta into evaluation mode
        return self._encoder[1]

    def attach(self, pat: Pat, seed: int, schedule: str) -> Delta:
        """Put a PAT on the backbone.

        Args:
            pat: what grows the delta.
            seed: of the delta.
            schedule: ``"first"`` or ``"every"``.

        Raises:
            FrostlineError: there is one already, or the PAT does not fit; the latter names those that do.
        """
        if self.delta is not None:
            raise FrostlineError(
                f"there is a PAT on this model already ({type(self.delta.settings).__name__}); give one PatPlugin all "
                "of them as a stack, such as 'layernorm+adapter', or close the other plugin first."
            )
        try:
            delta = pat.grow(self.source, seed)
        except UnfitError as error:
            raise FrostlineError(f"{error} PATs that fit this backbone: {', '.join(fitting(self.source))}.") from error
        self.body["delta"] = delta
        self.schedule = schedule
        self._encoder = None
        self._memory.clear()
        self.train(self.training)
        return delta

    def detach(self) -> None:
        """Take the delta off: the backbone is what it was, bit for bit."""
        if self.delta is not None:
            self.delta.detach()
            del self.body["delta"]
        self.schedule = self._encoder = None
        self._memory.clear()

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the classifier, and of the delta while it is being trained; the backbone never trains."""
        super().train(mode)
        self.source.module.eval()  # a text encoder has dropout of its own
        if self.delta is not None:
            self.delta.train(mode and self.moving)
        return self

    def preprocess(self, raw: Any) -> Tensor:
        """Return one raw input as the backbone takes it: the transform for ``inputs="preprocessed"``."""
        return self.source.preprocessing([raw])[0]

    def batch(self, samples: Any) -> Tensor:
        """Return a batch of a data loader, or a list of its samples, as ``Backbone.features`` takes it; on the CPU."""
        return self._inputs.batch(self._inputs.rows(samples))

    def forward(self, samples: Any) -> Tensor:
        """Map a batch (see ``as_model``) to logits, shape (n, classes); with gradients while the delta is trained."""
        if not (self.moving and (self.training or torch.is_grad_enabled())):
            return answered(self.classifier, self.encode(samples).to(self.source.device))
        batch = self.batch(samples).to(self.source.device)
        with autocast(batch.device, self.encoder.precision):
            features = self.source.features(batch)
        return answered(self.classifier, features)

    @torch.no_grad()
    def encode(self, samples: Any) -> Tensor:
        """Return the features of a batch: float32 on the CPU, shape (n, width), without gradients.

        A row depends on its own sample alone. Samples met since the weights last changed are not computed again.
        """
        encoder = self.encoder
        mode = self.delta is not None and self.delta.training
        if self.delta is not None:
            self.delta.eval()
        try:
            rows = self._inputs.rows(samples)
            return self._memory.features(self._stamp(), rows, lambda some: self._inputs.encode(encoder, some))
        finally:
            if self.delta is not None:
                self.delta.train(mode)

    def encode_all(self, samples: Sequence[Any]) -> Tensor:
        """Return the features of all inputs of a data set, in their order; reads some at a time."""
        starts = range(0, len(samples), BLOCK)
        parts = [self.encode([samples[i] for i in range(at, min(at + BLOCK, len(samples)))]) for at in starts]
        return torch.cat(parts) if parts else torch.empty(0, self.source.width)

    def _stamp(self) -> tuple[Any, ...]:
        """Changes with every change of a weight in place, with the delta and with the device.

        What is trained is read each time: fused optimizers change tensors without counting a version.
        """
        tensors = list(chain(self.body.parameters(), self.body.buffers()))
        moving = [
            *(self.delta.parameters() if self.delta is not None else ()),
            *(t for t in tensors if t.requires_grad),
        ]
        state = digest_tensors({str(number): tensor.detach() for number, tensor in enumerate(moving)})
        versions = tuple((id(tensor), tensor._version) for tensor in tensors)
        return id(self.delta), self.source.device, self.encoder.precision, versions, state

    def __deepcopy__(self, memo: dict[int, Any]) -> BackboneClassifier:
        """Copy a model without a delta.

        Raises:
            FrostlineError: there is a delta; its hooks act for this very backbone.
        """
        if self.delta is not None:
            raise FrostlineError(
                "a model with a PAT on it cannot be copied: the PAT is tied to its backbone. Plugins that keep a copy "
                "of the model (LwF, LFL, MIR, GDumb, BiC) do not go with PatPlugin; without it they do."
            )
        memo[id(self)] = made = type(self).__new__(type(self))
        made.__dict__ = copy.deepcopy({**self.__dict__, "_encoder": None}, memo)
        return made


def as_model(
    backbone: str | Backbone,
    *,
    inputs: str = "unit",
    classifier: nn.Module | None = None,
    scale: float = 16.0,
    seed: int = 1993,
    precision: str = "auto",
    chunk: int | None = None,
    memory: int = MEMORY,
    options: LoadOptions | None = None,
) -> BackboneClassifier:
    """Make a frozen backbone with a growing classifier, for a strategy of Avalanche.

    The model takes the batches of Avalanche's data loaders: images as float tensors in 0..1 (or uint8) of shape
    (n, 3 or 1, height, width), which it resizes and normalises as the backbone wants them; texts as lists of str (what
    ``benchmarks.avalanche.to_avalanche`` hands over).

    Args:
        backbone: name or folder (see ``cil-run --list backbones``), or a loaded backbone with nothing on it.
        inputs: ``"unit"``: as above; ``"preprocessed"``: images come out of ``model.preprocess``, which is then the
            transform of the benchmark; it spares a GPU the way back to 8 bits.
        classifier: any module that maps features (n, width) to logits whose columns are class ids, such as Avalanche's
            ``IncrementalClassifier(width)``; None makes a growing cosine classifier.
        scale: factor on the cosines of that classifier.
        seed: of that classifier.
        precision: see ``backbones.encoder.Encoder``.
        chunk: see ``backbones.encoder.Encoder``.
        memory: MiB of features that are kept, so that samples are not encoded again and again while the backbone and
            its delta stay what they are.
        options: weights, image size and preprocessing of a backbone given by name.

    Raises:
        FrostlineError: an unknown backbone, or inputs that it cannot have.
    """
    loaded = load_backbone(backbone, options) if isinstance(backbone, str) else backbone
    head = classifier if classifier is not None else CosineClassifier(loaded.width, scale, seed)
    return BackboneClassifier(loaded, head, inputs, precision, chunk, memory)
