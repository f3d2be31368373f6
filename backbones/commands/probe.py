"""``backbone probe``: what backbones know, layer by layer, before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backbones.commands.shared import (
    BenchmarkOption,
    DataRootOption,
    DeviceOption,
    OutOption,
    SeedOption,
    check_data,
    check_paths,
)
from backbones.core.outputs import guard_folder

if TYPE_CHECKING:
    from backbones.analysis.study import Study, Subject
    from backbones.cli_view import Screen
    from backbones.core.labelled import Labelled
    from backbones.training.loop import Recipe

WHAT = "parts, such as layers,mdl,spans,pairs,cloze,curve (default: what the data given allow, without curve)"
VOLUMES = "what each backbone has seen in pre-training, such as 1e5,3e5,1e6 (default: as their folders say)"
WEIGHTS = "local weights of a timm backbone, as NAME=FILE.safetensors; repeatable"
SAMPLES = 5000  # of training data at most where nothing else is said: minutes, not hours


def probe(
    models: Annotated[list[str], typer.Argument(help="backbones, see cil-run --list backbones; checkpoints in order")],
    out: OutOption,
    benchmark: BenchmarkOption = None,
    data_root: DataRootOption = None,
    what: Annotated[str | None, typer.Option(help=WHAT)] = None,
    train: Annotated[
        int | None, typer.Option(min=2, help=f"training samples of each class (default: {SAMPLES} of all together)")
    ] = None,
    held_out: Annotated[float, typer.Option(help="share of the training data to judge by")] = 0.2,
    spans: Annotated[Path | None, typer.Option(help="labelled spans, JSON lines of edge probing")] = None,
    pairs: Annotated[Path | None, typer.Option(help="minimal pairs: BLiMP's JSON lines, or JSON of paradigms")] = None,
    pairs_each: Annotated[int, typer.Option(min=1, help="pairs of each paradigm")] = 100,
    cloze: Annotated[Path | None, typer.Option(help="cloze questions, JSON lines with sentence and answer")] = None,
    finetune: Annotated[int | None, typer.Option(min=1, help="steps of full fine-tuning, for the part curve")] = None,
    lr: Annotated[float, typer.Option(help="peak rate of full fine-tuning")] = 5e-5,
    volumes: Annotated[str | None, typer.Option(help=VOLUMES)] = None,
    weights: Annotated[list[str] | None, typer.Option(help=WEIGHTS)] = None,
    image_size: Annotated[int | None, typer.Option(help="side of the input in pixels", min=1)] = None,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
) -> None:
    """Tell which backbone and which layer suits your data, and what checkpoints have learned.

    Labelled data are divided into rows to learn from and rows to judge by; test data are never touched.
    """
    guard_folder(out, [data_root])
    parts = _parts(what, labelled=bool(benchmark or data_root), spans=spans, pairs=pairs, cloze=cloze)
    check_data(benchmark, data_root)
    check_paths(path for path in (spans, pairs, cloze) if path is not None)
    from backbones.analysis.cloze import read_cloze
    from backbones.analysis.pair_files import equal_pairs, read_pairs
    from backbones.analysis.probe_page import facts_of, parts_of
    from backbones.analysis.spans import read_edges
    from backbones.analysis.study import Wanted, run_study
    from backbones.commands.shared import screen
    from backbones.page import write_page

    with screen() as shown:
        files = _weights_of(models, weights or [])
        subjects = _subjects(models, files, image_size, volumes, device)
        recipe = _recipe(parts, finetune, lr, seed)
        known, held, data = _labelled(parts, benchmark, data_root, train, held_out, seed, shown)
        chosen = read_pairs(pairs, pairs_each, seed) if pairs is not None else None
        if chosen is not None and (same := equal_pairs(chosen)):
            shown.say(
                f"{same} of {sum(map(len, chosen.values()))} pairs have the same sentence twice: ties, one half each"
            )
        wanted = Wanted(
            known=known,
            held=held,
            layers="layers" in parts,
            mdl="mdl" in parts,
            curve="curve" in parts,
            recipe=recipe,
            edges=read_edges(spans) if spans is not None else None,
            pairs=chosen,
            cloze=read_cloze(cloze) if cloze is not None else None,
            unit=_unit(subjects, shown),
            device=device,
            seed=seed,
        )
        study = run_study(subjects, wanted, progress=shown.progress, say=shown.say)
        facts = {"parts": sorted(parts), "seed": seed, **data, **facts_of(study)}
        lead = (
            f"{len(models)} backbone{'s' * (len(models) > 1)}, frozen; nothing was trained but probes on what they say."
        )
        page = write_page(out, "What backbones know", lead, parts_of(study), facts)
        _show(study, shown, _words(study, data.get("data"), data_root, files, image_size))
        shown.say(f"written to {page}")


def _parts(what: str | None, *, labelled: bool, **files: Path | None) -> set[str]:
    from backbones.core.errors import FrostlineError, unknown

    given = {name for name, file in files.items() if file is not None}
    if what is None:
        chosen = given | ({"layers", "mdl"} if labelled else set())
        if not chosen:
            raise FrostlineError(
                "there is nothing to probe with: pass labelled data (--benchmark, --data-root), or --spans, --pairs or "
                "--cloze with a file."
            )
        return chosen
    from backbones.analysis.study import PARTS

    chosen = {word for word in (word.strip() for word in what.split(",")) if word}
    for word in sorted(chosen - set(PARTS)):
        raise unknown("part of a probe", word, PARTS)
    for name in sorted(chosen & set(files) - given):
        raise FrostlineError(f"the part {name!r} needs a file; pass --{name} FILE.")
    for name in sorted(given - chosen):
        raise FrostlineError(f"--{name} is given, but --what leaves {name!r} out; add it, or leave the file out.")
    if not chosen:
        raise FrostlineError(f"--what {what!r} names no part; known: {', '.join(PARTS)}.")
    return chosen | ({"layers"} if "mdl" in chosen and labelled else set())


def _weights_of(models: Sequence[str], words: Sequence[str]) -> dict[str, Path]:
    """Return the local weights of each backbone that has some."""
    from backbones.core.errors import FrostlineError, unknown

    files: dict[str, Path] = {}
    for word in words:
        name, sign, file = word.rpartition("=")
        if not sign and len(models) > 1:
            raise FrostlineError(f"--weights {word!r}: with several backbones write NAME=FILE.")
        if sign and name not in models:
            raise unknown("backbone in --weights", name, models)
        files[name if sign else models[0]] = Path(file)
    return files


def _subjects(
    models: Sequence[str], files: Mapping[str, Path], size: int | None, volumes: str | None, device: str
) -> list[Subject]:
    from functools import partial

    from backbones.analysis.study import Subject
    from backbones.analysis.volumes import parse_volumes, read_volume
    from backbones.catalog import LoadOptions, load_backbone
    from backbones.core.errors import FrostlineError

    twice = sorted({name for name in models if list(models).count(name) > 1})
    if twice:
        raise FrostlineError(f"backbone {twice[0]!r} is named twice; name each once.")
    seen: list[float | None] = [None] * len(models)
    if volumes is not None:
        seen = list(parse_volumes(volumes, len(models)))
    elif len(models) > 1:
        seen = [None if found is None else found[0] for found in map(read_volume, models)]
    made = []
    for name, volume in zip(models, seen, strict=True):
        options = LoadOptions(weights=files.get(name), image_size=size, device=device)
        made.append(Subject(name, partial(load_backbone, name, options), volume))
    return made


def _unit(subjects: Sequence[Subject], shown: Screen) -> str:
    """Return what volumes count; says so where some backbones have one and others do not."""
    from backbones.analysis.volumes import read_volume

    silent = [subject.name for subject in subjects if subject.volume is None]
    if silent and len(silent) < len(subjects):
        shown.say(f"no learning curves: {silent[0]} does not say what it has seen in pre-training; pass --volumes")
    units = {found[1] for found in (read_volume(subject.name) for subject in subjects) if found is not None}
    return units.pop() if len(units) == 1 else "words"


def _recipe(parts: set[str], steps: int | None, lr: float, seed: int) -> Recipe | None:
    from backbones.core.errors import FrostlineError
    from backbones.training.loop import Recipe

    if steps is None:
        return None
    if "curve" not in parts:
        raise FrostlineError("--finetune draws a curve of fine-tuning; add curve to --what, or leave --finetune out.")
    return Recipe.parse({"steps": steps, "lr": lr, "seed": seed}, "fine-tuning")


def _labelled(
    parts: set[str],
    benchmark: str | None,
    data_root: str | None,
    train: int | None,
    held_out: float,
    seed: int,
    shown: Screen,
) -> tuple[Labelled | None, Labelled | None, dict[str, Any]]:
    """Return rows to learn from, rows to judge by, and what the page says of them; None where no part needs any."""
    from backbones.analysis.ranking import divide
    from backbones.commands.shared import read_task

    if not parts & {"layers", "curve"}:
        return None, None, {}
    task = read_task(benchmark, data_root, seed=seed, progress=shown.progress)
    each = train if train is not None else max(2, SAMPLES // len(task.train.classes))
    data = task.train.few(each, seed)
    known, held = divide(data, held_out, seed)
    cut = f" of {len(task.train)}" if len(data) < len(task.train) else ""
    shown.say(
        f"{task.name}: {len(data)}{cut} training samples of {len(data.classes)} classes, {len(known)} to learn from, "
        f"{len(held)} to judge by"
    )
    name = benchmark or task.name
    return known, held, {"data": name, "learned from": len(known), "judged by": len(held)}


def _words(
    study: Study, benchmark: str | None, data_root: str | None, files: Mapping[str, Path], size: int | None
) -> list[str]:
    """Return the command line that follows from a study; empty without advice."""
    if study.advice is None:
        return []
    words = ["cil-run", "--backbone", study.advice.backbone, *study.advice.options]
    given = {
        "--weights": files.get(study.advice.backbone),
        "--image-size": size,
        "--benchmark": benchmark,
        "--data-root": data_root,
    }
    return words + [word for key, value in given.items() if value is not None for word in (key, str(value))]


def _show(study: Study, shown: Screen, words: list[str]) -> None:
    """Print the tables, and at the end what to do with them."""
    from shlex import join

    from backbones.analysis.probe_page import SHOWN, cloze_table, curves_table, pairs_table, ranking_table

    if study.advice is not None:
        shown.table(ranking_table(study, SHOWN))
    for table in (pairs_table(study.findings), cloze_table(study.findings), curves_table(study.curves)):
        if table is not None:
            shown.table(table)
    for finding in study.findings:
        for note in finding.notes:
            shown.say(f"note: {finding.name}: {note}")
    for reason in study.advice.reasons if study.advice is not None else ():
        shown.say(f"- {reason}")
    if words:
        shown.say(f"use: {join(words)}")
