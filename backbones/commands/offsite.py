"""``backbone offsite``: an owner splits a model, a tuner tunes an adapter without it, the owner plugs it in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
    check_paths,
)
from backbones.core.outputs import guard_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backbones.page import Part

app = typer.Typer(
    no_args_is_help=True,
    help="Tune a model whose owner does not hand it over: the owner splits it into an emulator and blocks for an "
    "adapter, the tuner tunes the adapter on the emulator, the owner plugs it into the full model.",
)


@app.command()
def split(
    model: ModelArgument,
    out: OutOption,
    bottom: Annotated[int, typer.Option(help="lowest blocks, handed over for the adapter", min=0)] = 2,
    top: Annotated[int, typer.Option(help="highest blocks, handed over for the adapter", min=0)] = 2,
    keep: Annotated[int, typer.Option(help="blocks of the middle that the emulator keeps", min=1)] = 1,
    distil: Annotated[
        Path | None, typer.Option(help="distil the emulator on this: text (.txt, .gz, .xz) or a folder of images")
    ] = None,
    samples: Annotated[int, typer.Option(help="sentences or images to distil on, at most", min=1)] = 2000,
    epochs: Annotated[float, typer.Option(help="passes over them")] = 2.0,
    lr: Annotated[float, typer.Option(help="peak rate of the distillation")] = 5e-4,
    batch: Annotated[int, typer.Option(help="samples a step", min=1)] = 32,
    weights: WeightsOption = None,
    image_size: ImageSizeOption = None,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
) -> None:
    """For the owner of MODEL: write OUT/model, which may be handed over, after a search for what is withheld."""
    guard_folder(out, [distil])
    check_paths([distil] if distil is not None else [])
    from backbones.commands.shared import load, screen
    from backbones.lifecycle.offsite.layout import Layout
    from backbones.lifecycle.offsite.middle import Distilling
    from backbones.lifecycle.offsite.pages import split_page
    from backbones.lifecycle.offsite.split import split as split_

    full = load(model, weights, image_size, device=device)
    layout = Layout.of(full.depth, bottom, top, keep)
    values = {"epochs": epochs, "lr": lr, "batch": batch, "seed": seed}
    recipe = Distilling.parse(values, "the distillation")
    with screen() as shown:
        data = None if distil is None else _unlabelled(distil, full.modality, samples, seed)
        found = split_(
            full, layout, out / "model", base=model, data=data, recipe=recipe, progress=shown.progress, say=shown.say
        )
        title, lead, parts, facts = split_page(found, model)
        _show(shown, out, title, lead, parts, facts)
        shown.say(f"hand over {found.folder}; it is an ordinary backbone too: {found.usage}")


@app.command()
def tune(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="what the owner handed over")],
    out: OutOption,
    pat: Annotated[str | None, typer.Option(help="a PAT or a stack as the adapter: cil-run --list pats")] = None,
    adapter: Annotated[str | None, typer.Option(help="or 'layers': the own weights of the blocks")] = None,
    pat_layers: Annotated[
        str | None, typer.Option(help="blocks of bottom and top, numbered as in the full model (default: all of them)")
    ] = None,
    pat_set: Annotated[list[str] | None, typer.Option(help="setting of the PAT, key=value; may be repeated")] = None,
    benchmark: BenchmarkOption = None,
    data_root: DataRootOption = None,
    train: TrainOption = None,
    test: TestOption = None,
    epochs: Annotated[float, typer.Option(help="passes over the training samples")] = 5.0,
    lr: Annotated[float, typer.Option(help="peak rate of the adapter")] = 1e-3,
    head_rate: Annotated[float, typer.Option(help="factor on the rate of the head")] = 1.0,
    batch: Annotated[int, typer.Option(help="samples a step", min=1)] = 32,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
) -> None:
    """For the tuner: train an adapter and a head on what DIR holds, and write OUT/adapter for its owner."""
    guard_folder(out, [data_root])
    check_paths([folder])
    chosen = _adapter(pat, adapter)
    check_data(benchmark, data_root)
    from backbones.catalog import LoadOptions
    from backbones.commands.shared import read_task, screen
    from backbones.core.settings import parse_pairs
    from backbones.lifecycle.offsite.exported import read_export
    from backbones.lifecycle.offsite.pages import tune_page
    from backbones.lifecycle.offsite.tune import adapter_of
    from backbones.lifecycle.offsite.tune import tune as tune_
    from backbones.training.loop import Recipe

    settings = parse_pairs(pat_set or [], "--pat-set")
    recipe = Recipe.parse({"epochs": epochs, "lr": lr, "batch": batch, "seed": seed}, "the recipe")
    with screen() as shown:
        export = read_export(folder, LoadOptions(device=device))
        adapter_of(export.layout, chosen, settings, pat_layers)  # refused before any data are read
        task = read_task(benchmark, data_root, train=train, test=test, seed=seed, progress=shown.progress)
        found = tune_(
            export, task.train, out / "adapter", recipe, pat=chosen, settings=settings, layers=pat_layers,
            head_rate=head_rate, test=task.test, checkpoint=_checkpoint(out), progress=shown.progress, say=shown.say,
        )  # fmt: skip
        title, lead, parts, facts = tune_page(found, task.name)
        _show(shown, out, title, lead, parts, facts)
        shown.say(f"send {found.folder} to the owner of {found.facts.base}")


@app.command()
def plug(
    model: ModelArgument,
    adapter: Annotated[Path, typer.Argument(help="folder that the tuner sent: OUT/adapter of tune")],
    out: OutOption,
    head: Annotated[str, typer.Option(help="keep the head of the emulator, or refit class means to the data")] = "keep",
    against_full: Annotated[
        Path | None, typer.Option(metavar="DIR", help="the export too: tune the full model as well and compare all")
    ] = None,
    benchmark: BenchmarkOption = None,
    data_root: DataRootOption = None,
    train: TrainOption = None,
    test: TestOption = None,
    weights: WeightsOption = None,
    image_size: ImageSizeOption = None,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
) -> None:
    """For the owner of MODEL: put an adapter into it and write the result, OUT/model where it can be folded in."""
    guard_folder(out, [data_root])
    how = _head(head)
    check_paths([adapter, *([against_full] if against_full is not None else [])])
    check_data(benchmark, data_root)
    from backbones.catalog import LoadOptions
    from backbones.commands.shared import load, read_task, screen
    from backbones.core.errors import FrostlineError
    from backbones.lifecycle.offsite.exported import read_adapter, read_export
    from backbones.lifecycle.offsite.pages import plug_page
    from backbones.lifecycle.offsite.plug import plug as plug_
    from backbones.lifecycle.offsite.ways import four_ways

    read_adapter(adapter)
    if (how == "refit" or against_full is not None) and benchmark is None and data_root is None:
        raise FrostlineError("--head refit and --against-full need labelled data; pass --data-root or --benchmark.")
    full = load(model, weights, image_size, device=device)
    with screen() as shown:
        named = benchmark is not None or data_root is not None
        task = None
        if named:
            task = read_task(benchmark, data_root, train=train, test=test, seed=seed, progress=shown.progress)
        pair = (None, None) if task is None else (task.train, task.test)
        found = plug_(full, adapter, out, head=how, data=pair[0], test=pair[1], progress=shown.progress)
        ways = {}
        if against_full is not None and task is not None:
            export = read_export(against_full, LoadOptions(device=device))
            ways = four_ways(full, export, adapter, task, progress=shown.progress, say=shown.say)
        title, lead, parts, facts = plug_page(found, model, ways)
        _show(shown, out, title, lead, parts, facts)
        shown.say(f"written to {found.folder}; load it with: {found.usage}")


def _unlabelled(place: Path, modality: str, samples: int, seed: int) -> Sequence[object]:
    from backbones.training.unlabelled import read_unlabelled

    return read_unlabelled(place, modality, samples, seed)


def _adapter(pat: str | None, adapter: str | None) -> str | None:
    """Return the PAT, None for the blocks' own weights; raises FrostlineError unless exactly one is named."""
    from backbones.core.errors import FrostlineError, unknown

    if adapter is not None and adapter != "layers":
        raise unknown("adapter", adapter, ["layers"])
    if (pat is None) == (adapter is None):
        raise FrostlineError(
            f"--pat {pat} and --adapter {adapter}: name one of them, such as --pat lora, or --adapter layers for the "
            "blocks' own weights."
        )
    return pat


def _head(word: str) -> Literal["keep", "refit"]:
    from backbones.core.errors import unknown

    if word not in ("keep", "refit"):
        raise unknown("way with the head", word, ["keep", "refit"])
    return "keep" if word == "keep" else "refit"


def _checkpoint(out: Path) -> Path:
    """Return where an unfinished training is kept: beside the folder that does not exist yet."""
    return out.with_name(f".{out.name}.training.safetensors")


def _show(shown: object, out: Path, title: str, lead: str, parts: Sequence[Part], facts: dict[str, object]) -> None:
    from backbones.cli_view import Screen
    from backbones.page import Table, write_page

    assert isinstance(shown, Screen)
    for part in parts:
        if isinstance(part, Table):
            shown.table(part)
    shown.say(f"page: {write_page(out, title, lead, parts, facts)}")
