"""Compressing a backbone from end to end: frontier, the chosen point as a plain folder, and its packed file."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbones.base import Backbone
from backbones.core.labelled import Task
from backbones.core.samples import Progress, silent
from backbones.lifecycle.compress.files import write_packed
from backbones.lifecycle.compress.frontier import Frontier, explore
from backbones.lifecycle.compress.plan import Plan
from backbones.training.loop import Say, mute
from backbones.training.saving import Saved, refuse_existing, save_backbone

MODEL, FOLDER = "model", "packed"


@dataclass(frozen=True)
class Compressed:
    """What ``compress`` made: all points, the plain folder of the chosen one, and the bytes of its packed file."""

    frontier: Frontier
    saved: Saved
    packed_bytes: int


def compress(
    backbone: Backbone,
    out: Path | str,
    plan: Plan,
    *,
    task: Task | None = None,
    samples: Sequence[Any] = (),
    allowed: float = 0.01,
    store: Path | str | None = None,
    progress: Progress = silent,
    say: Say = mute,
) -> Compressed:
    """Compress a backbone in every way of ``plan`` and write the smallest that loses at most ``allowed``.

    Args:
        backbone: the dense one; it is left as it was.
        out: new folder: ``model`` is an ordinary backbone with the compressed weights in float32, ``packed`` the same
            weights in few bytes (see ``load_packed``).
        plan: what to try; see ``explore`` for the other arguments.

    Raises:
        FrostlineError: ``out`` exists, or see ``explore`` and ``save_backbone``.
    """
    out = Path(out)
    store = None if store is None else Path(store)
    refuse_existing(out)
    frontier = explore(
        backbone, plan, task=task, samples=samples, allowed=allowed, store=store, progress=progress, say=say
    )
    chosen = frontier.chosen
    student = copy.deepcopy(backbone)
    student.module.load_state_dict(chosen.state)
    facts = {
        "compressed": backbone.name,
        "of": backbone.fingerprint(),
        "bits": chosen.bits,
        "sparsity": chosen.sparsity,
        "bytes": chosen.formula,
        "plan": plan.model_dump(mode="json"),
    }
    saved = save_backbone(student, out / MODEL, facts, progress=progress)
    size = write_packed(chosen.packed, out / MODEL, out / FOLDER, facts)
    return Compressed(frontier, saved, size)
