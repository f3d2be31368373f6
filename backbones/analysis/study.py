"""A study of several backbones: what was asked for is checked before any work, then each backbone is probed in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backbones.analysis.advice import Advice, advise
from backbones.analysis.cloze import Cloze, ClozeScore, ask
from backbones.analysis.curves import Point, frozen_curve, tuned_curve
from backbones.analysis.pair_files import PairsByName
from backbones.analysis.pairs import Pairs, minimal_pairs, pseudo_log_likelihood
from backbones.analysis.ranking import (
    MIX,
    Layer,
    Probed,
    check_modality,
    estimate,
    probe_layers,
    probe_model,
    ranked,
    spelled,
)
from backbones.analysis.spans import Edges, span_features
from backbones.analysis.volumes import Curve, learning_curves
from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled
from backbones.core.samples import Progress, silent
from backbones.lm import LanguageModel, load_language_model
from backbones.training.loop import Recipe, Say, mute

TIMED = 24  # sentences whose likelihoods are timed for the estimate
PARTS = {
    "layers": "nearest class means and a linear probe on every layer, and on a learned mean over the blocks",
    "mdl": "the online code of the labels, on the same layers",
    "spans": "classes of spans and of pairs of spans (edge probing), from a file",
    "pairs": "minimal pairs by (pseudo-)log-likelihood, from a file",
    "cloze": "the missing word, from a file",
    "curve": "accuracy against the number of training examples",
}


@dataclass(frozen=True)
class Subject:
    """A backbone to be probed.

    Args:
        name: what it is called, and where its language model is loaded from.
        make: loads the backbone.
        volume: what it has seen in pre-training, None where that is not known.
    """

    name: str
    make: Callable[[], Backbone]
    volume: float | None = None


@dataclass(frozen=True)
class Wanted:
    """What is asked of every backbone.

    Args:
        known, held: labelled rows to learn from and to judge by; None without labelled data.
        mdl: whether labels are coded.
        layers: whether layers are probed at all.
        curve: whether accuracy is measured against the number of examples, on frozen features.
        recipe: of full fine-tuning for such curves; None to leave it.
        edges, pairs, cloze: the other data.
        unit: of volumes.
        device: of the language models that ``pairs`` and ``cloze`` need.
        seed: of everything that is drawn.
    """

    known: Labelled | None = None
    held: Labelled | None = None
    layers: bool = True
    mdl: bool = True
    curve: bool = False
    recipe: Recipe | None = None
    edges: Edges | None = None
    pairs: PairsByName | None = None
    cloze: Sequence[Cloze] | None = None
    unit: str = "words"
    device: str = "auto"
    seed: int = 0


@dataclass
class Finding:
    """What was found out about one backbone; None or empty for what was not asked."""

    name: str
    volume: float | None
    probed: Probed | None = None
    edges: tuple[Layer, ...] = ()
    pairs: Pairs | None = None
    cloze: ClozeScore | None = None
    frozen: list[Point] = field(default_factory=list)
    tuned: list[Point] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Return the figures that make learning curves, by name."""
        found: dict[str, float] = {}
        if self.probed is not None:
            last = self.probed.last
            found["linear probe of the last layer, %"] = 100 * last.linear
            found["linear probe of the best layer, %"] = 100 * self.probed.best.linear
            if last.code is not None:
                found["code length of the last layer, kbit"] = last.code.kbit
                found["code length of the best layer, kbit"] = min(
                    layer.code.kbit for layer in self.probed.layers if layer.code is not None and layer.layer != MIX
                )
        if self.edges:
            found["linear probe of spans, best layer, %"] = 100 * ranked(self.edges)[0].linear
        if self.pairs is not None:
            found["minimal pairs, %"] = 100 * self.pairs.overall
        if self.cloze is not None:
            found["cloze P@1, %"] = 100 * self.cloze.precision(1)
            found["cloze MRR"] = self.cloze.mrr
        if self.tuned:
            found["fine-tuned on all samples, %"] = 100 * self.tuned[-1].accuracy
        return found


@dataclass(frozen=True)
class Study:
    """All findings.

    Args:
        findings: of each backbone, in the order given.
        advice: which to use; None where no layers were probed.
        curves: figures over volumes; empty where volumes are not known, or of one backbone.
        wanted: what was asked.
    """

    findings: tuple[Finding, ...]
    advice: Advice | None
    curves: tuple[Curve, ...]
    wanted: Wanted


def run_study(subjects: Sequence[Subject], wanted: Wanted, *, progress: Progress = silent, say: Say = mute) -> Study:
    """Probe backbones one after the other.

    Args:
        subjects: one or more; all are loaded, checked and timed before the first is probed.
        wanted: what is asked.
        progress: told of everything.
        say: told the estimate of the time, and what a user should know on the way.

    Raises:
        FrostlineError: a backbone that cannot answer what is asked, such as one of images about texts.
    """
    _check(subjects, wanted, progress, say)
    findings = []
    for subject in subjects:
        findings.append(_one(subject, wanted, progress, say))
    probed = [finding.probed for finding in findings if finding.probed is not None]
    advice = advise(probed, len(wanted.held)) if probed and wanted.held is not None else None
    return Study(tuple(findings), advice, tuple(_curves(findings)), wanted)


def _curves(findings: Sequence[Finding]) -> list[Curve]:
    volumes = [finding.volume for finding in findings]
    if len(findings) < 2 or any(volume is None for volume in volumes):
        return []
    names = findings[0].figures()
    series = {name: [finding.figures()[name] for finding in findings] for name in names}
    return learning_curves([volume for volume in volumes if volume is not None], series)


def _check(subjects: Sequence[Subject], wanted: Wanted, progress: Progress, say: Say) -> None:
    """Load every backbone once, refuse what cannot work, and tell how long the rest will take."""
    seconds = 0.0
    for number, subject in enumerate(subjects):
        progress("loading", number, len(subjects))
        if wanted.known is not None or wanted.edges is not None:
            backbone = subject.make()
            if wanted.edges is not None and backbone.modality != "text":
                raise FrostlineError(
                    f"backbone {subject.name!r} takes {backbone.modality}s, which have no spans of words; leave the "
                    "spans out, or pass a text backbone, such as minilm."
                )
            if wanted.edges is not None:
                each = Labelled([wanted.edges.texts[row] for row, _ in wanted.edges.places], *wanted.edges.targets)
                seconds += estimate(backbone, each, each, mdl=wanted.mdl) / 2
            if wanted.known is not None and wanted.held is not None:
                check_modality(backbone, wanted.known)
                cost = estimate(backbone, wanted.known, wanted.held, mdl=wanted.mdl)
                seconds += cost * (1 if wanted.layers else 0) + cost * (0.3 if wanted.curve else 0)
        if wanted.pairs is not None or wanted.cloze is not None:
            seconds += _cost_of_sentences(load_language_model(subject.name, "masked", device=wanted.device), wanted)
    progress("loading", len(subjects), len(subjects))
    more = ", and fine-tuning, which tells its own" if wanted.recipe is not None else ""
    say(f"about {spelled(seconds)} for {len(subjects)} backbone{'s' * (len(subjects) > 1)}{more}")


def _cost_of_sentences(model: LanguageModel, wanted: Wanted) -> float:
    pairs = [pair for rows in (wanted.pairs or {}).values() for pair in rows]
    if not pairs:
        return 0.02 * len(wanted.cloze or ())
    step = max(1, len(pairs) // (TIMED // 2))
    sample = [sentence for pair in pairs[::step][: TIMED // 2] for sentence in pair]
    began = time.perf_counter()
    pseudo_log_likelihood(model, sample)
    return (time.perf_counter() - began) * 2 * len(pairs) / len(sample)


def _one(subject: Subject, wanted: Wanted, progress: Progress, say: Say) -> Finding:
    found = Finding(subject.name, subject.volume)
    if wanted.known is not None and wanted.held is not None:
        _labelled(found, subject, wanted, wanted.known, wanted.held, progress, say)
    if wanted.edges is not None:
        found.edges = _spans(found, subject.make(), wanted.edges, wanted, progress)
    if wanted.pairs is not None or wanted.cloze is not None:
        model = load_language_model(subject.name, "masked", device=wanted.device)
        if wanted.pairs is not None:
            found.pairs = minimal_pairs(model, wanted.pairs, progress)
        if wanted.cloze is not None:
            found.cloze = ask(model, wanted.cloze, progress)
    return found


def _labelled(
    found: Finding, subject: Subject, wanted: Wanted, known: Labelled, held: Labelled, progress: Progress, say: Say
) -> None:
    backbone = subject.make()
    first: Any
    if wanted.layers:
        found.probed = probe_model(backbone, known, held, mdl=wanted.mdl, seed=wanted.seed, progress=progress)
        first, second = found.probed.features
        found.notes += found.probed.notes
    elif wanted.curve:
        from backbones.encoder import Encoder

        encoder = Encoder(backbone)
        first, second = encoder.features(known.samples), encoder.features(held.samples)
    if wanted.curve:
        found.frozen = frozen_curve(
            (first, known.labels), (second, held.labels), len(known.classes), seed=wanted.seed, progress=progress
        )
    if wanted.recipe is not None:
        found.tuned = tuned_curve(subject.make, known, held, wanted.recipe, progress=progress, say=say)


def _spans(found: Finding, backbone: Backbone, edges: Edges, wanted: Wanted, progress: Progress) -> tuple[Layer, ...]:
    features, kept = span_features(backbone, edges, progress=progress)
    if len(kept) < len(edges):
        found.notes.append(f"{len(edges) - len(kept)} of {len(edges)} spans lie beyond the window and were left out")
    first, second = edges.take(kept).divide(seed=wanted.seed)
    mine = edges.take(kept)
    return probe_layers(
        backbone.name,
        features[first],
        features[second],
        mine.take(np.asarray(first)),
        mine.take(np.asarray(second)),
        mdl=wanted.mdl,
        seed=wanted.seed,
        progress=progress,
    )
