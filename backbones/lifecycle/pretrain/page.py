"""The page of a pre-training: its curve, its held-out figures, and where the models lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backbones.core.reading import read_json
from backbones.lifecycle.pretrain.course import Pretrained
from backbones.lifecycle.pretrain.workplace import NOTE
from backbones.page import Part, Picture, Prose, Table, write_page
from backbones.plots import lines
from backbones.training.loop import duration


def table_of(found: Pretrained) -> Table:
    """Return the held-out figures of each model that was measured."""
    names = [key for key in found.figures[0] if key not in ("step", "seen")]
    rows = [
        [f"{row['step']:,}", f"{row['seen']:,}", f"{row['loss']:.3f}", *(f"{100 * row[key]:.1f}" for key in names[1:])]
        for row in found.figures
    ]
    shares = (f"{name.replace('_', ' ')} (%)" for name in names[1:])
    header = ("step", f"{found.unit} seen", "held-out loss (nats)", *shares)
    return Table(header, rows, "Held-out figures, before training and after")


def write_report(found: Pretrained) -> Path:
    """Write ``report.html``, its pictures and ``report.json`` beside the model; returns the page."""
    last = found.figures[-1]
    lead = (
        f"{found.parameters / 1e6:.3g} million parameters, {found.course.steps:,} steps in "
        f"{duration(found.course.seconds)}, {last['seen']:,} {found.unit} seen; held-out loss {last['loss']:.3f} nats, "
        f"from {found.figures[0]['loss']:.3f} before training."
    )
    parts: list[Part] = [table_of(found), _curve(found), *_volumes(found)]
    parts.append(Prose(f"The model lies in {found.model}; load it with: {found.usage}."))
    settings = read_json(found.folder / NOTE)
    facts = {**settings, "parameters": found.parameters, "seconds": round(found.course.seconds, 1)}
    history = {"figures": found.figures, "history": found.course.history}
    return write_page(found.folder, "Pre-training", lead, parts, {**facts, **history})


def _curve(found: Pretrained) -> Picture:
    names = [key for key in found.course.history[0] if key not in ("step", "lr")]
    names = names[1:] if len(names) > 1 else names  # of several losses the sum says little
    series = {name if len(names) > 1 else "training": found.course.curve(name) for name in names}
    series["held-out"] = (_column(found, "step"), _column(found, "loss"))
    return Picture("loss.png", lines(series, "step", "loss (nats)"), "Loss in training and on held-out data")


def _volumes(found: Pretrained) -> Sequence[Picture]:
    rows = [row for row in found.figures if row["seen"] > 0]
    if len(rows) < 3:
        return []
    across = [float(row["seen"]) for row in rows]
    losses = {"held-out": (across, [row["loss"] for row in rows])}
    png = lines(losses, f"{found.unit} seen", "loss (nats)", log_x=True)
    return [Picture("volumes.png", png, f"Held-out loss over {found.unit} seen")]


def _column(found: Pretrained, key: str) -> list[float]:
    return [float(row[key]) for row in found.figures]
