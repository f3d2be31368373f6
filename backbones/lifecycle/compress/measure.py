"""What compression costs: accuracy of frozen features, with the head refitted and with the head kept, and time."""

from __future__ import annotations

import hashlib
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backbones.base import Backbone
from backbones.core.labelled import Labelled, Task, check_task
from backbones.core.samples import Progress, silent
from backbones.encoder import Encoder, usual_chunk
from backbones.features import FeatureStore
from backbones.training.tasks import fit_linear

PENALTY = 20.0  # of a probe: few samples a class and standardised features want a strong one


@dataclass(frozen=True)
class Judged:
    """Shares of test samples that are classified rightly, in [0, 1].

    Attributes:
        ncm: by the nearest class mean of the training features.
        linear: by a logistic regression fitted to these features.
        kept: by the logistic regression that was fitted to the features of the dense backbone.
        agreed: share of test samples to which ``linear`` gives the class that the dense backbone gives them.
        sampling: standard deviation of (linear - dense linear) that the draw of test samples brings, from the pairs of
            right and wrong answers.
    """

    ncm: float
    linear: float
    kept: float
    agreed: float
    sampling: float


class Judge:
    """Judges backbones on one task, against the dense one.

    Args:
        dense: the reference; its features and its probe are kept.
        task: training and test data.
        store: folder in which features are kept, so that a killed run loses little; None for memory.
        progress: told of the features.

    Raises:
        FrostlineError: training data of one class.
    """

    def __init__(self, dense: Backbone, task: Task, store: Path | None = None, progress: Progress = silent) -> None:
        self.task = check_task(task)
        self.store = FeatureStore(store)
        self.parts = (_Digested(task.train), _Digested(task.test))
        self.progress = progress
        train, test = self._features(dense, "dense")
        self._head = self._fit(train)
        self._dense = self._answers(self._head, test)

    def judge(self, backbone: Backbone, phase: str) -> Judged:
        """Judge a backbone whose features are as wide as those of the dense one."""
        return self.judge_features(*self._features(backbone, phase))

    def judge_features(self, train: Tensor, test: Tensor) -> Judged:
        """Judge features of the training and test samples, in their order: float32, shape (n, width)."""
        labels = self.task.test.labels
        answers = self._answers(self._fit(train), test)
        paired = (answers == labels).astype(np.float64) - (self._dense == labels)
        return Judged(
            ncm=float((self._nearest(train, test) == labels).mean()),
            linear=float((answers == labels).mean()),
            kept=float((self._answers(self._head, test) == labels).mean()),
            agreed=float((answers == self._dense).mean()),
            sampling=float(paired.std() / len(labels) ** 0.5),
        )

    def _features(self, backbone: Backbone, phase: str) -> tuple[Tensor, Tensor]:
        encoder = Encoder(backbone, precision="fp32")
        train, test = (
            self.store.features(encoder, part, progress=self.progress, phase=f"{phase}: {name} features")
            for part, name in zip(self.parts, ("training", "test"), strict=True)
        )
        return train, test

    def _fit(self, features: Tensor) -> nn.Linear:
        return fit_linear(features, self.task.train.labels, len(self.task.train.classes), l2=PENALTY)

    def _answers(self, head: nn.Linear, features: Tensor) -> NDArray[np.int64]:
        with torch.no_grad():
            found: NDArray[np.int64] = head(features).argmax(dim=1).numpy()
        return found

    def _nearest(self, train: Tensor, test: Tensor) -> NDArray[np.int64]:
        labels = torch.from_numpy(self.task.train.labels)
        present = labels.unique()
        means = torch.stack([train[labels == label].double().mean(dim=0) for label in present])
        found: NDArray[np.int64] = present[torch.cdist(test.double(), means).argmin(dim=1)].numpy()
        return found


class _Digested:
    """Labelled data as samples with digests of their content."""

    def __init__(self, data: Labelled) -> None:
        self.data = data
        self._digests: NDArray[np.uint8] | None = None

    @property
    def modality(self) -> str:
        return self.data.modality

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        return self.data.samples[index]

    def digests(self) -> NDArray[np.uint8]:
        if self._digests is None:
            held = b"".join(_digest(self.data.samples[row]) for row in range(len(self.data)))
            self._digests = np.frombuffer(held, dtype=np.uint8).reshape(-1, 16)
        return self._digests


def _digest(raw: Any) -> bytes:
    state = hashlib.blake2b(digest_size=16)
    if isinstance(raw, str):
        state.update(b"text" + raw.encode("utf-8", "surrogatepass"))
    else:
        state.update(repr(raw.shape).encode() + np.ascontiguousarray(raw).tobytes())
    return state.digest()


def sample_batch(backbone: Backbone, data: Labelled) -> Tensor:
    """Return a preprocessed batch of the usual size, of the group of most first samples, on the backbone's device."""
    raw = data.raw(range(min(len(data), 4 * usual_chunk(backbone))))
    groups = backbone.preprocessing.groups(raw)
    common = statistics.mode(groups)
    chosen = [sample for sample, group in zip(raw, groups, strict=True) if group == common][: usual_chunk(backbone)]
    return backbone.preprocessing(chosen).to(backbone.device)
