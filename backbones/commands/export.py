"""``backbone export``: a deployable artefact, verified by running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backbones.commands.shared import (
    BenchmarkOption,
    DataRootOption,
    ImageSizeOption,
    ModelArgument,
    OutOption,
    SeedOption,
    TestOption,
    TrainOption,
    WeightsOption,
    check_data,
)
from backbones.core.outputs import guard_folder
from backbones.lifecycle.export.formats import check_extra

if TYPE_CHECKING:
    from backbones.base import Backbone
    from backbones.cli_view import Screen
    from backbones.core.labelled import Task
    from backbones.page import Table

MODEL = "model"
FormatOption = Annotated[str, typer.Option("--format", help="onnx, torch-export or int8 (ONNX, linear layers in int8)")]


def export(
    model: ModelArgument,
    out: OutOption,
    kind: FormatOption = "onnx",
    benchmark: BenchmarkOption = None,
    data_root: DataRootOption = None,
    train: TrainOption = None,
    test: TestOption = None,
    weights: WeightsOption = None,
    image_size: ImageSizeOption = None,
    batch: Annotated[int, typer.Option(help="samples of a timed batch", min=2)] = 8,
    rounds: Annotated[int, typer.Option(help="times each side is timed", min=1)] = 7,
    threads: Annotated[int, typer.Option(help="of both sides", min=1)] = 1,
    device: Annotated[str, typer.Option(help="of the accuracy of MODEL; files are made and timed on the CPU")] = "auto",
    seed: SeedOption = 0,
) -> None:
    """Write MODEL for deployment into OUT/model, run it, and compare features, time and (with data) accuracy."""
    guard_folder(out, [data_root])
    check_extra(kind)
    check_data(benchmark, data_root)
    import torch

    from backbones.commands.shared import load, read_task, screen
    from backbones.core.launch import pick_device
    from backbones.lifecycle.export.artefact import export as export_
    from backbones.lifecycle.export.artefact import load_exported
    from backbones.lifecycle.export.probe import made_up
    from backbones.page import Prose, write_page

    place = pick_device(device)
    torch.set_num_threads(threads)
    with screen() as shown:
        task = None
        if benchmark or data_root:
            task = read_task(benchmark, data_root, train=train, test=test, seed=seed, progress=shown.progress)
        backbone = load(model, weights, image_size, device="cpu")
        samples = task.train.raw(range(min(batch, len(task.train)))) if task is not None else made_up(backbone, batch)
        shown.say(_estimate(backbone, samples, rounds, task))
        found = export_(backbone, kind, out / MODEL, samples, threads=threads, progress=shown.progress)
        run = load_exported(out / MODEL, threads)
        tables = [_speeds(backbone, run, samples, rounds, found, shown)]
        if task is not None:
            backbone.to(place)
            tables.append(_accuracies(backbone, run, task, shown))
        for table in tables:
            shown.table(table)
        facts = {"model": model, "format": kind, "bytes": found.size, "difference": found.difference,
                 "cosine": found.cosine, "threads": threads, "batch": len(samples)}  # fmt: skip
        page = write_page(out, f"{model} as {kind}", f"{found.size:,} bytes", [*tables, Prose(READING)], facts)
        shown.say(f"written to {found.folder}; page: {page}")


READING = (
    "Both sides are timed in turn in one process; speed is the ratio of the two times within a round: median (lowest "
    "to highest). Difference: largest difference of a feature, relative to the largest feature. Int8 puts what enters "
    "a linear layer on 8 bits by its range in the batch at hand, so that a sample's features depend a little on the "
    "samples beside it."
)


def _estimate(backbone: Backbone, samples: Any, rounds: int, task: Task | None) -> str:
    """Say how long what follows the export takes, from the time of one batch."""
    import time

    from backbones.encoder import Encoder
    from backbones.training.loop import duration

    began = time.perf_counter()
    Encoder(backbone, precision="fp32", chunk=len(samples)).features(samples)
    each = (time.perf_counter() - began) / len(samples)
    count = 2 * (rounds + 2) * len(samples) + (2 * (len(task.train) + len(task.test)) if task is not None else 0)
    return f"after the export itself, comparing and timing take about {duration(each * count)}"


def _speeds(backbone: Backbone, run: Any, samples: Any, rounds: int, found: Any, shown: Screen) -> Table:
    import torch

    from backbones.page import Table
    from backbones.training.timing import compare_speed

    ready = backbone.preprocessing(samples)

    def dense() -> None:
        with torch.inference_mode():
            backbone.features(ready)

    speeds = compare_speed({"torch float32": dense, found.kind: lambda: run(ready)}, rounds, shown.progress)
    size = sum(tensor.numel() * tensor.element_size() for tensor in backbone.frozen_state().values())
    sizes = {"torch float32": size, found.kind: found.size}
    differences = {found.kind: (f"{found.difference:.1e}", f"{found.cosine:.5f}")}
    rows = [
        (name, f"{sizes[name] / 1e6:.3f}", f"{each.milliseconds:.4g}",
         f"{each.ratio[1]:.2f} ({each.ratio[0]:.2f} to {each.ratio[2]:.2f})", *differences.get(name, ("", "")))
        for name, each in speeds.items()
    ]  # fmt: skip
    header = ("form", "MB", f"ms a batch of {len(samples)}", "speed", "difference", "cosine")
    return Table(header, rows, "Size and speed")


def _accuracies(backbone: Backbone, run: Any, task: Task, shown: Screen) -> Table:
    from backbones.lifecycle.compress.measure import Judge
    from backbones.lifecycle.export.artefact import features_of
    from backbones.page import Table

    judge = Judge(backbone, task, progress=shown.progress)
    parts = [features_of(run, backbone, part.samples, shown.progress) for part in (task.train, task.test)]
    pairs = {"torch float32": judge.judge(backbone, "dense"), "export": judge.judge_features(parts[0], parts[1])}
    rows = [
        (name, f"{each.linear:.1%}", f"{each.kept:.1%}", f"{each.ncm:.1%}", f"{each.agreed:.1%}")
        for name, each in pairs.items()
    ]
    return Table(("form", "linear", "kept head", "NCM", "same answer"), rows, f"Accuracy on {task.name}")
