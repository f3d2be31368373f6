"""``backbone compress``: fewer bits, fewer weights, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backbones.commands.shared import (
    BenchmarkOption,
    DataRootOption,
    DeviceOption,
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

if TYPE_CHECKING:
    from backbones.cli_view import Screen
    from backbones.lifecycle.compress.run import Compressed

StoreOption = Annotated[
    Path | None, typer.Option(help="folder that keeps features, so that a run that was stopped loses little")
]


def compress(
    model: ModelArgument,
    out: OutOption,
    bits: Annotated[str, typer.Option(help="bits of a weight, such as 8,6,4,3; 32 for no grid")] = "8,6,4,3",
    sparsity: Annotated[str, typer.Option(help="shares of the weights to prune, such as 0,0.5,0.75")] = "0",
    benchmark: BenchmarkOption = None,
    data_root: DataRootOption = None,
    train: TrainOption = None,
    test: TestOption = None,
    weights: WeightsOption = None,
    image_size: ImageSizeOption = None,
    granularity: Annotated[str, typer.Option(help="what shares a scale: channel, tensor or group")] = "channel",
    group: Annotated[int, typer.Option(help="inputs in a group")] = 64,
    scales: Annotated[str, typer.Option(help="mse (searched) or minmax")] = "mse",
    rounding: Annotated[str | None, typer.Option(help="nearest or calibrated (default: calibrated with data)")] = None,
    embeddings: Annotated[bool, typer.Option("--embeddings", help="put tables of embeddings on the grid too")] = False,
    keep: Annotated[str, typer.Option(help="layers to leave as they are: patterns of paths, such as blocks.0.*")] = "",
    retrain: Annotated[
        str, typer.Option(help="after pruning: features (no labels needed), labels or none")
    ] = "features",
    rounds: Annotated[int, typer.Option(help="of pruning and retraining for each sparsity")] = 2,
    steps: Annotated[int, typer.Option(help="of retraining in a round")] = 100,
    batch: Annotated[int, typer.Option(help="samples a step of retraining")] = 16,
    lr: Annotated[float, typer.Option(help="peak rate of retraining")] = 2e-4,
    recover: Annotated[int, typer.Option(help="steps in which biases and norms learn the dense features again")] = 0,
    within: Annotated[float, typer.Option(help="points of accuracy that the model written may lose")] = 1.0,
    store: StoreOption = None,
    threads: Annotated[int, typer.Option(help="of the computation; latencies are those of so many", min=1)] = 1,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
) -> None:
    """Quantise and prune MODEL; write the frontier, and the smallest model that loses little.

    OUT/model is an ordinary backbone with the compressed weights, OUT/packed holds the same weights in few bytes.
    """
    guard_folder(out, [data_root])
    check_data(benchmark, data_root)
    shares = {"bits": _numbers(bits, "bits"), "sparsity": _numbers(sparsity, "sparsity")}
    import torch

    from backbones.commands.shared import load, screen, task_for
    from backbones.lifecycle.compress.plan import Plan
    from backbones.lifecycle.compress.run import compress as compress_

    values = {
        **shares, "granularity": granularity,
        "group": group, "scales": scales, "rounding": rounding, "embeddings": embeddings,
        "keep": [word.strip() for word in keep.split(",") if word.strip()], "retrain": retrain, "rounds": rounds,
        "recover": recover, "recipe": {"steps": steps, "batch": batch, "lr": lr, "seed": seed},
    }  # fmt: skip
    plan = Plan.parse(values, "compression")
    torch.set_num_threads(threads)
    with screen() as shown:
        backbone = load(model, weights, image_size, device=device)
        task = task_for(backbone, benchmark, data_root, train=train, test=test, seed=seed, progress=shown.progress)
        found = compress_(
            backbone, out, plan, task=task, allowed=within / 100, store=store, progress=shown.progress, say=shown.say
        )
        data = {"data": task.name, "training": len(task.train), "test": len(task.test)} if task is not None else {}
        facts = {"model": model, **data, "threads": threads, "seed": seed, "plan": plan.model_dump(mode="json")}
        _tell(found, out, facts, within, shown)


def _tell(found: Compressed, out: Path, facts: dict[str, Any], within: float, shown: Screen) -> None:
    """Show the frontier and write its page."""
    from backbones.lifecycle.compress.report import facts_of, parts_of, short_table
    from backbones.lifecycle.compress.run import FOLDER
    from backbones.page import write_page

    frontier = found.frontier
    shown.table(short_table(frontier))
    verdict = f"chosen: {frontier.chosen.name}, {found.packed_bytes:,} bytes packed"
    if not frontier.within:
        verdict += f"; no point loses at most {within:g} points, this one loses least"
    title = f"{facts['model']}, compressed"
    page = write_page(out, title, verdict, parts_of(frontier), {**facts, **facts_of(frontier)})
    shown.say(verdict)
    shown.say(f"written to {found.saved.folder}; load it with: {found.saved.usage}")
    shown.say(f"packed in {out / FOLDER}; page: {page}")


def _numbers(text: str, what: str) -> list[float]:
    from backbones.core.errors import FrostlineError

    try:
        return [float(word) for word in text.split(",") if word.strip()]
    except ValueError:
        raise FrostlineError(f"--{what} {text!r}: pass numbers with commas between them, such as 8,4.") from None
