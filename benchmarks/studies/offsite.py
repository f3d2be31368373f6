"""Offsite-Tuning on MiniLM with CLINC150 and on ViT-Ti with CIFAR-100: what the plug-in recovers, in one command.

    python -m benchmarks.studies.offsite --clinc clinc150.json --banking banking77.json \
        --cifar DIR --weights vit_tiny.safetensors --tiny DIR --out runs/offsite

A tuner has a few labelled samples of each class; the owner has unlabelled samples of other data (questions of
Banking77, images of Tiny-ImageNet). The emulators named in ``PARTS`` are made, an adapter is tuned on each, and the one
whose plug-in does best on held-out training samples goes on; test samples are used for the final table alone. Every
stage is kept in the output folder: a killed command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from backbones.base import Backbone
from backbones.catalog import LoadOptions, load_backbone
from backbones.commands.shared import read_task
from backbones.core.artifacts import write_json, write_text
from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled, Task
from backbones.core.seed import numpy_generator
from backbones.lifecycle.offsite.exported import Export, put_on, read_adapter, read_export
from backbones.lifecycle.offsite.layout import Layout, written
from backbones.lifecycle.offsite.lower import Lower
from backbones.lifecycle.offsite.middle import Distilling
from backbones.lifecycle.offsite.split import split
from backbones.lifecycle.offsite.tune import adapter_of, tune
from backbones.lifecycle.offsite.ways import PLUGGED, Way, four_ways, interval, recovered
from backbones.pat.layers import pick_layers
from backbones.training.loop import Recipe
from backbones.training.tasks import finetune
from backbones.training.unlabelled import read_unlabelled
from benchmarks.studies.offsite_page import page


@dataclass(frozen=True)
class Candidate:
    """An emulator to try: bottom and top blocks, kept blocks of the middle, whether it is distilled."""

    bottom: int
    top: int
    keep: int
    distilled: bool

    @property
    def name(self) -> str:
        """What files and tables call it."""
        return f"{self.bottom}-{self.keep}-{self.top}{'-distilled' if self.distilled else ''}"


@dataclass(frozen=True)
class Part:
    """One half of the study; everything here was fixed before a test sample was scored."""

    name: str
    model: str
    candidates: tuple[Candidate, ...]
    layers: str
    recipe: Recipe
    head_rate: float
    full_rate: float
    distilling: Distilling
    unlabelled: int
    few: int
    held: int
    test: int
    pat: str = "lora"
    settings: dict[str, Any] = field(default_factory=lambda: {"roles": "qkv,proj,fc1,fc2"})
    image_size: int | None = None


PARTS = (
    Part(
        name="MiniLM on CLINC150",
        model="minilm",
        candidates=(Candidate(1, 2, 1, True),),
        layers="4-5",
        recipe=Recipe(epochs=3, batch=32, lr=1e-3),
        head_rate=1.0,
        full_rate=0.05,
        distilling=Distilling(epochs=4, lr=1e-3),
        unlabelled=4000,
        few=40,
        held=3,
        test=30,
    ),
    Part(
        name="ViT-Ti on CIFAR-100",
        model="timm:vit_tiny_patch16_224",
        candidates=(Candidate(2, 3, 5, True),),
        layers="9-11",
        recipe=Recipe(epochs=3, batch=32, lr=1e-3),
        head_rate=1.0,
        full_rate=0.05,
        distilling=Distilling(epochs=5, lr=1e-3),
        unlabelled=5000,
        few=25,
        held=3,
        test=15,
        image_size=160,
    ),
)


@dataclass(frozen=True)
class Setting:
    """A part with its model and data."""

    part: Part
    load: Callable[[], Backbone]
    full: Backbone
    task: Task
    held: Labelled
    unlabelled: Callable[[], Sequence[Any]]
    folder: Path

    def lower(self) -> Lower:
        """Return what remembers the activations below the adapter."""
        return Lower(pick_layers(self.part.layers, self.full.depth)[0])


def prepare(part: Part, args: argparse.Namespace) -> Setting | None:
    """Load what a part needs, None where its data were not named."""
    text = part.image_size is None
    root = args.clinc if text else args.cifar
    if root is None:
        return None
    options = LoadOptions(weights=None if text else args.weights, image_size=part.image_size)
    data = read_task("split-clinc150" if text else None, str(root), test=part.test, seed=args.seed)
    train, held = few_and_held(data.train, part.few, part.held, args.seed)

    def drawn() -> Sequence[Any]:  # read when a distillation needs it
        if text:
            return questions(args.banking, part.unlabelled, args.seed)
        return read_unlabelled(args.tiny, "image", part.unlabelled, args.seed)

    folder = args.out / ("text" if text else "vision")

    def load() -> Backbone:
        return load_backbone(part.model, options)

    return Setting(part, load, load(), Task(data.name, train, data.test), held, drawn, folder)


def few_and_held(train: Labelled, few: int, held: int, seed: int) -> tuple[Labelled, Labelled]:
    """Return ``few`` samples of each class to tune on and ``held`` others of each to choose by."""
    both = train.few(few + held, seed)
    return both.split(held / (few + held), seed)


def questions(path: Path | None, count: int, seed: int) -> Sequence[str]:
    """Return questions of Banking77 without their intents."""
    if path is None:
        raise FrostlineError("the emulator is distilled on Banking77; pass its file with --banking.")
    found = read_task("split-banking77", str(path)).train.samples
    rows = numpy_generator(seed, "questions").permutation(len(found))[:count]
    return [found[int(row)] for row in rows]


def make_export(setting: Setting, candidate: Candidate) -> Export:
    """Return the export of a candidate, split off unless it is there."""
    part, out = setting.part, setting.folder / candidate.name / "export"
    if not out.exists():
        layout = Layout.of(setting.full.depth, candidate.bottom, candidate.top, candidate.keep)
        data = setting.unlabelled() if candidate.distilled else None
        split(setting.full, layout, out, base=part.model, data=data, recipe=part.distilling, say=told)
    return read_export(out)


def choose(setting: Setting, lower: Lower) -> tuple[Candidate, dict[str, Any]]:
    """Return the candidate whose plug-in does best on held-out samples, and the held-out scores of all."""
    part, scores = setting.part, dict[str, Any]()
    for candidate in part.candidates:
        place = setting.folder / candidate.name
        if not (place / "held.json").exists():
            export, adapter = make_export(setting, candidate), place / "adapter"
            if not adapter.exists():
                tune(
                    export, setting.task.train, adapter, part.recipe, pat=part.pat, settings=part.settings,
                    layers=part.layers, head_rate=part.head_rate, test=setting.held, say=told,
                )  # fmt: skip
            facts, head = read_adapter(adapter)
            delta = put_on(adapter, facts, setting.full)
            features = lower.features(setting.full, setting.held, delta, "held-out")
            delta.detach()
            right = head(features).argmax(dim=1).numpy() == setting.held.labels
            write_json(place / "held.json", {**facts.figures, PLUGGED: float(right.mean())})
        scores[candidate.name] = json.loads((place / "held.json").read_text())
        told(f"{part.name}, {candidate.name}, held-out: {scores[candidate.name]}")
    best = max(part.candidates, key=lambda candidate: float(scores[candidate.name][PLUGGED]))
    return best, scores


def table(setting: Setting, best: Candidate, lower: Lower, fully: bool) -> dict[str, Way]:
    """Return the final table, with full fine-tuning or without; rows that were made before are read."""
    place = setting.folder / best.name
    known: dict[str, Way] = {}
    for path in sorted((setting.folder / "rows").glob("*.json")):
        said = json.loads(path.read_text())
        known[said["name"]] = Way(**said, hits=np.load(path.with_suffix(".npy"), allow_pickle=False))

    def tell(way: Way) -> None:
        stem = setting.folder / "rows" / way.name.replace(", ", "-").replace(" ", "-")
        stem.parent.mkdir(parents=True, exist_ok=True)
        assert way.hits is not None
        np.save(stem.with_suffix(".npy"), way.hits)
        write_json(stem.with_suffix(".json"), way.said())
        told(f"{setting.part.name}: {way.said()}")

    export = make_export(setting, best)
    return four_ways(
        setting.full, export, place / "adapter", setting.task, full_rate=setting.part.full_rate, lower=lower,
        fully=fully, known=known, tell=tell, say=told,
    )  # fmt: skip


def costs(setting: Setting, best: Candidate, rounds: int = 3) -> dict[str, float]:
    """Return processor seconds of one training step, the least of some, taken in turn: emulator, full model, all of it.

    The adapter sits in all of bottom and top here, so that every block runs forward and backward.
    """
    path = setting.folder / "costs.json"
    if path.exists():
        return dict(json.loads(path.read_text()))
    part, export = setting.part, make_export(setting, best)
    some = setting.task.train.take(range(min(2 * part.recipe.batch, len(setting.task.train))))
    recipe = Recipe(steps=1, batch=part.recipe.batch, lr=1e-6)
    adapter = adapter_of(export.layout, part.pat, part.settings, None)
    full = setting.load()  # its own: full fine-tuning changes it
    found: dict[str, list[float]] = {}

    def timed(name: str, run: Callable[[], Any]) -> None:
        began = time.process_time()
        run()
        found.setdefault(name, []).append(time.process_time() - began)

    for _ in range(rounds):
        for name, backbone in (("emulator", export.emulator), ("full model", full)):
            delta = adapter.grow(backbone, 0)
            timed(name, lambda b=backbone, d=delta: finetune(b, some, recipe, delta=d))  # type: ignore[misc]
            delta.detach()
        timed("full fine-tuning", lambda: finetune(full, some, recipe, full=True))
    least = {name: min(each) for name, each in found.items()}
    write_json(path, least)
    return least


def run(setting: Setting, fully: bool) -> dict[str, Any]:
    """Run a part, with full fine-tuning or up to it; returns all that its page says, JSON types only."""
    lower = setting.lower()
    best, scores = choose(setting, lower)
    ways = table(setting, best, lower, fully)
    export = make_export(setting, best)
    facts, _ = read_adapter(setting.folder / best.name / "adapter")
    part, layout = setting.part, export.layout
    return {
        "name": part.name,
        "model": part.model,
        "image_size": part.image_size,
        "chosen": best.name,
        "candidates": scores,
        "layout": layout.model_dump(),
        "given": written(layout.given),
        "withheld": written(layout.withheld),
        "distilled": export.facts.distilled,
        "file_bytes": export.facts.file_bytes,
        "full_bytes": export.facts.full_bytes,
        "search": export.facts.search,
        "adapter": {"pat": part.pat, "layers": part.layers, "trained": facts.trained, "recipe": facts.recipe},
        "full_rate": part.full_rate,
        "samples": {"train": len(setting.task.train), "held": len(setting.held), "test": len(setting.task.test)},
        "few": part.few,
        "ways": [way.said() for way in ways.values()],
        "recovered": {by: [recovered(ways, by), *interval(ways, by)] for by in ("kept", "means")},
        "costs": costs(setting, best),
    }


def told(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clinc", type=Path, help="CLINC150, data_full.json; leave out for images alone")
    parser.add_argument("--banking", type=Path, help="Banking77, for distilling on its questions")
    parser.add_argument("--cifar", type=Path, help="CIFAR-100 as class folders; leave out for text alone")
    parser.add_argument("--weights", type=Path, help="of timm's vit_tiny_patch16_224; leave out to download")
    parser.add_argument("--tiny", type=Path, help="folder of images of Tiny-ImageNet, for distilling")
    parser.add_argument("--skip-full", action="store_true", help="leave full fine-tuning out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(words)
    settings = [setting for part in PARTS if (setting := prepare(part, args)) is not None]
    for fully in (False, True)[: 1 if args.skip_full else 2]:  # what matters most, of all parts, first
        found = {setting.part.name: run(setting, fully) for setting in settings}
        write_json(args.out / "offsite.json", found)
        write_text(args.out / "offsite.md", page(found))
    print((args.out / "offsite.md").read_text())


if __name__ == "__main__":
    main()
