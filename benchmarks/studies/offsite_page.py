"""The page of the study of Offsite-Tuning: tables and what they say, from its figures alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backbones.lifecycle.offsite.ways import DIRECT, FULL, PLUGGED, TUNED, ZERO, Way
from backbones.lifecycle.offsite.withheld import ALIKE, ALONG
from continual.figures_table import markdown

SHARE = 0.9
HEAD = """# Offsite-Tuning: an adapter for a model that one does not have

The owner of a model hands over its lowest and highest blocks and an *emulator* of the blocks between them; a tuner
trains an adapter and a head on that; the owner plugs the adapter into the full model (Xiao et al. 2023, arXiv
2302.04870). Made by

```sh
python -m benchmarks.studies.offsite --clinc clinc150.json --banking banking77.json \\
  --cifar DIR --weights vit_tiny.safetensors --tiny DIR --out runs/offsite
```

*Zero-shot* is the frozen model with nearest class means over the tuner's samples. Every trained head starts from these
means; *trained head* is that head after training, kept as it is when the adapter is plugged in, and *class means* are
fitted again to the tuned features. *Full model, same adapter* trains the same adapter with the same recipe on the full
model, *full fine-tuning* all weights of it. Seconds were measured on a machine that other work shared; the processor
seconds of a step, taken in turn, can be compared. One seed.

"""


def page(found: Mapping[str, Any]) -> str:
    """Return the page of all parts as Markdown."""
    return HEAD + aim(found) + "\n".join(section(each) for each in found.values())


def aim(found: Mapping[str, Any]) -> str:
    """Return where the aim was reached, and what was left out."""
    lines = []
    for name, each in found.items():
        ways = {row["name"]: Way(**row) for row in each["ways"]}
        met = [
            head
            for by, head in (("kept", "the trained head"), ("means", "class means"))
            if each["recovered"][by][0] >= SHARE and getattr(ways[PLUGGED], by) > getattr(ways[TUNED], by)
        ]
        reached = f"reached with {' and '.join(met)}" if met else "**not reached**"
        left = "" if FULL in ways else " Full fine-tuning was left out (--skip-full)."
        lines.append(f"- {name}: {reached}.{left}")
    return (
        "Aim: the plug-in recovers 90 % of the gain of the same adapter on the full model, and is better than the\n"
        "tuned emulator. Recipes were chosen on validation questions of CLINC150 and training images of CIFAR-100.\n\n"
        + "\n".join(lines)
        + "\n\n"
    )


def section(found: dict[str, Any]) -> str:
    """Return a part as Markdown."""
    ways = {row["name"]: Way(**row) for row in found["ways"]}
    samples, layout, search = found["samples"], found["layout"], found["search"]
    size = "" if found["image_size"] is None else f", images brought to {found['image_size']} px"
    rows = [
        (way.name, f"{way.kept:.2%}", f"{way.means:.2%}", f"{way.trained:,}" if way.trained else "-",
         f"{way.seconds:.0f}" if way.seconds else "-")
        for way in ways.values()
    ]  # fmt: skip
    tried = [
        (name, *(f"{score[key]:.2%}" for key in ("emulator, zero-shot", TUNED, PLUGGED)))
        for name, score in found["candidates"].items()
    ]
    cost = found["costs"]
    lines = [
        f"## {found['name']}",
        "",
        f"{found['model']}{size}: {layout['depth']} blocks, of which {found['given']} are handed over (middle kept: "
        f"{layout['keep']}) and {found['withheld']} withheld. Tuned with {found['few']} labelled samples of each class "
        f"({samples['train']:,}), chosen by {samples['held']:,} others, scored once on {samples['test']:,} test "
        f"samples. Adapter: {found['adapter']['pat']} in blocks {found['adapter']['layers']}, "
        f"{found['adapter']['trained']:,} numbers. Emulator: {distilling(found)}.",
        "",
        markdown(("", "trained head", "class means", "trained numbers", "seconds"), rows),
        *[verdict(ways, by, found["recovered"][by]) for by in ("kept", "means")],
        "",
        f"Handed over: {found['file_bytes']:,} bytes of {found['full_bytes']:,} "
        f"({found['file_bytes'] / found['full_bytes']:.0%}). Search of the file for {search['withheld']} withheld "
        f"tensors: nothing found; largest absolute correlation {search['alike']:.3f} (whole, "
        f"refused from {ALIKE}) and {search['vectors']:.3f} (rows and columns, refused from {ALONG}).",
        "",
        f"One training step with the adapter in all of bottom and top: {cost['emulator']:.2f} processor seconds on the "
        f"emulator, {cost['full model']:.2f} on the full model, {cost['full fine-tuning']:.2f} for full fine-tuning.",
        "",
        "Emulators tried, on held-out training samples (bottom-kept-top):",
        "",
        markdown(("emulator", "zero-shot", "tuned", "plug-in"), tried),
        "",
    ]
    return "\n".join(lines)


def distilling(found: dict[str, Any]) -> str:
    """Return how the emulator came about."""
    made = found["distilled"]
    if made is None:
        return "blocks as they are"
    return (
        f"distilled on {made['samples']:,} unlabelled samples in {made['seconds']:.0f} s, its loss from "
        f"{made['before']:.3f} to {made['after']:.3f}"
    )


def verdict(ways: dict[str, Way], by: str, share: list[float]) -> str:
    """Return what one column says."""
    head = {"kept": "trained head", "means": "class means"}[by]
    zero, tuned, plugged, direct = (100 * getattr(ways[name], by) for name in (ZERO, TUNED, PLUGGED, DIRECT))
    order = "better than" if plugged > tuned else "not better than"
    return (
        f"\n{head.capitalize()}: tuning the full model gains {direct - zero:.2f} points, the plug-in "
        f"{plugged - zero:.2f}: {share[0]:.0%} of it (aim: 90 %; 95 % bootstrap interval over test samples "
        f"{share[1]:.0%} to {share[2]:.0%}). It is {order} the tuned emulator ({plugged - tuned:+.2f} points)."
    )
