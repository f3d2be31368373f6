"""What the studies share: a stream learned by one engine with several heads, and means with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.core.samples import Progress, silent
from backbones.core.seed import derive
from backbones.features import FeatureStore
from continual.checkpoint import Checkpoints
from continual.engine import HEAD, Engine, Step, test_labels
from continual.figures_summary import Summary, combine, step_figures
from continual.heads import HEADS
from continual.metrics import interval
from continual.plan import Plan


@dataclass(frozen=True)
class Learned:
    """What several heads made of one stream on the same features.

    Attributes:
        steps: one for each experience.
        figures: name of a head -> its figures, accuracies in [0, 1].
        stored: name of a head -> numbers that it stores.
        trained: parameters trained in the PAT.
    """

    steps: list[Step]
    figures: dict[str, Summary]
    stored: dict[str, int]
    trained: int


def learn(
    plan: Plan,
    seed: int,
    heads: Sequence[str],
    folder: Path,
    store: FeatureStore,
    *,
    progress: Progress = silent,
    told: Callable[[Step], None] = lambda _step: None,
) -> Learned:
    """Learn the stream of one seed; resumes from the checkpoints in ``folder``.

    Args:
        plan: data, backbone and PAT.
        seed: of the class order and everything random.
        heads: registered names; all with their default settings.
        folder: of checkpoints.
        store: of features.
        progress: told of every long phase.
        told: called after every step that is learned now.
    """
    stream, settings = plan.stream(seed), plan.settings
    built = {name: HEADS.load(name)().build(derive(seed, "head")) for name in heads}
    keeper = Checkpoints(folder)
    engine = Engine(
        plan.backbone,
        plan.pat,
        built.pop(heads[-1]),
        references=built,
        store=store,
        tuning=settings.tuning,
        schedule=settings.pat_schedule,
        activations=settings.activations,
        seed=seed,
        precision=settings.precision,
        keeper=keeper,
        progress=progress,
    )
    try:
        steps = keeper.restore(engine)
        for step in engine.run(stream):
            steps.append(step)
            told(step)
        labels, classes = test_labels(stream), [e.classes for e in stream.experiences]
        figures, stored = {}, {}
        for inner, head in engine.heads.items():
            name = heads[-1] if inner == HEAD else inner
            rows = [step.predictions[inner] for step in steps]
            curve = [step_figures(r, labels, classes, rows[i - 1] if i else None, step=i) for i, r in enumerate(rows)]
            figures[name], stored[name] = combine(curve), head.stored_parameters
        return Learned(steps, figures, stored, engine.delta.parameter_count)
    finally:
        engine.close()


def spread(values: Sequence[float | None]) -> str:
    """Return shares as per cent: mean and half of the 95 % Student-t interval; ``-`` where there are none."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "-"
    found = interval(known)
    half = "" if found.half_width is None else f" ± {found.half_width:.2f}"
    return f"{found.mean:.2f}{half}"
