"""The tuner's part: an adapter, trained on the emulator, for a model that the tuner never sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled
from backbones.core.samples import Progress, silent
from backbones.delta import Delta
from backbones.encoder import answered, entering
from backbones.lifecycle.offsite.blocks import Blocks
from backbones.lifecycle.offsite.exported import AdapterFacts, Export, write_adapter
from backbones.lifecycle.offsite.heads import fitted_head
from backbones.lifecycle.offsite.layout import Layout, written
from backbones.lifecycle.offsite.lower import Lower, grouped
from backbones.merging import made_whole
from backbones.pat.stack import Stack, make_pat, pat_name, pat_values
from backbones.training.loop import Course, Recipe, Say, mute, train
from backbones.training.saving import refuse_existing
from backbones.training.tasks import finetune

PHASE = "tuning the adapter"


@dataclass(frozen=True)
class TunedAdapter:
    """What ``tune`` wrote: where, what its ``adapter.json`` says, and how the training went."""

    folder: Path
    facts: AdapterFacts
    course: Course


@dataclass(frozen=True)
class Trained:
    """A trained adapter on its backbone, its head, and how its training went, all stages together."""

    delta: Delta
    head: nn.Linear
    course: Course


def adapter_of(layout: Layout, pat: str | None, settings: Mapping[str, Any], layers: str | None) -> Any:
    """Return the settings of an adapter that sits in bottom and top blocks alone.

    Args:
        layout: which blocks are which.
        pat: a registered PAT or a stack; None for the blocks' own weights.
        settings: of the PAT, see ``make_pat``; they may choose layers for themselves.
        layers: tuned blocks, numbered as in the full model; None for all of bottom and top.

    Raises:
        FrostlineError: a block of the middle, a PAT that cannot choose its layers, or what ``make_pat`` raises.
    """
    chosen = written(layout.tunable(layers))
    made: Any
    if pat is None:
        made = Blocks.parse({"layers": chosen, **settings}, "the blocks of the adapter")
    else:
        made = make_pat(pat, settings, chosen)
    parts: list[Any] = list(made.parts.values()) if isinstance(made, Stack) else [made]
    for part in parts:
        layout.tunable(part.layers)
    return made


def train_adapter(
    backbone: Backbone,
    adapter: Any,
    data: Labelled,
    recipe: Recipe,
    *,
    head_rate: float = 1.0,
    checkpoint: Path | None = None,
    lower: Lower | None = None,
    progress: Progress = silent,
    say: Say = mute,
    phase: str = PHASE,
) -> Trained:
    """Grow an adapter and train it with a head that starts as nearest class means; all else stays frozen.

    The blocks below the lowest one that the adapter touches run once for each sample.

    Args:
        backbone: emulator or full model, numbered alike.
        adapter: see ``adapter_of``; a PAT that trains in stages has the whole recipe for each.
        data: raw inputs and classes.
        recipe: how.
        head_rate: factor on the rate of the head.
        checkpoint: see ``backbones.training.loop.train``; for PATs of one stage.
        lower: remembers what lies below, also for others; None: this call alone does.
        progress: told of every step.
        say: told the estimate.
        phase: what to call the work.

    Raises:
        FrostlineError: an adapter that does not fit, or see ``finetune``; the backbone is left bare then.
    """
    delta: Delta = adapter.grow(backbone, recipe.seed)
    layer = min(delta.first_layer, backbone.depth - 1)
    delta.detach()
    own = lower if lower is not None and lower.layer == layer else Lower(layer)
    head = fitted_head(backbone, data, None, progress, own)
    delta = adapter.grow(backbone, recipe.seed)
    course = Course()
    try:
        stages = delta.stages(0)
        for stage in range(stages):
            delta.enter(0, stage)
            named = phase if stages == 1 else f"{phase}, stage {stage + 1} of {stages}"
            place = checkpoint if stages == 1 else None
            done = _stage(backbone, data, recipe, delta, head, head_rate, own, place, progress, say, named)
            course.steps += done.steps
            course.seconds += done.seconds
            course.history += done.history
    except BaseException:
        delta.detach()
        raise
    return Trained(delta.eval(), head, course)


def _stage(
    backbone: Backbone,
    data: Labelled,
    recipe: Recipe,
    delta: Delta,
    head: nn.Linear,
    head_rate: float,
    lower: Lower,
    checkpoint: Path | None,
    progress: Progress,
    say: Say,
    phase: str,
) -> Course:
    """Train delta and head once through the recipe."""
    if lower.layer == 0:
        return finetune(
            backbone, data, recipe, delta=delta, head=head, head_rate=head_rate, checkpoint=checkpoint,
            keep=True, progress=progress, say=say, phase=phase,
        ).course  # fmt: skip
    rows, targets = lower.rows(backbone, data, phase, progress), torch.from_numpy(data.labels.copy())
    params = {f"head.{name}": value for name, value in head.named_parameters()}
    params |= {f"delta.{name}": value for name, value in delta.named_parameters()}
    with entering(backbone, lower.layer) as enter:

        def loss(chosen: list[int], _generator: torch.Generator) -> Tensor:
            features = grouped([rows[row] for row in chosen], enter, backbone.device)
            return cross_entropy(answered(head, features), targets[chosen].to(backbone.device))

        course = train(
            params, loss, len(data), recipe, modules=[head, delta], rates={"head.": head_rate}, checkpoint=checkpoint,
            keep=True, progress=progress, say=say, phase=phase,
        )  # fmt: skip
    head.requires_grad_(False)
    return course


def tune(
    export: Export,
    data: Labelled,
    out: Path | str,
    recipe: Recipe,
    *,
    pat: str | None = None,
    settings: Mapping[str, Any] | None = None,
    layers: str | None = None,
    head_rate: float = 1.0,
    test: Labelled | None = None,
    checkpoint: Path | str | None = None,
    progress: Progress = silent,
    say: Say = mute,
) -> TunedAdapter:
    """Train an adapter on the emulator and write it for the full model, layers and tensors named as there.

    Args:
        export: see ``read_export``; its emulator is bare again after.
        data: raw inputs and classes.
        out: folder to make.
        recipe: how.
        pat: a registered PAT or a stack; None for the blocks' own weights.
        settings: of the PAT.
        layers: tuned blocks, numbered as in the full model; None for all of bottom and top.
        head_rate: factor on the rate of the head.
        test: to score emulator and tuned emulator on.
        checkpoint: see ``train_adapter``.
        progress: told of every step.
        say: told the estimate.

    Raises:
        FrostlineError: ``out`` exists, an adapter in the withheld middle, data of another kind than the model's, or
            see ``finetune``.
    """
    out = Path(out)
    checkpoint = None if checkpoint is None else Path(checkpoint)
    refuse_existing(out)
    emulator, facts = export.emulator, export.facts
    if data.modality != emulator.modality:
        raise FrostlineError(f"the data are of kind {data.modality!r}, but {facts.base!r} takes {emulator.modality}s.")
    adapter = adapter_of(facts.layout, pat, settings or {}, layers)
    lower = Lower(min(facts.layout.tunable(layers)))
    figures: dict[str, float] = {}

    def scored(head: nn.Linear, wanted: Labelled, delta: Delta | None) -> float:
        found = lower.features(emulator, wanted, delta, "test samples", progress)
        return float((answered(head, found).argmax(dim=1).numpy() == wanted.labels).mean())

    if test is not None:
        figures["emulator, zero-shot"] = scored(fitted_head(emulator, data, None, progress, lower), test, None)
    trained = train_adapter(
        emulator, adapter, data, recipe, head_rate=head_rate, checkpoint=checkpoint, lower=lower, progress=progress,
        say=say,
    )  # fmt: skip
    try:
        if test is not None:
            figures["emulator, tuned"] = scored(trained.head, test, trained.delta)
        said = AdapterFacts(
            base=facts.base,
            fingerprint=facts.fingerprint,
            layout=facts.layout,
            kind="blocks" if pat is None else "pat",
            layers=facts.layout.tunable(layers),
            pat="" if pat is None else pat_name(adapter),
            settings=adapter.model_dump(mode="json") if pat is None else pat_values(adapter),
            classes=list(data.classes),
            recipe={**recipe.model_dump(mode="json"), "head_rate": head_rate},
            seconds=round(trained.course.seconds, 2),
            trained=trained.delta.parameter_count,
            figures=figures,
        )
        with made_whole(out) as folder:
            write_adapter(folder, said, trained.delta, trained.head, recipe.seed)
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)
    finally:
        trained.delta.detach()
    return TunedAdapter(out, said, trained.course)
