"""What the commands of Offsite-Tuning report: title, first paragraph, tables and pictures, facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from backbones.lifecycle.offsite.layout import written
from backbones.lifecycle.offsite.plug import Plugged
from backbones.lifecycle.offsite.split import Split
from backbones.lifecycle.offsite.tune import TunedAdapter
from backbones.lifecycle.offsite.ways import DIRECT, PLUGGED, TUNED, ZERO, Way, recovered
from backbones.lifecycle.offsite.withheld import ALIKE, ALONG, RUN
from backbones.page import Part, Picture, Table
from backbones.plots import bars, lines

Page = tuple[str, str, list[Part], dict[str, Any]]
MIB = 1 << 20


def split_page(found: Split, model: str) -> Page:
    """Return the page of ``split``."""
    layout, search = found.layout, found.search
    kept = "distilled from these" if found.distilled is not None else "as they are, by design"
    rows = [
        ("bottom, for the adapter", written(list(range(layout.bottom))) or "none", "as they are, by design"),
        ("emulator", written(layout.kept), kept),
        ("top, for the adapter", written(list(range(layout.depth - layout.top, layout.depth))) or "none",
         "as they are, by design"),
        ("withheld", written(layout.withheld) or "none", "not handed over"),
    ]  # fmt: skip
    checks = [
        ("withheld tensors looked for", str(search.withheld)),
        ("of these without two different values", str(search.constant)),
        ("tensors in the file", str(search.tensors)),
        (f"runs of {RUN} equal neighbours", "none"),
        (f"largest |correlation| with a whole tensor (refused from {ALIKE})", f"{search.alike:.3f}"),
        (f"largest |correlation| with a row or column (refused from {ALONG})", f"{search.vectors:.3f}"),
        ("bytes handed over", f"{found.file_bytes:,}"),
        ("bytes of the full model", f"{found.full_bytes:,}"),
    ]
    parts: list[Part] = [
        Table(("part", "blocks of the full model", "handed over"), rows, "Blocks"),
        Table(("search for what is withheld", ""), checks, "What the file holds"),
    ]
    sizes = {"handed over": found.file_bytes / MIB, "full model": found.full_bytes / MIB}
    parts.append(Picture("sizes.png", bars(sizes, "MiB"), "Size of the file that is handed over"))
    if found.distilled is not None:
        each = found.distilled
        change = f"{each.before:.4f} before, {each.after:.4f} after"
        caption = f"Loss of the emulator's middle on {each.samples:,} samples: {change}"
        png = lines({"loss x weight": each.course.curve()}, "step", "loss", log_y=True)
        parts.append(Picture("distilling.png", png, caption))
    share = found.file_bytes / found.full_bytes
    lead = (
        f"{model} has {layout.depth} blocks; {len(layout.withheld)} of them stay with its owner. The file that is "
        f"handed over has {found.file_bytes / MIB:.1f} MiB, {share:.0%} of the full model, and nothing withheld was "
        "found in it."
    )
    facts = {
        "model": model,
        "fingerprint": found.fingerprint,
        "emulator": found.emulator,
        "layout": layout.model_dump(),
        "search": {key: value for key, value in asdict(search).items() if key != "leaks"},
    }
    return "An emulator to hand over", lead, parts, facts


def tune_page(found: TunedAdapter, data: str) -> Page:
    """Return the page of ``tune``."""
    facts = found.facts
    what = facts.pat or "own weights"
    rows = [(name, f"{value:.2%}") for name, value in facts.figures.items()]
    png = lines({"loss": found.course.curve()}, "step", "loss")
    parts: list[Part] = [
        Table(("on the emulator", "accuracy"), rows, f"Test samples of {data}"),
        Picture("loss.png", png, f"Loss of adapter and head over {found.course.steps:,} steps"),
    ]
    lead = (
        f"An adapter ({what}, blocks {written(facts.layers)}) of {facts.trained:,} numbers and a head of "
        f"{len(facts.classes)} classes, trained in {facts.seconds:.0f} s on the emulator of {facts.base}."
    )
    return "An adapter tuned off-site", lead, parts, facts.model_dump(mode="json")


def plug_page(found: Plugged, model: str, ways: Mapping[str, Way]) -> Page:
    """Return the page of ``plug``; ``ways`` is empty where the full model was not tuned too."""
    parts: list[Part] = []
    figures = {**found.facts.figures, **found.figures}
    if ways:
        parts += [ways_table(ways, "Test samples"), ways_picture(ways)]
    elif figures:
        rows = [(name, f"{value:.2%}") for name, value in figures.items()]
        parts.append(Table(("", "accuracy"), rows, "Test samples"))
        heights = {name: 100 * value for name, value in figures.items()}
        parts.append(Picture("accuracy.png", bars(heights, "accuracy (%)"), "Accuracy on test samples"))
    put = "was folded into its weights" if found.merged else "stays beside it as a delta"
    lead = f"The adapter ({found.facts.pat or 'own weights'}) {put}; head: {found.head}. Base: {model}."
    if ways:
        lead += f" {order_said(ways)}"
    facts = {
        "model": model,
        "fingerprint": found.facts.fingerprint,
        "merged": found.merged,
        "head": found.head,
        "usage": found.usage,
        "figures": figures,
        "ways": [way.said() for way in ways.values()],
    }
    return "An adapter plugged in", lead, parts, facts


def ways_table(ways: Mapping[str, Way], caption: str) -> Table:
    """Return the table of all ways."""
    rows = [
        (
            way.name,
            f"{way.kept:.2%}",
            f"{way.means:.2%}",
            f"{way.trained:,}" if way.trained else "",
            f"{way.seconds:.0f}" if way.seconds else "",
        )
        for way in ways.values()
    ]
    return Table(("", "trained head", "class means", "trained numbers", "seconds"), rows, caption)


def ways_picture(ways: Mapping[str, Way], name: str = "ways.png") -> Picture:
    """Return the same as bars."""
    values = {way.name: {"trained head": 100 * way.kept, "class means": 100 * way.means} for way in ways.values()}
    return Picture(name, bars(values, "accuracy (%)"), "Accuracy by way and by head")


def order_said(ways: Mapping[str, Way]) -> str:
    """Return what the plug-in recovers, and whether it is better than what the tuner holds."""
    parts = []
    for by, head in (("kept", "the trained head"), ("means", "class means")):
        zero, tuned, plugged, direct = (getattr(ways[name], by) for name in (ZERO, TUNED, PLUGGED, DIRECT))
        order = "better than" if plugged > tuned else "not better than"
        share = recovered(ways, by)
        gained = (
            f"recovers {share:.0%} of the gain of {direct - zero:+.2%}" if direct > zero else "has no gain to recover"
        )
        parts.append(f"With {head} the plug-in {gained} and is {order} the tuned emulator ({plugged - tuned:+.2%})")
    return ". ".join(parts) + "."
