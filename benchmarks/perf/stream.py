"""How much the engine saves over encoding again: ``python -m benchmarks.perf.stream --data-root DIR --out DIR``.

The naive side does what LAMDA-PILOT does for class means on a frozen backbone: no store; after every experience all
seen test images are encoded again; fp32. Ours is the engine with an empty store, in the precision that ``auto`` picks.
Both run in this process, on the same images, with the same chunks; every figure is a ratio. CPU seconds are compared
beside wall seconds, since another process may share the machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from backbones.core.artifacts import write_json, write_text
from backbones.core.launch import pick_precision
from backbones.encoder import Encoder
from backbones.features import FeatureStore
from benchmarks.types import Stream
from continual.engine import HEAD, Engine, test_labels
from continual.figures_table import markdown
from continual.heads import HEADS
from continual.plan import Plan, prepare
from continual.settings import RunSettings
from continual.spent import peak_memory


@dataclass
class Side:
    """Wall seconds, CPU seconds, wall seconds inside backbone forwards, forwards and last accuracy of one side."""

    seconds: float
    cpu: float
    inside: float
    forwards: float
    accuracy: float


def naive(plan: Plan, streams: Sequence[Stream]) -> Side:
    """Encode training images once, and all seen test images after every experience, for every class order."""
    encoder = Encoder(plan.backbone, None, "fp32", plan.settings.chunk)
    began, cpu, accuracy = time.perf_counter(), time.process_time(), 0.0
    for stream in streams:
        head = HEADS.load("ncm")().build(0)
        for experience in stream.experiences:
            raw = [experience.train[i] for i in range(len(experience.train))]
            head.partial_fit(encoder.features(raw), torch.from_numpy(experience.train.labels))
            right = seen = 0
            for past in stream.experiences[: experience.index + 1]:
                found = head.predict(encoder.features([past.test[i] for i in range(len(past.test))])).numpy()
                right, seen = right + int((found == past.test.labels).sum()), seen + len(found)
            accuracy = right / seen
    spent = time.process_time() - cpu
    return Side(time.perf_counter() - began, spent, encoder.seconds, encoder.forwards, accuracy)


def ours(plan: Plan, streams: Sequence[Stream], precision: str, folder: Path) -> Side:
    """Run the engine from an empty store on disk."""
    store, began, cpu = FeatureStore(folder), time.perf_counter(), time.process_time()
    inside = forwards = accuracy = 0.0
    for stream in streams:
        engine = Engine(
            plan.backbone,
            plan.pat,
            HEADS.load("ncm")().build(0),
            store=store,
            precision=precision,
            chunk=plan.settings.chunk,
        )
        *_, last = engine.run(stream)
        engine.close()
        inside, forwards = inside + engine.encoder.seconds, forwards + engine.encoder.forwards
        accuracy = float((last.predictions[HEAD] == test_labels(stream)).mean())
    return Side(time.perf_counter() - began, time.process_time() - cpu, inside, forwards, accuracy)


def measure(plan: Plan) -> dict[str, float | str]:
    """Return the ratios of one and of three class orders."""
    three = [plan.stream(seed) for seed in (1993, 1994, 1995)]
    precision = pick_precision("auto", plan.backbone.device)
    warm = Encoder(plan.backbone, None, "fp32", plan.settings.chunk)
    warm.features([plan.dataset.train[i] for i in range(min(64, len(plan.dataset.train)))])
    found: dict[str, float | str] = {"precision of ours": precision}
    with tempfile.TemporaryDirectory() as folder:
        cold = ours(plan, three[:1], precision, Path(folder) / "one")
        together = ours(plan, three, precision, Path(folder) / "three")
    slow = naive(plan, three[:1])
    slow_three = naive(plan, three)
    rate = (slow.forwards / slow.inside) / (cold.forwards / cold.inside)
    found |= {
        "one order: naive / ours, wall time": slow.seconds / cold.seconds,
        "one order: naive / ours, CPU time": slow.cpu / cold.cpu,
        "one order: floor by forwards": slow.forwards / cold.forwards,
        "three orders: naive / ours, wall time": slow_three.seconds / together.seconds,
        "three orders: naive / ours, CPU time": slow_three.cpu / together.cpu,
        "three orders: floor by forwards": slow_three.forwards / together.forwards,
        "seconds per forward, ours / naive": rate,
        "share of a cold run inside forwards": cold.inside / cold.seconds,
        "A_last of ours minus naive (points)": 100 * (cold.accuracy - slow.accuracy),
        "peak memory (GiB)": peak_memory() / 2**30,
    }
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write stream.md and stream.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", default="split-cifar100")
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--backbone", default="bundled:vit-micro")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--shots", type=int, default=None, help="training images per class")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    values = {key: value for key, value in vars(args).items() if value is not None and key != "out"}
    plan = prepare(RunSettings.parse({**values, "reference": False}, "the measurement"))
    found = measure(plan)
    shown = [(name, value if isinstance(value, str) else f"{value:.3f}") for name, value in found.items()]
    sizes = f"{len(plan.dataset.test)} test images, {args.shots or 'all'} training images per class"
    text = "# The engine and its store against encoding again\n\n"
    command = f"python -m benchmarks.perf.stream --benchmark {args.benchmark} --data-root DIR --backbone"
    text += f"    {command} {args.backbone}\n\n"
    text += f"{sizes}, {plan.dataset.name}, {torch.get_num_threads()} threads.\n\n"
    text += markdown(("what", "value"), shown)
    write_json(
        args.out / "stream.json", {k: v if isinstance(v, str) else float(np.round(v, 4)) for k, v in found.items()}
    )
    write_text(args.out / "stream.md", text)
    print(text)


if __name__ == "__main__":
    main()
