"""From settings to the things that run: data, backbone, PAT, heads, streams."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backbones.base import Backbone
from backbones.catalog import LoadOptions, load_backbone
from backbones.core.artifacts import digest_json
from backbones.core.errors import FrostlineError
from backbones.core.launch import emulation, pick_device, pick_precision
from backbones.core.samples import Progress, silent
from backbones.encoder import Encoder
from backbones.pat.base import Pat
from backbones.pat.sites import UnfitError, fitting
from backbones.pat.stack import make_pat, pat_values
from benchmarks.catalog import BENCHMARKS
from benchmarks.streams import make_stream
from benchmarks.types import Dataset, Stream
from continual.heads import HEADS
from continual.heads.base import HeadSettings
from continual.settings import RunSettings, meant

REFERENCE = "ncm"
BACKBONE = "bundled:vit-micro"  # where neither the user nor the benchmark names one


@dataclass(frozen=True)
class Plan:
    """All that a run needs, made from its settings.

    Attributes:
        settings: resolved: the settings of PAT and head hold every constant.
        dataset: training and test samples.
        backbone: on its device, with nothing on it.
        pat, head: settings objects that grow and build.
        references: name -> settings of other heads that are fitted beside it.
    """

    settings: RunSettings
    dataset: Dataset
    backbone: Backbone
    pat: Pat
    head: HeadSettings
    references: dict[str, HeadSettings]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user must know of the backbone, of the data and of how they are computed."""
        return (*self.backbone.notes, *self.dataset.notes, *emulation(self.settings.precision, self.backbone.device))

    def stream(self, seed: int) -> Stream:
        """Return the stream of one seed."""
        wanted, usual = self.settings, BENCHMARKS.load(self.settings.benchmark)
        explicit = wanted.increments is not None
        return make_stream(
            self.dataset,
            init_classes=wanted.init_classes if explicit or wanted.init_classes is not None else usual.init_classes,
            increment=wanted.increment if explicit or wanted.increment is not None else usual.increment,
            increments=wanted.increments,
            order=wanted.order,
            seed=seed,
            shots=wanted.shots,
        )

    def fingerprints(self) -> dict[str, str]:
        """Return the digests of the data and of the frozen weights."""
        parts = [
            [part.labels.tolist(), part.digests().tobytes().hex()] for part in (self.dataset.train, self.dataset.test)
        ]
        data = digest_json([list(self.dataset.class_names), *parts])
        return {"data": data, "backbone": self.backbone.fingerprint()}


def resolve(settings: RunSettings) -> tuple[RunSettings, Pat, HeadSettings]:
    """Check the names and inner settings before anything is loaded.

    Returns:
        The settings with every constant of PAT and head, device, precision and number of threads filled in, the PAT,
        and the settings of the head.

    Raises:
        FrostlineError: an unknown benchmark, PAT, head or key (nearest names offered), a value out of range, a device
            that is not here.
    """
    benchmark = BENCHMARKS.load(settings.benchmark)
    pat = make_pat(settings.pat, meant(settings.pat_settings), settings.pat_layers)
    head = HEADS.load(settings.head).parse(meant(settings.head_settings), f"head {settings.head!r}")
    backbone = settings.backbone or getattr(benchmark, "backbone", BACKBONE)
    device = pick_device(settings.device)
    filled = {
        "backbone": backbone,
        "device": str(device),
        "precision": pick_precision(settings.precision, device),
        "threads": settings.threads or torch.get_num_threads(),
        "pat_settings": pat_values(pat),
        "head_settings": head.model_dump(mode="json"),
    }
    return settings.model_copy(update=filled), pat, head


def load_for(settings: RunSettings) -> Backbone:
    """Load the backbone of some settings onto its device."""
    weights = Path(settings.weights).expanduser() if settings.weights else None
    options = LoadOptions(weights, settings.image_size, settings.preprocessing, settings.pooling, settings.max_tokens)
    device = pick_device(settings.device)
    return load_backbone(settings.backbone or BACKBONE, options).to(device)


def prepare(settings: RunSettings, progress: Progress = silent) -> Plan:
    """Load what the settings name.

    Args:
        settings: of the run.
        progress: told of downloads and reading.

    Raises:
        FrostlineError: whatever is wrong with names, settings, data or weights.
    """
    resolved, pat, head = resolve(settings)
    backbone = load_for(resolved)
    _check_fit(pat, backbone)
    benchmark = BENCHMARKS.load(resolved.benchmark)
    dataset = benchmark.load(data_root=resolved.data_root, download=resolved.download, progress=progress)
    if dataset.train.modality != backbone.modality:
        raise FrostlineError(
            f"benchmark {resolved.benchmark!r} is of {dataset.train.modality}s, but backbone {resolved.backbone!r} "
            f"takes {backbone.modality}s; choose another backbone, such as "
            f"{'minilm' if dataset.train.modality == 'text' else 'bundled:vit-micro'}."
        )
    reference = HEADS.load(REFERENCE).parse({}, f"head {REFERENCE!r}")
    wanted = resolved.reference and reference != head
    plan = Plan(resolved, dataset, backbone, pat, head, {"NCM": reference} if wanted else {})
    plan.stream(resolved.seeds[0])  # refuses sizes and shots that do not fit the data before a run folder is made
    return plan


def _check_fit(pat: Pat, backbone: Backbone) -> None:
    """Refuse settings that do not fit this backbone before any data is read, and say which PATs do."""
    try:
        pat.parameter_count(backbone)
        pat.grow(backbone, 0).detach()  # whether the rules of a stack overlap shows when they are put on
    except UnfitError as error:
        raise FrostlineError(f"{error} PATs that fit this backbone: {', '.join(fitting(backbone))}.") from error


@dataclass(frozen=True)
class Estimate:
    """What a run would cost.

    Attributes:
        experiences: (classes, training samples, test samples) of each.
        parameters: trained in the PAT.
        forwards: passes of one sample through the backbone; a training step counts three.
        seconds: wall time of those passes at the measured speed, if nothing is stored yet.
        bytes: of the weights, one chunk of activations and the features.
        rate: measured samples per second.
        precision: that will be computed.
    """

    experiences: list[tuple[int, int, int]]
    parameters: int
    forwards: float
    seconds: float
    bytes: int
    rate: float
    precision: str


def estimate(plan: Plan) -> Estimate:
    """Measure the speed of the backbone on a few samples and count what a run of all seeds would do."""
    settings, backbone = plan.settings, plan.backbone
    encoder = Encoder(backbone, None, settings.precision, settings.chunk)
    count = min(encoder.chunk, len(plan.dataset.train))
    raw = [plan.dataset.train[i] for i in range(count)]
    encoder.features(raw)
    began = time.perf_counter()
    encoder.features(raw)
    rate = encoder.chunk / (time.perf_counter() - began)
    streams = [plan.stream(seed) for seed in settings.seeds]
    parameters = plan.pat.parameter_count(backbone)
    tuned = bool(parameters)
    passes = _passes(streams[0], tuned, settings.pat_schedule, settings.tuning.epochs)
    # Without a delta the seeds share every feature; with one, each seed trains its own.
    forwards = passes * (len(streams) if tuned else 1)
    features = sum(len(e.train) + len(e.test) for e in streams[0].experiences) * backbone.width * 4
    weights = sum(p.numel() * p.element_size() for p in backbone.module.parameters())
    alive = encoder.chunk * backbone.tokens * backbone.width * 4 * (12 * backbone.depth if tuned else 16)
    rows = [(len(e.classes), len(e.train), len(e.test)) for e in streams[0].experiences]
    return Estimate(rows, parameters, forwards, forwards / rate, weights + alive + features, rate, encoder.precision)


def _passes(stream: Stream, tuned: bool, schedule: str, epochs: int) -> float:
    train = [len(e.train) for e in stream.experiences]
    test = [len(e.test) for e in stream.experiences]
    if not tuned:
        return sum(train) + sum(test)
    if schedule == "first":
        return 3 * epochs * train[0] + sum(train) + sum(test)
    seen = sum(sum(test[: i + 1]) for i in range(len(test)))
    return 3 * epochs * sum(train) + 2 * sum(train) - train[0] + seen


def environment(settings: RunSettings) -> dict[str, Any]:
    """Return what a report says of the machine and the versions, and of how ``settings`` are computed there."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    packages = {}
    for name in ("frostline", "torch", "torchvision", "timm", "transformers", "numpy", "scikit-learn", "safetensors"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "cpu_threads": torch.get_num_threads(),
        "device": settings.device,
        "precision": settings.precision,
    }


def with_device(plan: Plan, device: str) -> Plan:
    """Return the plan with its backbone on another device."""
    return replace(plan, backbone=plan.backbone.to(device))


def sample_rows(count: int, most: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return at most ``most`` rows of ``count``, evenly spread: int64, ascending."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
