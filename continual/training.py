"""Training a delta on one experience, with a temporary cosine classifier that is thrown away after."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from backbones.core.errors import FrostlineError
from backbones.core.launch import autocast, fitting
from backbones.core.samples import Progress, Samples, silent
from backbones.core.seed import derive, lent_generator, torch_generator
from backbones.encoder import Encoder
from continual.settings import Tuning

Fetch = Callable[[Sequence[int]], Tensor]
Forward = Callable[[Tensor], Tensor]


class Saver(Protocol):
    """Keeps the state of an unfinished training, so that a killed run loses one epoch at most."""

    def save(self, epoch: int, state: dict[str, Tensor]) -> None: ...

    def load(self) -> tuple[int, dict[str, Tensor]] | None: ...


@dataclass
class Tuned:
    """What training found: mean loss of every epoch, samples sent forward; both over all attempts."""

    losses: list[float]
    forwards: float


class _Trainer:
    """State of one training: delta, temporary classifier, optimizer, position."""

    def __init__(self, encoder: Encoder, targets: Tensor, tuning: Tuning, seed: int, notes: list[str]) -> None:
        assert encoder.delta is not None
        self.delta, self.encoder, self.targets, self.tuning, self.seed = encoder.delta, encoder, targets, tuning, seed
        classes, width = int(targets.max()) + 1, encoder.backbone.width
        start = torch.randn(classes, width, generator=torch_generator(seed, "classifier")) / math.sqrt(width)
        self.classifier = nn.Parameter(start.to(encoder.backbone.device))
        self.optimizer = torch.optim.AdamW(
            [
                {"params": list(self.delta.parameters()), "lr": tuning.lr, "weight_decay": tuning.weight_decay},
                {"params": [self.classifier], "lr": tuning.head_lr, "weight_decay": 0.0},
            ],
            fused=True,  # one pass over the weights in place of ten: counts where a PAT trains millions of them
        )
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.micro = min(tuning.batch, len(targets))
        self.steps_per_epoch = math.ceil(len(targets) / tuning.batch)
        self.notes = notes

    def state(self) -> dict[str, Tensor]:
        found = {f"delta.{name}": value for name, value in self.delta.state_dict().items()}
        found["classifier"] = self.classifier.detach()
        for number, entry in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{number}.{name}": torch.as_tensor(value) for name, value in entry.items()}
        return {name: value.clone() for name, value in found.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        delta = {k.removeprefix("delta."): v for k, v in state.items() if k.startswith("delta.")}
        self.delta.load_state_dict(delta)
        with torch.no_grad():
            self.classifier.copy_(state["classifier"])
        entries: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            if key.startswith("optimizer."):
                _, number, name = key.split(".", 2)
                entries.setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict({"state": entries, "param_groups": self.optimizer.state_dict()["param_groups"]})

    def rate(self, step: int) -> float:
        """Share of the peak rate: linear warm-up, then a cosine to zero."""
        total = self.steps_per_epoch * self.tuning.epochs
        rise = max(1, round(total * self.tuning.warmup))
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))

    def step(self, number: int, batch: Tensor, forward: Forward, targets: Tensor) -> float:
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * self.rate(number)
        work = partial(self._gradients, batch, forward, targets)
        while (loss := fitting(work, smallest=self.micro == 1)) is None:
            self.micro //= 2
            self.notes.append(f"out of memory: tuning goes on with {self.micro} samples at a time")
        if not math.isfinite(loss):
            raise FrostlineError(
                f"the loss of the PAT became {loss} in epoch {number // self.steps_per_epoch + 1}, step {number + 1}; "
                f"try a smaller rate than tuning.lr={self.tuning.lr:g}, or --precision fp32. "
                "The last checkpoint is kept: --resume continues from it."
            )
        nn.utils.clip_grad_norm_(self.delta.parameters(), self.tuning.clip)
        self.optimizer.step()
        return loss

    def _gradients(self, batch: Tensor, forward: Forward, targets: Tensor) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        device, total = self.encoder.backbone.device, 0.0
        for start in range(0, len(batch), self.micro):
            part, wanted = batch[start : start + self.micro].to(device), targets[start : start + self.micro].to(device)
            with autocast(device, self.encoder.precision):
                features = forward(part)
            logits = self.tuning.scale * normalize(features.float(), dim=1) @ normalize(self.classifier, dim=1).T
            loss = cross_entropy(logits, wanted, reduction="sum") / len(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        return total


def tune(
    encoder: Encoder,
    fetch: Fetch,
    forward: Forward,
    labels: Tensor,
    tuning: Tuning,
    seed: int,
    *,
    experience: int = 0,
    saver: Saver | None = None,
    progress: Progress = silent,
    phase: str = "tuning",
    notes: list[str] | None = None,
) -> Tuned:
    """Train the encoder's delta on one experience; the frozen weights stay what they are.

    Args:
        encoder: backbone, delta and precision.
        fetch: indices into the experience -> what ``forward`` takes, on the CPU.
        forward: batch -> features, float of shape (batch, width), with gradients.
        labels: int64, shape (n,).
        tuning: epochs, rates, batch size.
        seed: of the order, the classifier, the flips and the dropout.
        experience: index of the experience; a delta may train in several stages, see ``Delta.stages``.
        saver: keeps the state after each epoch and gives it back.
        progress: told of every optimizer step.
        phase: what to call the work.
        notes: where remarks are added, such as a halved batch.

    Raises:
        FrostlineError: the loss became NaN or infinite; epoch and step are named.
    """
    assert encoder.delta is not None
    delta, epochs = encoder.delta, tuning.epochs
    _, targets = torch.unique(labels, return_inverse=True)
    stages = delta.stages(experience)
    kept = saver.load() if saver is not None else None
    first = kept[0] if kept is not None else 0
    losses: list[float] = kept[1].pop("losses").tolist() if kept is not None else []
    total = math.ceil(len(targets) / tuning.batch) * epochs * stages
    below = float(kept[1].pop("forwards", torch.zeros(()))) if kept is not None else 0.0
    before = encoder.forwards
    encoder.forwards += below  # what the blocks below ran for the epochs of killed attempts
    noted = [] if notes is None else notes

    def keep(trainer: _Trainer, epoch: int) -> None:
        if saver is not None:
            spent = torch.tensor(encoder.forwards - before, dtype=torch.float64)
            saver.save(
                epoch, {**trainer.state(), "losses": torch.tensor(losses, dtype=torch.float64), "forwards": spent}
            )

    # What was kept after the last epoch of a stage belongs to that stage: the next one begins from it.
    resumed = max(0, first - 1) // epochs
    delta.train()
    try:
        for stage in range(resumed, stages):
            delta.enter(experience, stage)
            trainer = _Trainer(encoder, targets, tuning, derive(seed, "stage", stage) if stage else seed, noted)
            if kept is not None and stage == resumed:
                trainer.load(kept[1])
            told = partial(_tell, progress, phase, stage * trainer.steps_per_epoch * epochs, total)
            _stage(trainer, stage, first, fetch, forward, losses, keep, told)
    finally:
        delta.eval()
        delta.zero_grad(set_to_none=True)
    return Tuned(losses, float(len(labels) * stages * epochs))


def _stage(
    trainer: _Trainer,
    stage: int,
    first: int,
    fetch: Fetch,
    forward: Forward,
    losses: list[float],
    keep: Callable[[_Trainer, int], None],
    told: Callable[[int], None],
) -> None:
    """Train the epochs of a stage that come after ``first``, which counts through all stages; appends to ``losses``."""
    epochs = trainer.tuning.epochs
    begin = max(0, first - stage * epochs)
    told(begin * trainer.steps_per_epoch)
    for epoch in range(begin, epochs):
        losses.append(_epoch(trainer, epoch, fetch, forward, told))
        keep(trainer, stage * epochs + epoch + 1)


def _tell(progress: Progress, phase: str, start: int, total: int, done: int) -> None:
    progress(phase, start + done, total)


def _epoch(trainer: _Trainer, epoch: int, fetch: Fetch, forward: Forward, told: Callable[[int], None]) -> float:
    tuning, count = trainer.tuning, len(trainer.targets)
    generator = torch_generator(trainer.seed, "epoch", epoch)
    order = torch.randperm(count, generator=generator)
    total = 0.0
    with lent_generator(derive(trainer.seed, "dropout", epoch), trainer.encoder.backbone.device):
        for number, start in enumerate(range(0, count, tuning.batch)):
            rows = order[start : start + tuning.batch]
            batch = fetch(rows.tolist())
            if tuning.flip:
                mirrored = torch.rand(len(rows), generator=generator) < 0.5
                batch = torch.where(mirrored.view(-1, *[1] * (batch.ndim - 1)), batch.flip(-1), batch)
            step = epoch * trainer.steps_per_epoch + number
            total += trainer.step(step, batch, forward, trainer.targets[rows]) * len(rows)
            told(step + 1)
    return total / count


def batches_of(encoder: Encoder, samples: Samples) -> Fetch:
    """Return the fetch that preprocesses raw inputs."""
    return lambda rows: encoder.backbone.preprocessing([samples[i] for i in rows])
