"""The owner's part: an emulator that is handed over in the place of the model."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backbones.base import Backbone
from backbones.core.artifacts import digest_tensors, load_tensors, write_json
from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.lifecycle.offsite.exported import FACTS, ExportFacts
from backbones.lifecycle.offsite.layout import Layout
from backbones.lifecycle.offsite.middle import Distilled, Distilling, distil
from backbones.lifecycle.offsite.restack import restack
from backbones.lifecycle.offsite.withheld import Search, check_file, refuse, search, withheld_tensors
from backbones.merging import WEIGHTS
from backbones.training.loop import Say, mute
from backbones.training.saving import refuse_existing, save_backbone


@dataclass(frozen=True)
class Split:
    """What ``split`` wrote.

    Attributes:
        folder: where: an ordinary backbone folder of as many blocks as the emulator has.
        layout: which blocks are which.
        search: the search of the written file for what is withheld, without a leak.
        distilled: how the emulator was distilled, None for blocks as they are.
        file_bytes: of the written weights; full_bytes: of the full model's weights.
        fingerprint: of the full model; emulator: of the folder's.
        usage: how the folder is loaded.
    """

    folder: Path
    layout: Layout
    search: Search
    distilled: Distilled | None
    file_bytes: int
    full_bytes: int
    fingerprint: str
    emulator: str
    usage: str


def emulate(full: Backbone, layout: Layout) -> Backbone:
    """Return the emulator of a model, its blocks numbered as in the full one; no tensor is shared.

    Args:
        full: the full model with nothing on it; left as it is.
        layout: which blocks are kept.

    Raises:
        FrostlineError: a layout of another depth.
    """
    if layout.depth != full.depth:
        raise FrostlineError(f"the layout is of {layout.depth} blocks, but backbone {full.name!r} has {full.depth}.")
    given = set(layout.given)
    return restack(full, [layer if layer in given else None for layer in range(full.depth)])


def split(
    full: Backbone,
    layout: Layout,
    out: Path | str,
    *,
    base: str | None = None,
    data: Sequence[Any] | None = None,
    recipe: Distilling | None = None,
    progress: Progress = silent,
    say: Say = mute,
) -> Split:
    """Write what the owner of a model hands over: adapter blocks and emulator, searched for what is withheld.

    Args:
        full: the full model with nothing on it.
        layout: which blocks are which.
        out: folder to make.
        base: what the model is called, None for its name.
        data: raw inputs without labels, on which the emulator is distilled; None: its blocks stay as they are.
        recipe: how it is distilled, None for the defaults.
        progress: told of every phase.
        say: told the estimate.

    Raises:
        FrostlineError: ``out`` exists, a layout of another depth, or an emulator that would give away what is
            withheld (nothing is left then).
    """
    out = Path(out)
    refuse_existing(out)
    emulator = emulate(full, layout)
    distilled = None
    if data is not None:
        # the file is searched too, but before it is there hours may pass
        refuse(search(withheld_tensors(full, layout), emulator.frozen_state(), progress), "the emulator")
        distilled = distil(full, emulator, layout, data, recipe or Distilling(), progress=progress, say=say)
    compact = restack(emulator, layout.given)
    fingerprint = full.fingerprint()
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a command that was killed
    try:
        saved = save_backbone(compact, part, {"made by": "offsite split", "blocks": layout.given}, progress=progress)
        found = check_file(full, layout, part / WEIGHTS, progress)
        facts = ExportFacts(
            base=base or full.name,
            fingerprint=fingerprint,
            layout=layout,
            given=layout.given,
            withheld=layout.withheld,
            distilled=None if distilled is None else _said(distilled, recipe or Distilling()),
            image_size=None if full.modality == "text" else int(full.preprocessing.size),  # type: ignore[attr-defined]
            digest=digest_tensors(load_tensors(part / WEIGHTS)[0]),
            file_bytes=(part / WEIGHTS).stat().st_size,
            full_bytes=sum(value.numel() * value.element_size() for value in full.frozen_state().values()),
            search={key: value for key, value in asdict(found).items() if key != "leaks"},
        )
        write_json(part / FACTS, facts.model_dump(mode="json"))
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    usage = saved.usage.replace(str(part), str(out))
    return Split(
        out, layout, found, distilled, facts.file_bytes, facts.full_bytes, fingerprint, compact.fingerprint(), usage
    )


def _said(distilled: Distilled, recipe: Distilling) -> dict[str, Any]:
    return {
        "samples": distilled.samples,
        "before": distilled.before,
        "after": distilled.after,
        "seconds": round(distilled.course.seconds, 1),
        "recipe": recipe.model_dump(mode="json"),
    }
