"""The engine: a stream flows through a frozen backbone, a delta and a head, one step per experience."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.base import Backbone
from backbones.core.samples import Progress, silent
from backbones.core.seed import derive
from backbones.delta import Delta
from backbones.encoder import Encoder, entering
from backbones.features import FeatureStore
from backbones.pat.base import Pat
from backbones.stored import Activations, Kept
from benchmarks.types import Experience, Stream
from continual.drift import compensation
from continual.heads.base import Head
from continual.settings import Tuning
from continual.training import Fetch, Forward, Saver, Tuned, batches_of, tune

Ints = NDArray[np.int64]
HEAD = "head"


@dataclass
class Step:
    """What one experience led to.

    Attributes:
        index: index of the experience, from 0.
        classes: what it introduced.
        predictions: name of a head -> int64, shape (test samples of the whole stream, in its order); -1 for samples of
            experiences to come. The head of the run is called ``"head"``, the others are references.
        train_samples: training samples of the experience.
        seconds: phase -> wall seconds.
        forwards: samples sent through the whole backbone; a pass through half of the blocks counts a half.
        losses: mean loss of the delta in every epoch, empty if it was not trained.
        notes: what a reader must know, such as a halved batch.
    """

    index: int
    classes: tuple[int, ...]
    predictions: dict[str, Ints]
    train_samples: int
    seconds: dict[str, float] = field(default_factory=dict)
    forwards: float = 0.0
    losses: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Keeper(Protocol):
    """Keeps what a run needs to go on after being killed."""

    def saver(self, index: int) -> Saver | None:
        """Return what keeps the training of the delta on experience ``index``."""
        ...

    def keep(self, engine: Engine, step: Step) -> None:
        """Keep the state after ``step``."""
        ...


class Engine:
    """Learns a stream.

    Args:
        backbone: frozen, with no delta on it.
        pat: what grows the delta.
        head: the classifier.
        references: name -> other heads, fitted on the same features for comparison.
        store: of features.
        tuning: how the delta is trained.
        schedule: ``"first"``: the delta learns on the first experience only; ``"every"``: on each, and stored
            prototypes are carried over by semantic-drift compensation (Yu et al., CVPR 2020).
        activations: whether what enters the lowest touched block is kept on disk.
        sigma: width of the window of the compensation in feature space, None to find one (``continual.drift.sdc``).
        seed: of everything random.
        precision: see ``Encoder``.
        chunk: see ``Encoder``.
        keeper: keeps checkpoints, None for none.
        progress: told of every long phase.
    """

    def __init__(
        self,
        backbone: Backbone,
        pat: Pat,
        head: Head,
        *,
        references: Mapping[str, Head] | None = None,
        store: FeatureStore | None = None,
        tuning: Tuning | None = None,
        schedule: str = "first",
        activations: bool = False,
        sigma: float | None = None,
        seed: int = 1993,
        precision: str = "auto",
        chunk: int | None = None,
        keeper: Keeper | None = None,
        progress: Progress = silent,
    ) -> None:
        self.backbone = backbone
        self.delta: Delta = pat.grow(backbone, derive(seed, "pat"))
        self.heads: dict[str, Head] = {HEAD: head, **(references or {})}
        self.store = store or FeatureStore(None)
        self.tuning = tuning or Tuning()
        self.schedule = schedule
        self.activations = activations
        self.sigma = sigma
        self.seed = seed
        self.encoder = Encoder(backbone, self.delta, precision, chunk)
        self.progress = progress
        self.predictions: list[dict[str, Ints]] = []
        self.done = 0
        self._keeper = keeper
        self._test_features: dict[int, Tensor] = {}
        self._seconds: dict[str, float] = {}

    @property
    def head(self) -> Head:
        """The classifier of the run."""
        return self.heads[HEAD]

    def run(self, stream: Stream) -> Iterator[Step]:
        """Learn the experiences that are not learned yet and yield a step after each.

        Raises:
            FrostlineError: what the data, the training or a head refuses.
        """
        for experience in stream.experiences[self.done :]:
            yield self._learn(stream, experience)

    def close(self) -> None:
        """Take the delta off the backbone."""
        self.delta.detach()

    def _learn(self, stream: Stream, experience: Experience) -> Step:
        began, forwards = len(self.encoder.notes), self.encoder.forwards
        noted = len(self.store.notes)
        self._seconds = {}
        extra = 0.0
        losses: list[float] = []
        notes: list[str] = []
        if self.delta.parameter_count and (experience.index == 0 or self.schedule == "every"):
            tuned, old = self._tune(stream, experience)
            extra, losses, notes = tuned
            self._test_features.clear()
        else:
            old = None
        labels = torch.from_numpy(experience.train.labels)
        features = self._encode(experience.train, "features of experience", experience.index)
        if old is not None and experience.index:
            self._carry(old, features)
        with self._timed("head"):
            for name, head in self.heads.items():
                head.partial_fit(features, labels, progress=self._told(f"{name}", experience.index))
        predictions = self._predict(stream, experience.index)
        self.predictions.append(predictions)
        self.done = experience.index + 1
        step = Step(
            experience.index,
            experience.classes,
            predictions,
            len(experience.train),
            dict(self._seconds),
            self.encoder.forwards - forwards + extra,
            losses,
            notes + self.encoder.notes[began:] + self.store.notes[noted:] + self.backbone.preprocessing.remarks(),
        )
        if self._keeper is not None:
            self._keeper.keep(self, step)
        return step

    def _tune(
        self, stream: Stream, experience: Experience
    ) -> tuple[tuple[float, list[float], list[str]], Tensor | None]:
        # Old and new features of the same images, in the same order, without augmentation: what SDC compares.
        # Read before the training changes the delta; a resumed training changes it back first.
        saver = self._keeper.saver(experience.index) if self._keeper is not None else None
        old = self._encode(experience.train, "old features", experience.index) if experience.index else None
        labels = torch.from_numpy(experience.train.labels)
        layer = self.delta.first_layer
        train = partial(self._train, labels, experience.index, saver, self._told("tuning", experience.index))
        inside = 0 < layer < self.backbone.depth
        passes = self.tuning.epochs * self.delta.stages(experience.index)
        if self.activations and inside:
            self._activate(stream, layer)
            tuned = self._above(layer, train, self.store.activations(self.encoder, experience.train, layer))
        elif inside and passes > 1 and not self.tuning.flip:
            kept = Kept(self.encoder, experience.train, layer)
            with self._timed("activations"):
                kept.fill(progress=self.progress, phase=f"activations of experience {experience.index + 1}")
            tuned = self._above(layer, train, kept)
        else:
            with self._timed("tuning"):
                tuned = train(batches_of(self.encoder, experience.train), self.backbone.features)
        return (tuned.forwards, tuned.losses, tuned.notes), old

    def _above(self, layer: int, train: Callable[[Fetch, Forward], Tuned], rows: Activations | Kept) -> Tuned:
        """Train on what enters the lowest touched block: nothing below runs again."""
        with self._timed("tuning"), entering(self.backbone, layer) as enter:
            tuned = train(rows.__getitem__, enter)
        tuned.forwards *= 1 - layer / self.backbone.depth
        return tuned

    def _train(
        self, labels: Tensor, index: int, saver: Saver | None, told: Progress, fetch: Fetch, forward: Forward
    ) -> Tuned:
        seed = derive(self.seed, "tune", index)
        return tune(
            self.encoder, fetch, forward, labels, self.tuning, seed, experience=index, saver=saver, progress=told
        )

    def _activate(self, stream: Stream, layer: int) -> None:
        with self._timed("activations"):
            for experience in stream.experiences:
                for part, samples in (("train", experience.train), ("test", experience.test)):
                    phase = f"activations of experience {experience.index + 1} ({part})"
                    self.store.activations(self.encoder, samples, layer, progress=self.progress, phase=phase)

    def _carry(self, old: Tensor, new: Tensor) -> None:
        for head in self.heads.values():
            head.translate(compensation(old, new, self.sigma))

    def _encode(self, samples: object, what: str, index: int) -> Tensor:
        with self._timed("features"):
            return self.store.features(
                self.encoder,
                samples,  # type: ignore[arg-type]
                progress=self.progress,
                phase=f"{what} {index + 1}",
            )

    def _predict(self, stream: Stream, last: int) -> dict[str, Ints]:
        for experience in stream.experiences[: last + 1]:
            if experience.index not in self._test_features:
                features = self._encode(experience.test, "test features", experience.index)
                self._test_features[experience.index] = features
        seen = torch.cat([self._test_features[i] for i in range(last + 1)])
        total = sum(len(experience.test) for experience in stream.experiences)
        found: dict[str, Ints] = {}
        with self._timed("predict"):
            for name, head in self.heads.items():
                row = np.full(total, -1, dtype=np.int64)
                row[: len(seen)] = head.predict(seen).numpy()
                found[name] = row
        return found

    def _told(self, phase: str, index: int) -> Progress:
        return lambda inner, done, total: self.progress(f"{phase} {index + 1}", done, total)

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[phase] = self._seconds.get(phase, 0.0) + time.perf_counter() - began


def test_labels(stream: Stream) -> Ints:
    """Return the classes of all test samples of a stream in its order: int64, shape (n,)."""
    parts: Sequence[Ints] = [experience.test.labels for experience in stream.experiences]
    return np.concatenate(parts)
