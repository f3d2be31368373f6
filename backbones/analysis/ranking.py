"""Which backbone and which layer for these data: every layer probed, and the probes ranked, before any training."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.analysis.layers import batches, layer_features, layer_names, listening
from backbones.analysis.mdl import STRENGTHS, Code, online_code
from backbones.analysis.probes import Probe, class_means_accuracy, fit_probe
from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled
from backbones.core.launch import autocast
from backbones.core.samples import Progress, silent
from backbones.encoder import by_group, usual_chunk
from backbones.training.loop import Say, mute

MIX = "mix"  # the learned mean over blocks
EVALUATIONS = 45  # of the objective of a probe, as measured on intents of MiniLM
CODED = 3.0  # an online code costs this many fits on all rows: several strengths are fitted to every portion
TRIAL = 2000  # rows at most on which the strength of a penalty is chosen where there is no code


@dataclass(frozen=True)
class Layer:
    """What one layer of one backbone knows of the classes.

    Args:
        model: name of the backbone.
        layer: see ``layer_names``; ``"mix"`` for the learned mean over all blocks.
        means: accuracy of nearest class means on the held-out rows, in [0, 1]; None for the mean over blocks.
        linear: accuracy of the linear probe there.
        code: of the labels of the other rows; None where it was not asked for.
        strength: penalty of the linear probe.
        seconds: of the probes of this layer.
        shares: of each block in the mean.
    """

    model: str
    layer: str
    means: float | None
    linear: float
    code: Code | None
    strength: float
    seconds: float
    shares: tuple[float, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        found: dict[str, Any] = {"model": self.model, "layer": self.layer, "ncm": self.means, "linear": self.linear}
        if self.code is not None:
            portions = " ".join(f"{p.known}:{p.rows}:{p.bits:.6g}:{p.classes}" for p in self.code.portions)
            found["mdl"] = {
                "kbit": self.code.kbit,
                "uniform kbit": self.code.uniform_bits / 1000,
                "compression": self.code.compression,
                "portions, as labels known:sent:bits:classes known": portions,
                "notes": list(self.code.notes),
            }
        found |= {"penalty": self.strength, "seconds": self.seconds}
        return found | ({"shares of the blocks": list(self.shares)} if self.shares else {})


@dataclass(frozen=True)
class Probed:
    """All layers of one backbone.

    Args:
        model: its name.
        parameters: frozen weights.
        depth, width: of the backbone.
        layers: the embeddings, the blocks, and the mean over blocks.
        seconds: of the passes through it.
        samples: how many went through.
        features: of the last layer: of the known rows, of the held-out rows.
        notes: remarks of the loader and of the preprocessing.
    """

    model: str
    parameters: int
    depth: int
    width: int
    layers: tuple[Layer, ...]
    seconds: float
    samples: int
    features: tuple[Tensor, Tensor] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def last(self) -> Layer:
        """The last layer, whose features a run takes."""
        return next(layer for layer in self.layers if layer.layer == str(self.depth - 1))

    @property
    def mix(self) -> Layer | None:
        """The mean over blocks; None for a backbone of one block."""
        return next((layer for layer in self.layers if layer.layer == MIX), None)

    @property
    def best(self) -> Layer:
        """The best single layer."""
        return ranked([layer for layer in self.layers if layer.layer != MIX])[0]


def check_modality(backbone: Backbone, data: Labelled) -> None:
    """Raise FrostlineError unless the backbone takes what the data are."""
    if backbone.modality != data.modality:
        instead = {"text": "minilm", "image": "bundled:vit-micro"}.get(data.modality, "another")
        raise FrostlineError(
            f"backbone {backbone.name!r} takes {backbone.modality}s, but the data are {data.modality}s; leave it out, "
            f"or pass a backbone for {data.modality}s, such as {instead}."
        )


def divide(data: Labelled, share: float = 0.2, seed: int = 0) -> tuple[Labelled, Labelled]:
    """Return (known, held-out) rows of training data in one random order; refuses data of one class."""
    present = np.unique(data.labels)
    if len(present) < 2:
        raise FrostlineError(
            f"all {len(data)} samples are of one class, {data.classes[int(present[0])]!r}: there is nothing to tell "
            "apart; pass data of two or more classes."
        )
    return data.split(share, seed)


def estimate(backbone: Backbone, known: Labelled, held: Labelled, *, mdl: bool = True) -> float:
    """Return about how many seconds ``probe_model`` will take, from one pass of usual length and one product."""
    size, some = usual_chunk(backbone), known.take(range(min(len(known), 512))).samples  # read when asked for
    groups = by_group(backbone.preprocessing.groups(some))
    typical = groups[len(groups) // 2][1][:1]
    with listening(backbone) as (pooled, _), torch.inference_mode(), autocast(backbone.device, "fp32"):
        _, batch = next(batches(backbone, [some[row] for row in typical], size, silent, ""))
        pooled(batch).cpu()
        began = time.perf_counter()
        pooled(batch).cpu()  # on an accelerator too, the result is waited for
        passes = (time.perf_counter() - began) * (len(known) + len(held)) / size
    rows, heads = torch.ones(min(len(known), 2000), backbone.width), torch.ones(backbone.width, len(known.classes))
    rows @ heads
    began = time.perf_counter()
    rows @ heads
    product = (time.perf_counter() - began) * len(known) / len(rows)
    fits = (backbone.depth + 2) * (1 + (CODED if mdl else len(STRENGTHS) * min(1.0, TRIAL / len(known))))
    return passes + 3 * EVALUATIONS * product * fits


def probe_model(
    backbone: Backbone,
    known: Labelled,
    held: Labelled,
    *,
    mdl: bool = True,
    seed: int = 0,
    progress: Progress = silent,
    say: Say = mute,
) -> Probed:
    """Probe every layer of a backbone: nearest class means, linear probe, online code; and a learned mean over blocks.

    Args:
        backbone: frozen; all its layers are read in one pass for each batch.
        known: rows to learn from.
        held: rows to judge by, of the same classes.
        mdl: whether to code the labels of ``known``.
        seed: of the order of the portions.
        progress: told of passes and of layers.
        say: told the estimate of the time.

    Raises:
        FrostlineError: a backbone of another modality.
    """
    check_modality(backbone, known)
    say(f"{backbone.name}: about {spelled(estimate(backbone, known, held, mdl=mdl))}")
    began = time.perf_counter()
    phase = f"features of {backbone.name}"
    first = layer_features(backbone, known.samples, progress=progress, phase=phase)
    second = layer_features(backbone, held.samples, progress=progress, phase=f"{phase}, held out")
    seconds = time.perf_counter() - began
    rows = probe_layers(backbone.name, first, second, known, held, mdl=mdl, seed=seed, progress=progress)
    return Probed(
        backbone.name,
        backbone.parameter_count,
        backbone.depth,
        backbone.width,
        rows,
        seconds,
        len(known) + len(held),
        (first[:, -1].clone(), second[:, -1].clone()),
        (*backbone.notes, *backbone.preprocessing.remarks()),
    )


class Targets(Protocol):
    """Rows with classes: ``Labelled`` data, or labelled spans."""

    @property
    def labels(self) -> NDArray[np.int64]: ...

    @property
    def classes(self) -> tuple[str, ...]: ...


def probe_layers(
    model: str,
    first: Tensor,
    second: Tensor,
    known: Targets,
    held: Targets,
    *,
    mdl: bool = True,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Layer, ...]:
    """Probe features of every layer, and a learned mean over the blocks.

    Args:
        model: what they come from.
        first: features to learn from: float32, shape (n, depth + 1, width).
        second: features to judge by, likewise.
        known: classes of the first.
        held: classes of the second.
        mdl: whether to code the labels of ``known``.
        seed: of the order of the portions.
        progress: told of layers.
    """
    depth, probing = first.shape[1] - 1, f"probes of {model}"
    places = [(name, [place]) for place, name in enumerate(layer_names(depth))]
    if depth > 1:
        places.append((MIX, list(range(1, depth + 1))))
    found = []
    for done, (name, place) in enumerate(places):
        progress(probing, done, len(places))
        found.append(_layer(model, name, first[:, place], second[:, place], known, held, mdl, seed))
    progress(probing, len(places), len(places))
    return tuple(found)


def _layer(
    model: str, name: str, first: Tensor, second: Tensor, known: Targets, held: Targets, mdl: bool, seed: int
) -> Layer:
    began, classes = time.perf_counter(), len(known.classes)
    code = online_code(first, known.labels, classes, seed=seed) if mdl else None
    strength = code.strength if code is not None else pick_strength(first, known.labels, classes, seed)
    assert strength is not None
    probe = fit_probe(first, known.labels, classes, l2=strength)
    means = None
    if name != MIX:
        means = class_means_accuracy(first[:, 0], known.labels, second[:, 0], held.labels, classes)
    shares = tuple(probe.shares.tolist()) if name == MIX else ()
    linear = probe.accuracy(second, held.labels)
    return Layer(model, name, means, linear, code, strength, time.perf_counter() - began, shares)


def pick_strength(features: Tensor, labels: NDArray[np.int64], classes: int, seed: int = 0) -> float:
    """Return the strength of the penalty whose probe, fitted on three quarters of the rows, codes the rest best.

    Args:
        features: float32, shape (n, layers, width); at most ``TRIAL`` rows are used.
        labels: int64, shape (n,).
        classes: outputs of the probe.
        seed: of the choice of rows.
    """
    order = np.random.default_rng(seed).permutation(len(labels))[:TRIAL]
    cut = max(1, 3 * len(order) // 4)
    fit, judge = order[:cut], order[cut:]
    if not len(judge):
        return 1.0
    places = torch.from_numpy(labels[judge])[:, None]

    def cost(strength: float) -> float:
        probe: Probe = fit_probe(features[fit], labels[fit], classes, l2=strength)
        return -float(probe.log_probabilities(features[judge]).gather(1, places).sum())

    return min(STRENGTHS, key=cost)


def ranked(layers: Sequence[Layer]) -> list[Layer]:
    """Return layers best first: by compression where all have codes, else by the linear probe; then by class means.

    A code is made from all known rows, and from few as well as from many: it tells layers apart whose accuracies on
    the held-out rows do not differ by more than chance.
    """
    coded = all(layer.code is not None for layer in layers)

    def quality(layer: Layer) -> tuple[float, float, float]:
        compression = layer.code.compression if coded and layer.code is not None else 0.0
        return compression, layer.linear, layer.means or 0.0

    return sorted(layers, key=quality, reverse=True)


def standard_error(share: float, count: int) -> float:
    """Return the standard error of a share of ``count`` rows; of 0 and 1 too it is above 0 (Agresti and Coull)."""
    inner = (share * count + 2) / (count + 4)
    return math.sqrt(inner * (1 - inner) / (count + 4))


def spelled(seconds: float) -> str:
    """Return a time in words: 40 s, 3 min, 1.5 h."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
