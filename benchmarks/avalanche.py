"""Streams as Avalanche benchmarks, for its strategies, plugins and metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from benchmarks.types import Stream, Subset

__all__ = ["TextBatch", "to_avalanche", "to_tensor"]


def to_tensor(raw: Any) -> Any:
    """Turn an image, uint8 of shape (h, w, 3), into float32 of shape (3, h, w) in 0..1; leave anything else alone."""
    if isinstance(raw, np.ndarray):
        return torch.from_numpy(raw.transpose(2, 0, 1).astype(np.float32)).div_(255)
    return raw


class TextBatch(list[str]):
    """A batch of texts that lets itself be sent to a device, as Avalanche's strategies do with every part of a batch.

    Texts stay where they are: what makes tensors of them knows the device of its weights.
    """

    def to(self, *_: object, **__: object) -> TextBatch:
        """Return the batch itself."""
        return self


def _collate(rows: list[Any]) -> list[Any]:
    """Collate as torch does, but make texts a batch that can be sent to a device."""
    parts: list[Any] = default_collate(rows)
    return [TextBatch(part) if isinstance(part, tuple | list) and isinstance(part[0], str) else part for part in parts]


class _Pairs(torch.utils.data.Dataset[tuple[Any, int]]):
    """What Avalanche asks of a data set: inputs with targets, and all targets at hand."""

    def __init__(self, samples: Subset, transform: Callable[[Any], Any]) -> None:
        self.samples = samples
        self.transform = transform
        self.targets: list[int] = samples.labels.tolist()

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(self.samples[index]), self.targets[index]


def to_avalanche(stream: Stream, transform: Callable[[Any], Tensor | Any] = to_tensor) -> Any:
    """Give a stream to Avalanche: the same experiences, the same samples in the same order, and its class timeline.

    Args:
        stream: any stream.
        transform: maps a raw input to what the model takes; by default images become float32 tensors in 0..1, and
            texts stay strings, which come in batches of the type ``TextBatch``.

    Returns:
        An Avalanche ``CLScenario`` (Carta et al., Avalanche, JMLR 2023) with ``train_stream`` and ``test_stream``. All
        task labels are 0, as class-incremental learning has it, and targets are indices into ``stream.class_names``.
    """
    from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline
    from avalanche.benchmarks.scenarios.task_aware import with_task_labels
    from avalanche.benchmarks.utils import ConstantSequence, DataAttribute, TaskAwareSupervisedClassificationDataset

    def part(samples: Subset) -> Any:
        pairs = _Pairs(samples, transform)
        tasks = DataAttribute(ConstantSequence(0, len(pairs)), "targets_task_labels", use_in_getitem=True)
        targets = DataAttribute(pairs.targets, "targets")
        return TaskAwareSupervisedClassificationDataset([pairs], data_attributes=[targets, tasks], collate_fn=_collate)

    scenario = benchmark_from_datasets(
        train=[part(experience.train) for experience in stream.experiences],
        test=[part(experience.test) for experience in stream.experiences],
    )
    return with_task_labels(with_classes_timeline(scenario))
