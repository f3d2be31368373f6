"""The table of Offsite-Tuning: what the tuner starts from, reaches on the emulator, and gains from the full model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from backbones.base import Backbone
from backbones.core.intervals import percentile_interval
from backbones.core.labelled import Labelled, Task
from backbones.core.samples import Progress, silent
from backbones.core.seed import numpy_generator
from backbones.delta import Delta
from backbones.encoder import answered
from backbones.lifecycle.offsite.exported import AdapterFacts, Export, grown, put_on, read_adapter
from backbones.lifecycle.offsite.heads import fitted_head, means_head
from backbones.lifecycle.offsite.lower import Lower
from backbones.lifecycle.offsite.plug import check_classes
from backbones.lifecycle.offsite.restack import restack
from backbones.lifecycle.offsite.tune import adapter_of, train_adapter
from backbones.training.loop import Recipe, Say, mute
from backbones.training.tasks import finetune

ZERO, EMULATED, TUNED = "zero-shot", "emulator, zero-shot", "emulator, tuned"
PLUGGED, DIRECT, FULL = "plug-in", "full model, same adapter", "full fine-tuning"


@dataclass(frozen=True)
class Way:
    """One row of the table.

    Attributes:
        name: what it is.
        kept: accuracy of the head that was trained together with the adapter, in [0, 1]; of a way without training
            the same as ``means``.
        means: accuracy of nearest class means over the features.
        seconds: of training.
        trained: numbers trained beside the head.
        hits: which test samples were right, bool, shape (2, n): with the trained head, with class means.
    """

    name: str
    kept: float
    means: float
    seconds: float = 0.0
    trained: int = 0
    hits: NDArray[np.bool_] | None = field(default=None, repr=False, compare=False)

    def said(self) -> dict[str, Any]:
        """Return the row as JSON values, without ``hits``."""
        return {key: value for key, value in vars(self).items() if key != "hits"}


def recovered(ways: Mapping[str, Way], by: str = "kept") -> float:
    """Return the share of the gain of tuning the full model that the plug-in reaches; NaN where there is no gain.

    Args:
        ways: by name, with ``ZERO``, ``PLUGGED`` and ``DIRECT``.
        by: ``"kept"`` or ``"means"``.
    """
    zero, plugged, direct = (float(getattr(ways[name], by)) for name in (ZERO, PLUGGED, DIRECT))
    return (plugged - zero) / (direct - zero) if direct > zero else float("nan")


def score(
    name: str,
    backbone: Backbone,
    task: Task,
    delta: Delta | None = None,
    head: nn.Linear | None = None,
    progress: Progress = silent,
    lower: Lower | None = None,
    **more: Any,
) -> Way:
    """Return the row of a backbone with what is on it: of the given head and of nearest class means.

    Args:
        name: of the row.
        backbone: whose features.
        task: class means are taken from its training data, scores from its test data.
        delta: on the backbone.
        head: trained with it; None: the class means.
        progress: told of the samples encoded.
        lower: remembers what lies below; None: nothing does.
        more: seconds and trained numbers, for the row.
    """
    encode = (lower or Lower()).features
    train = encode(backbone, task.train, delta, f"{name}: training samples", progress)
    test = encode(backbone, task.test, delta, f"{name}: test samples", progress)
    means = means_head(train, task.train.labels, len(task.train.classes))
    hits = np.stack([_hits(each, test, task.test) for each in (head or means, means)])
    return Way(name, float(hits[0].mean()), float(hits[1].mean()), hits=hits, **more)


def interval(ways: Mapping[str, Way], by: str = "kept", draws: int = 2000) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of ``recovered`` over the test samples, the same draws for all rows.

    Args:
        ways: by name, with their ``hits``.
        by: ``"kept"`` or ``"means"``.
        draws: of as many samples as there are, with replacement.
    """
    row = ("kept", "means").index(by)
    hits = [ways[name].hits for name in (ZERO, PLUGGED, DIRECT)]
    assert all(each is not None for each in hits), "rows without hits"
    right = np.stack([each[row] for each in hits if each is not None]).astype(np.float64)
    count = right.shape[1]
    weights = numpy_generator(0, "bootstrap").multinomial(count, np.full(count, 1 / count), size=draws)
    zero, plugged, direct = right @ weights.T / count
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(direct > zero, (plugged - zero) / (direct - zero), np.nan)
    return percentile_interval(shares)


def four_ways(
    full: Backbone,
    export: Export,
    adapter: Path,
    task: Task,
    *,
    full_rate: float = 0.1,
    lower: Lower | None = None,
    fully: bool = True,
    known: Mapping[str, Way] | None = None,
    tell: Callable[[Way], None] | None = None,
    progress: Progress = silent,
    say: Say = mute,
) -> dict[str, Way]:
    """Return the table for one adapter: the full model is tuned too, by the same recipe, to compare with.

    Args:
        full: the full model with nothing on it; bare again after.
        export: of it.
        adapter: folder that ``tune`` wrote from the export.
        task: the data it was tuned on, and test data.
        full_rate: of full fine-tuning, as a factor on the adapter's rate.
        lower: remembers what lies below the tuned blocks; None: this call alone does.
        fully: whether full fine-tuning is among the rows.
        known: rows that are there already.
        tell: told of every new row.
        progress: told of every step.
        say: told the estimates.

    Raises:
        FrostlineError: an adapter of another model (both fingerprints are shown) or of other classes.
    """
    facts, head = read_adapter(adapter)
    check_classes(task.train, facts)
    rows = dict(known or {})
    lower = lower or Lower(min(facts.layers))
    values = {"seconds": facts.seconds, "trained": facts.trained}

    def emulator_tuned() -> Way:
        delta = grown(adapter, facts, export.emulator)
        return _off(delta, score(TUNED, export.emulator, task, delta, head, progress, lower, **values))

    def plugged() -> Way:
        delta = put_on(adapter, facts, full)
        return _off(delta, score(PLUGGED, full, task, delta, head, progress, lower, **values))

    made: dict[str, Callable[[], Way]] = {
        ZERO: lambda: score(ZERO, full, task, None, None, progress, lower),
        EMULATED: lambda: score(EMULATED, export.emulator, task, None, None, progress, lower),
        TUNED: emulator_tuned,
        PLUGGED: plugged,
        DIRECT: lambda: _direct(full, facts, task, lower, progress, say),
        FULL: lambda: _fully(full, facts, task, full_rate, progress, say),
    }
    if not fully:
        del made[FULL]
    for name, make in made.items():
        if name not in rows:
            rows[name] = make()
            if tell is not None:
                tell(rows[name])
    return {name: rows[name] for name in made}


def _direct(full: Backbone, facts: AdapterFacts, task: Task, lower: Lower, progress: Progress, say: Say) -> Way:
    recipe, rate = recipe_of(facts)
    pat = facts.pat or None
    adapter = adapter_of(facts.layout, pat, facts.settings, None)
    trained = train_adapter(
        full, adapter, task.train, recipe, head_rate=rate, lower=lower, progress=progress, say=say, phase=DIRECT
    )
    more = {"seconds": trained.course.seconds, "trained": trained.delta.parameter_count}
    return _off(trained.delta, score(DIRECT, full, task, trained.delta, trained.head, progress, lower, **more))


def _fully(full: Backbone, facts: AdapterFacts, task: Task, factor: float, progress: Progress, say: Say) -> Way:
    recipe, rate = recipe_of(facts)
    own = restack(full, list(range(full.depth)))
    head = fitted_head(own, task.train, progress=progress)
    slower = Recipe.parse({**recipe.model_dump(), "lr": recipe.lr * factor}, "full fine-tuning")
    tuned = finetune(
        own, task.train, slower, full=True, head=head, head_rate=rate / factor, progress=progress, say=say, phase=FULL
    )
    return score(FULL, own, task, None, head, progress, seconds=tuned.course.seconds, trained=full.parameter_count)


def recipe_of(facts: AdapterFacts) -> tuple[Recipe, float]:
    """Return the recipe of an adapter, and the factor on the rate of its head."""
    values = dict(facts.recipe)
    rate = float(values.pop("head_rate", 1.0))
    return Recipe.parse(values, "the adapter's recipe"), rate


def _off(delta: Delta, way: Way) -> Way:
    delta.detach()
    return way


def _hits(head: nn.Linear, features: torch.Tensor, data: Labelled) -> NDArray[np.bool_]:
    with torch.no_grad():
        found: NDArray[np.bool_] = answered(head, features).argmax(dim=1).numpy() == data.labels
    return found
