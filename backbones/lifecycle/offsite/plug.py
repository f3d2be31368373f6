"""The owner's part again: the adapter goes into the full model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from backbones.base import Backbone
from backbones.core.artifacts import save_tensors, write_json
from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled
from backbones.core.samples import Progress, silent
from backbones.delta import Delta
from backbones.deltas import save_delta
from backbones.lifecycle.offsite.exported import DELTA, HEAD, AdapterFacts, put_on, read_adapter
from backbones.lifecycle.offsite.heads import fitted_head
from backbones.lifecycle.offsite.restack import restack
from backbones.merging import made_whole
from backbones.training.saving import refuse_existing, save_backbone
from backbones.training.tasks import accuracy

FACTS, MODEL = "plug.json", "model"


@dataclass(frozen=True)
class Plugged:
    """What ``plug`` wrote.

    Attributes:
        folder: where; ``head.safetensors`` and ``plug.json`` are in it.
        facts: what the adapter's folder says.
        merged: whether the adapter was folded in: then ``model`` is an ordinary backbone folder, else ``delta`` is the
            folder of a delta beside the base.
        head: ``"keep"`` or ``"refit"``.
        usage: how the result is loaded.
        figures: accuracies on the test data, where there were any.
    """

    folder: Path
    facts: AdapterFacts
    merged: bool
    head: str
    usage: str
    figures: dict[str, float]


def plug(
    full: Backbone,
    adapter: Path | str,
    out: Path | str,
    *,
    head: Literal["keep", "refit"] = "keep",
    data: Labelled | None = None,
    test: Labelled | None = None,
    progress: Progress = silent,
) -> Plugged:
    """Put an adapter that was tuned on the emulator into the full model, and write that.

    Args:
        full: the model that the emulator was made from, with nothing on it; it is bare again after.
        adapter: folder that ``tune`` wrote.
        out: folder to make.
        head: ``"keep"`` the head that was trained on the emulator, or ``"refit"`` nearest class means to the features
            of ``data``.
        data: labelled data, for ``"refit"``.
        test: to score the full model with the adapter on.
        progress: told of the phases.

    Raises:
        FrostlineError: ``out`` exists, another model (both fingerprints are shown), no adapter, other classes than
            the adapter's, or ``"refit"`` without data.
    """
    adapter = Path(adapter)
    out = Path(out)
    refuse_existing(out)
    facts, trained = read_adapter(adapter)
    for given in (data, test):
        if given is not None:
            check_classes(given, facts)
    if head == "refit" and data is None:
        raise FrostlineError("head = 'refit' needs labelled data to refit the head to; pass data, or head = 'keep'.")
    delta = put_on(adapter, facts, full)
    try:
        chosen = trained
        if head == "refit" and data is not None:
            chosen = fitted_head(full, data, delta, progress)
        figures = {} if test is None else {"plug-in": accuracy(full, chosen, test, delta, progress)}
        merged = delta.mergeable
        with made_whole(out) as folder:
            usage = _write(full, delta, facts, folder, out, progress)
            save_tensors(folder / HEAD, {"weight": chosen.weight, "bias": chosen.bias})
            said = {"format": 1, "base": facts.base, "fingerprint": facts.fingerprint, "classes": facts.classes}
            write_json(folder / FACTS, {**said, "head": head, "merged": merged, "figures": figures})
    finally:
        delta.detach()
    return Plugged(out, facts, merged, head, usage, figures)


def check_classes(data: Labelled, facts: AdapterFacts) -> None:
    """Raise FrostlineError unless the data have the classes of the adapter's head, in its order."""
    if list(data.classes) != facts.classes:
        raise FrostlineError(
            f"the data have {len(data.classes)} classes ({', '.join(data.classes[:2])}, ...), the head of the adapter "
            f"{len(facts.classes)} ({', '.join(facts.classes[:2])}, ...); pass the data that it was tuned on."
        )


def folded(full: Backbone, delta: Delta) -> Backbone:
    """Return a copy of a backbone with a mergeable delta folded in; the delta is taken off."""
    weights: dict[str, Tensor] = delta.merged()
    delta.detach()  # before copying, so that its rules are not copied too
    made = restack(full, list(range(full.depth)))
    made.module.load_state_dict(weights)
    return made


def _write(full: Backbone, delta: Delta, facts: AdapterFacts, folder: Path, out: Path, progress: Progress) -> str:
    """Write the model with the adapter folded in, or the adapter as a delta; returns how it is loaded."""
    if not delta.mergeable:
        save_delta(delta, folder / DELTA, facts.base, int(facts.recipe.get("seed", 0)))
        return (
            f"load_delta(Path({str(out / DELTA)!r}), load_backbone({facts.base!r})): this adapter does more than "
            "changing weights and stays beside the base"
        )
    saved = save_backbone(folded(full, delta), folder / MODEL, {"made by": "offsite plug"}, progress=progress)
    return saved.usage.replace(str(folder), str(out))
