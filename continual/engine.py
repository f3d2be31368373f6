"""The engine: a stream flows through a frozen backbone, a delta and a head, one step per experience."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from backbones.stored import Activations, Kept, Rows
from benchmarks.types import Experience, Stream, Subset
from continual.drift import compensation
from continual.heads.base import Head
from continual.settings import Tuning
from continual.spent import Spent, ignore, peak_memory
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
        peak: resident memory in bytes, the most that a process had by the end of this step.
    """

    index: int
    classes: tuple[int, ...]
    predictions: dict[str, Ints]
    train_samples: int
    seconds: dict[str, float] = field(default_factory=dict)
    forwards: float = 0.0
    losses: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    peak: int = 0


class Keeper(Protocol):
    """Keeps what a run needs to go on after being killed."""

    def saver(self, index: int) -> Saver | None:
        """Return what keeps the training of the delta on experience ``index``."""
        ...

    def spent(self, index: int) -> Spent:
        """Return what earlier attempts at experience ``index`` have cost."""
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
        self.predictions: list[dict[str, Ints]] = []
        self.done = 0
        self._keeper = keeper
        self._progress = progress
        self._test_features: dict[int, Tensor] = {}
        self._spent = Spent()

    @property
    def head(self) -> Head:
        """The classifier of the run."""
        return self.heads[HEAD]

    def run(self, stream: Stream) -> Iterator[Step]:
        """Learn the experiences that are not learned yet and yield a step after each.

        Raises:
            FrostlineError: what the data, the training or a head refuses.
        """
        for experience in stream.experiences[: self.done]:
            self._meet(experience)
        for experience in stream.experiences[self.done :]:
            self._spent = self._keeper.spent(experience.index) if self._keeper is not None else Spent()
            try:
                step = self._learn(stream, experience)
            except BaseException:
                self._spent.save()
                raise
            yield step

    def progress(self, phase: str, done: int, total: int) -> None:
        """Pass progress on; see ``backbones.core.samples.Progress``."""
        self._spent.tick()
        self._progress(phase, done, total)

    def close(self) -> None:
        """Take the delta off the backbone."""
        self.delta.detach()

    def _learn(self, stream: Stream, experience: Experience) -> Step:
        spent, forwards = self._spent, 0.0
        losses: list[float] = []
        notes: list[str] = []
        spent.current = self._since(notes)
        self._meet(experience)
        old = None
        tuned = bool(self.delta.parameter_count) and (experience.index == 0 or self.schedule == "every")
        if tuned:
            (forwards, losses), old = self._tune(stream, experience, notes)
            self._test_features.clear()
        labels = torch.from_numpy(experience.train.labels)
        features = self._encode(experience.train, "features of experience", experience.index)
        if old is not None:
            self._carry(old, features)
        with spent.timed("head"):
            for name, head in self.heads.items():
                head.partial_fit(features, labels, progress=self._told(f"{name}", experience.index))
        predictions = self._predict(stream, experience.index, anew=tuned)
        self.predictions.append(predictions)
        self.done = experience.index + 1
        step = Step(
            experience.index,
            experience.classes,
            predictions,
            len(experience.train),
            dict(spent.seconds),
            forwards + sum(spent.forwards.values()),
            losses,
            spent.said() + self.backbone.preprocessing.remarks(),
            peak_memory(),
        )
        if self._keeper is not None:
            self._keeper.keep(self, step)
        return step

    def _since(self, notes: list[str]) -> Callable[[], list[str]]:
        """Return what says all that encoder and store note from now on, behind ``notes``."""
        encoded, stored = len(self.encoder.notes), len(self.store.notes)
        return lambda: notes + self.encoder.notes[encoded:] + self.store.notes[stored:]

    def _meet(self, experience: Experience) -> None:
        """Let the preprocessing see all samples: what it remarks must not hang on which of them are stored already."""
        for samples in (experience.train, experience.test):
            self.backbone.preprocessing.groups(Rows(samples, range(len(samples))))

    def _tune(
        self, stream: Stream, experience: Experience, notes: list[str]
    ) -> tuple[tuple[float, list[float]], Tensor | None]:
        # Old and new features of the same images, in the same order, without augmentation: what SDC compares.
        # Read before the training changes the delta; a resumed training changes it back first.
        saver = self._keeper.saver(experience.index) if self._keeper is not None else None
        old = self._encode(experience.train, "old features", experience.index) if experience.index else None
        labels = torch.from_numpy(experience.train.labels)
        layer = self.delta.first_layer
        train = partial(self._train, labels, experience.index, saver, notes)
        inside = 0 < layer < self.backbone.depth
        passes = self.tuning.epochs * self.delta.stages(experience.index)
        before = self.encoder.forwards
        if self.activations and inside:
            self._activate(stream, layer)
            before = self.encoder.forwards
            tuned = self._above(layer, train, self.store.activations(self.encoder, experience.train, layer))
        elif inside and passes > 1 and not self.tuning.flip:
            kept = Kept(self.encoder, experience.train, layer)
            with self._spent.timed("activations"):
                kept.fill(progress=self.progress, phase=f"activations of experience {experience.index + 1}")
            tuned = self._above(layer, train, kept)
        else:
            with self._spent.timed("tuning"):
                tuned = train(batches_of(self.encoder, experience.train), self.backbone.features)
        return (self.encoder.forwards - before + tuned.forwards, tuned.losses), old

    def _above(self, layer: int, train: Callable[[Fetch, Forward], Tuned], rows: Activations | Kept) -> Tuned:
        """Train on what enters the lowest touched block: nothing below runs again."""
        with self._spent.timed("tuning"), entering(self.backbone, layer) as enter:
            tuned = train(rows.__getitem__, enter)
        tuned.forwards *= 1 - layer / self.backbone.depth
        return tuned

    def _train(
        self, labels: Tensor, index: int, saver: Saver | None, notes: list[str], fetch: Fetch, forward: Forward
    ) -> Tuned:
        return tune(
            self.encoder,
            fetch,
            forward,
            labels,
            self.tuning,
            derive(self.seed, "tune", index),
            experience=index,
            saver=saver,
            progress=self._told("tuning", index),
            notes=notes,
        )

    def _activate(self, stream: Stream, layer: int) -> None:
        with self._spent.timed("activations"):
            for experience in stream.experiences:
                for part, samples in (("train", experience.train), ("test", experience.test)):
                    phase = f"activations of experience {experience.index + 1} ({part})"
                    planned = self._spent.planned(phase)
                    self.store.activations(
                        self.encoder, samples, layer, progress=self.progress, phase=phase, planned=planned
                    )

    def _carry(self, old: Tensor, new: Tensor) -> None:
        for head in self.heads.values():
            head.translate(compensation(old, new, self.sigma))

    def _encode(self, samples: Subset, what: str, index: int, *, counted: bool = True) -> Tensor:
        phase = f"{what} {index + 1}"
        planned = self._spent.planned(phase) if counted else ignore
        with self._spent.timed("features"):
            return self.store.features(self.encoder, samples, progress=self.progress, phase=phase, planned=planned)

    def _predict(self, stream: Stream, last: int, *, anew: bool) -> dict[str, Ints]:
        for experience in stream.experiences[: last + 1]:
            index = experience.index
            if index not in self._test_features:
                # Unless the delta changed, older ones were paid for in their own step, be it by a killed process.
                counted = anew or index == last
                features = self._encode(experience.test, "test features", index, counted=counted)
                self._test_features[index] = features
        seen = torch.cat([self._test_features[i] for i in range(last + 1)])
        total = sum(len(experience.test) for experience in stream.experiences)
        found: dict[str, Ints] = {}
        with self._spent.timed("predict"):
            for name, head in self.heads.items():
                row = np.full(total, -1, dtype=np.int64)
                row[: len(seen)] = head.predict(seen).numpy()
                found[name] = row
        return found

    def _told(self, phase: str, index: int) -> Progress:
        return lambda inner, done, total: self.progress(f"{phase} {index + 1}", done, total)


def test_labels(stream: Stream) -> Ints:
    """Return the classes of all test samples of a stream in its order: int64, shape (n,)."""
    parts: Sequence[Ints] = [experience.test.labels for experience in stream.experiences]
    return np.concatenate(parts)
