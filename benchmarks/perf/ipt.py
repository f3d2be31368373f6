"""How long IPT takes, and that an experience costs the same however many came before.

    python -m benchmarks.perf.ipt --out DIR [--features FILE.npz]

Without a file the features are random, 50,000 x 192 over 100 classes; with one (``x`` (n, width), ``y`` (n,)) those.
The baseline replays every stored prototype in each step, in the same process on the same features. Writes
ipt-speed.md, ipt-speed.json and ipt-speed.png. CPU seconds are given beside wall seconds, since another process may
share the machine.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from backbones.core.artifacts import write_bytes, write_json, write_text
from backbones.core.seed import torch_generator
from continual.heads.ipt import Ipt

LENGTHS = (10, 20, 50, 100)
WINDOW = 5  # experiences whose median stands for one place of the curve


@dataclass(frozen=True)
class Timing:
    """Seconds of each experience of one stream."""

    name: str
    wall: list[float]
    cpu: list[float]

    def growth(self) -> float:
        """Last experiences over the first ones with replay, by medians of CPU seconds; the very first has none."""
        return statistics.median(self.cpu[-WINDOW:]) / statistics.median(self.cpu[1 : 1 + WINDOW])


def random_features(samples: int, width: int, classes: int) -> Tensor:
    """Return Gaussian classes: float32 (classes, samples of each, width)."""
    generator = torch_generator(0, "perf ipt")
    centres = torch.randn(classes, 1, width, generator=generator)
    return centres + torch.randn(classes, samples // classes, width, generator=generator)


def read_features(path: Path) -> Tensor:
    """Return the features of a file, as many of each class: float32 (classes, samples of each, width)."""
    with np.load(path, allow_pickle=False) as archive:
        x, y = archive["x"], archive["y"]
    size = int(np.bincount(y).min())
    return torch.from_numpy(np.stack([x[np.flatnonzero(y == label)[:size]] for label in np.unique(y)])).float()


def measure(features: Tensor, experiences: int, everything: bool = False) -> Timing:
    """Time one stream; ``everything`` replays all stored prototypes in each step."""
    settings = Ipt()
    head, wall, cpu = settings.build(0), [], []
    classes = len(features)
    bounds = np.linspace(0, classes, experiences + 1).astype(int)
    for start, end in pairwise(bounds):
        rows, labels = features[start:end].flatten(0, 1), torch.arange(start, end).repeat_interleave(features.shape[1])
        if everything:
            head.settings = settings.model_copy(update={"replay_size": max(1, len(head.bank_.owners))})
        clock, work = time.perf_counter(), time.process_time()
        head.partial_fit(rows, labels)
        wall.append(time.perf_counter() - clock)
        cpu.append(time.process_time() - work)
    return Timing(f"{'every prototype' if everything else 'ipt'}, {experiences} experiences", wall, cpu)


def render(timings: Sequence[Timing], shape: Sequence[int], threads: int) -> str:
    """Return the page."""
    lines = [
        "# Speed of IPT",
        "",
        f"{shape[0] * shape[1]} features of width {shape[2]} over {shape[0]} classes, {threads} threads, default "
        "settings.",
        "The head tunes in one thread whatever is allowed. Growth: last experiences over the first ones with replay",
        "(medians of five, CPU seconds). Rows replayed and steps are the same in every experience; what grows is the",
        "softmax, which has a column for each class seen, so streams of more experiences over the same classes cost",
        "the same. The baseline, in the same process, replays every stored prototype in each step.",
        "",
        "| stream | seconds (wall) | seconds (CPU) | CPU ms per experience, first with replay | last | growth |",
        "|---|---|---|---|---|---|",
    ]
    for timing in timings:
        first = 1000 * statistics.median(timing.cpu[1 : 1 + WINDOW])
        last = 1000 * statistics.median(timing.cpu[-WINDOW:])
        total = f"{sum(timing.wall):.1f} | {sum(timing.cpu):.1f}"
        lines.append(f"| {timing.name} | {total} | {first:.0f} | {last:.0f} | {timing.growth():.2f} |")
    return "\n".join(lines) + "\n\n![seconds per experience](ipt-speed.png)\n"


def draw(timings: Sequence[Timing]) -> bytes:
    """Return a PNG: CPU seconds of each experience."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for timing in timings:
        axes.plot(range(1, len(timing.cpu) + 1), timing.cpu, label=timing.name)
    axes.set(xlabel="experience", ylabel="CPU seconds of learning it", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, default=None)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    features = (
        read_features(options.features)
        if options.features
        else random_features(options.samples, options.width, options.classes)
    )
    measure(features[:4], 2)  # first calls set up libraries
    lengths = [length for length in LENGTHS if length <= len(features)]
    timings = [measure(features, length) for length in lengths]
    timings.append(measure(features, lengths[-1], everything=True))
    write_json(options.out / "ipt-speed.json", {"shape": list(features.shape), "timings": [asdict(t) for t in timings]})
    write_bytes(options.out / "ipt-speed.png", draw(timings[-2:]))
    write_text(options.out / "ipt-speed.md", render(timings, features.shape, options.threads))
    print((options.out / "ipt-speed.md").read_text())


if __name__ == "__main__":
    main()
