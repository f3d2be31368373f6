"""``cil-run``: learn a stream of classes from the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backbones.cli_shell import Version, complain, exit_code, make_app, run
from backbones.core.errors import FrostlineError, unknown
from backbones.core.outputs import check_paths, guard_folder
from backbones.core.registry import Registry

if TYPE_CHECKING:
    from continual.settings import RunSettings

app = make_app(no_args_is_help=False)

DATA, MODEL, HEAD, STREAM, FOLDER = "Data", "Backbone and PAT", "Head", "Stream", "Run"
WRITTEN = ("environment.json", "fingerprints.json", "report.json", "report.html", "plots")  # by every run
LISTS = ("backbones", "pats", "heads", "benchmarks")


def _option(words: str, panel: str, *names: str) -> Any:
    return typer.Option(*names, help=words, rich_help_panel=panel)


@app.callback(invoke_without_command=True)
def learn(
    context: typer.Context,
    benchmark: Annotated[str | None, _option("stream to learn, see --list benchmarks", DATA)] = None,
    data_root: Annotated[str | None, _option("folder or file with the data", DATA)] = None,
    download: Annotated[bool | None, _option("whether missing data may be downloaded", DATA)] = None,
    shots: Annotated[int | None, _option("training samples per class", DATA)] = None,
    backbone: Annotated[str | None, _option("frozen transformer, see --list backbones", MODEL)] = None,
    weights: Annotated[str | None, _option("local weights of the backbone (.safetensors)", MODEL)] = None,
    image_size: Annotated[int | None, _option("side of the input in pixels", MODEL)] = None,
    preprocessing: Annotated[str | None, _option("of images: direct or crop", MODEL)] = None,
    pooling: Annotated[str | None, _option("of a text encoder: mean or cls", MODEL)] = None,
    max_tokens: Annotated[int | None, _option("longest text, in tokens", MODEL)] = None,
    pat: Annotated[
        str | None, _option("what is tuned on the backbone, see --list pats; a+b+c for several", MODEL)
    ] = None,
    pat_layers: Annotated[str | None, _option("layers that it may touch, such as 6-11", MODEL)] = None,
    pat_set: Annotated[
        list[str] | None, _option("a setting of the PAT, key=value; repeatable", MODEL, "--pat-set")
    ] = None,
    pat_schedule: Annotated[str | None, _option("train the PAT on the first experience or on every one", MODEL)] = None,
    tune_set: Annotated[list[str] | None, _option("a setting of its training, key=value", MODEL, "--tune-set")] = None,
    activations: Annotated[bool | None, _option("keep activations below the PAT on disk", MODEL)] = None,
    head: Annotated[str | None, _option("classifier on the features, see --list heads", HEAD)] = None,
    ipt: Annotated[bool, _option("short for --head ipt", HEAD, "--ipt")] = False,
    head_set: Annotated[
        list[str] | None, _option("a setting of the head, key=value; repeatable", HEAD, "--head-set")
    ] = None,
    init_classes: Annotated[
        int | None, _option("classes of the first experience (0: as the increment)", STREAM)
    ] = None,
    increment: Annotated[int | None, _option("classes of each later experience", STREAM)] = None,
    increments: Annotated[str | None, _option("explicit sizes, such as 10,5,5", STREAM)] = None,
    order: Annotated[str | None, _option("seed (what peers use) or alphabetical", STREAM)] = None,
    seeds: Annotated[str | None, _option("one run each, such as 1993,1994,1995", STREAM)] = None,
    precision: Annotated[str | None, _option("auto, fp32 or bf16", FOLDER)] = None,
    device: Annotated[str | None, _option("auto, cpu, cuda ...", FOLDER)] = None,
    chunk: Annotated[int | None, _option("samples per forward pass", FOLDER)] = None,
    reference: Annotated[bool | None, _option("fit NCM on the same features beside the head", FOLDER)] = None,
    out: Annotated[Path | None, _option("run folder (default: runs/BENCHMARK-PAT-HEAD)", FOLDER)] = None,
    store: Annotated[Path | None, _option("folder of the feature store", FOLDER)] = None,
    config: Annotated[Path | None, _option("repeat the run of this settings.toml", FOLDER)] = None,
    resume: Annotated[Path | None, _option("continue the run in this folder", FOLDER)] = None,
    dry_run: Annotated[bool, _option("print the plan and stop", FOLDER, "--dry-run")] = False,
    list_: Annotated[str | None, _option(f"list {', '.join(LISTS)}", FOLDER, "--list")] = None,
    version: Version = False,
) -> None:
    """Learn classes task after task on a frozen backbone, and forget little.

    Without options: scikit-learn's digits, two classes at a time, on a bundled backbone.
    """
    if context.invoked_subcommand is not None:
        return
    given = {key: value for key, value in context.params.items() if value is not None and key not in _NOT_SETTINGS}
    if list_ is not None:
        _list(list_, given)
    else:
        _execute(_settings(given, config, resume), out, resume, store, dry_run=dry_run)


_NOT_SETTINGS = {"out", "store", "config", "resume", "dry_run", "list_", "version"}


def _settings(given: dict[str, Any], config: Path | None, resume: Path | None) -> RunSettings:
    from backbones.core.settings import parse_pairs
    from continual.settings import RunSettings, meant, read_settings

    if config is not None and resume is not None:
        raise FrostlineError("--config starts a new run and --resume continues one; give one of them.")
    source = resume / "settings.toml" if resume is not None else config
    values = read_settings(source).model_dump() if source is not None else {}
    values = {key: value for key, value in values.items() if value is not None}
    if resume is not None:  # what was resolved when the run was begun
        given = {key: value for key, value in given.items() if value != "auto"}
    if given.pop("ipt", False):
        if given.get("head", "ipt") != "ipt":
            raise FrostlineError(f"--ipt is short for --head ipt, but --head {given['head']} is given too; keep one.")
        given["head"] = "ipt"
    for inner, option, name in (("pat_settings", "pat_set", "pat"), ("head_settings", "head_set", "head")):
        pairs = meant(dict(parse_pairs(given.pop(option, []), f"--{option.replace('_', '-')}")))
        changed = given.get(name, values.get(name)) != values.get(name)
        values[inner] = {**({} if changed else values.get(inner, {})), **pairs}
    pairs = parse_pairs(given.pop("tune_set", []), "--tune-set")
    values["tuning"] = {**values.get("tuning", {}), **pairs}
    for key in ("seeds", "increments"):
        if key in given:
            given[key] = _numbers(f"--{key}", given[key])
    return RunSettings.parse({**values, **given}, "the run")


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise FrostlineError(f"{option} {text!r}: write whole numbers separated by commas, such as 10,5,5.") from None


def _check_names(settings: RunSettings) -> None:
    """Refuse names that nobody claims before anything heavy is imported."""
    registry("benchmarks").check(settings.benchmark)
    registry("heads").check(settings.head)
    for part in settings.pat.split("+"):
        registry("pats").check(part.strip())


def _execute(
    settings: RunSettings, out: Path | None, resume: Path | None, store: Path | None, *, dry_run: bool
) -> None:
    if resume is not None and out is not None:
        raise FrostlineError(f"--resume continues in {resume} itself; leave --out {out} out.")
    _check_names(settings)
    data = [settings.data_root]
    for place in [each for each in (resume or out, store) if each is not None]:
        guard_folder(place, data, resume=True, needed=place is not store)
    foreign = next((name for name in WRITTEN if out is not None and (out / name).exists()), None)
    if out is not None and foreign is not None and not (out / "settings.toml").exists():
        raise FrostlineError(f"--out {out} holds {foreign}, but no run; pass another folder.")
    from backbones.features import FeatureStore, store_folder
    from continual import cli_view as view
    from continual.plan import estimate, prepare, resolve
    from continual.runner import Run

    _use_threads(resolve(settings)[0].threads)
    begun: list[Path] = []
    with _stoppable(begun), view.Screen() as screen:
        plan = prepare(settings, screen.progress)
        for note in plan.notes:
            screen.say(f"note: {note}")
        if dry_run:
            screen.show(view.plan_table(plan, estimate(plan)))
            return
        folder = resume or out or _new_folder(plan.settings)
        run_ = Run(plan, folder, FeatureStore(store or store_folder()), screen.progress)
        run_.begin(resumed=resume is not None)
        begun.append(folder)
        for note in run_.notes:
            screen.say(f"note: {note}")
        told = len(run_.notes)
        for seed, step, so_far in run_.steps():
            screen.step(seed, step, so_far)
        report = run_.finish()
        for note in run_.notes[told:]:
            screen.say(f"note: {note}")
    view.show_report(report, folder)


def _use_threads(recorded: int | None) -> None:
    """Take as many threads as the run was begun with, if there are cores for them."""
    import os

    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if recorded is not None and recorded != torch.get_num_threads() and recorded <= cores:
        torch.set_num_threads(recorded)


def _new_folder(settings: RunSettings) -> Path:
    base = Path("runs") / f"{settings.benchmark}-{settings.pat}-{settings.head}"
    folder, number = base, 1
    while folder.exists():
        number += 1
        folder = base.with_name(f"{base.name}-{number}")
    return folder


@contextmanager
def _stoppable(begun: list[Path]) -> Iterator[None]:
    """Say what is kept when Ctrl-C or a signal ends the run; ``begun`` holds the run folder once there is one."""
    try:
        yield
    except KeyboardInterrupt as stop:
        kept = (
            f"everything computed so far is kept. Continue with: cil-run --resume {begun[0]}"
            if begun
            else "nothing begun"
        )
        complain(f"\nstopped; {kept}")
        raise typer.Exit(exit_code(stop)) from None


def _list(what: str, given: dict[str, Any]) -> None:
    from continual import cli_view as view

    table = registry(what)
    if what == "pats" and {"backbone", "weights"} & given.keys():  # a backbone to measure them on
        from continual.pats import facts, measured_on

        backbone = measured_on(_settings(given, None, None))
        view.show_pats(backbone, facts(backbone))
    else:
        view.show_registry(what, table)


def registry(what: str) -> Registry:
    """Return the registry that ``--list what`` shows; raises FrostlineError for another word."""
    if what == "backbones":
        from backbones.catalog import BACKBONES

        return BACKBONES
    if what == "pats":
        from backbones.pat import PATS

        return PATS
    if what == "heads":
        from continual.heads import HEADS

        return HEADS
    if what == "benchmarks":
        from benchmarks.catalog import BENCHMARKS

        return BENCHMARKS
    raise unknown("list", what, LISTS)


@app.command("report")
def report_(folder: Annotated[Path, typer.Argument(help="run folder")]) -> None:
    """Print the report of a run again and redraw its pictures and page."""
    check_paths([folder])
    from continual import cli_view as view
    from continual.report import REPORT, read_report
    from continual.runner import draw

    found = read_report(folder / REPORT)
    for note in draw(folder, found):
        typer.echo(f"note: {note}", err=True)
    view.show_report(found, folder)


@app.command("predict")
def predict(
    folder: Annotated[Path, typer.Argument(help="run folder")],
    inputs: Annotated[
        list[str], typer.Argument(help="image files; of a run on texts: texts, or files of a text a line")
    ],
    top: Annotated[int, typer.Option(help="classes shown for each", min=1)] = 3,
    seed: Annotated[int | None, typer.Option(help="which seed of the run (default: the first)")] = None,
    device: Annotated[str | None, typer.Option(help="where to compute (default: where the run did)")] = None,
    json_: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """Classify images or texts with the artefact of a finished run."""
    check_paths([folder])
    from continual import cli_view as view
    from continual.artefact import read_artefact
    from continual.inputs import read_inputs

    classifier = read_artefact(folder, seed, device)
    for note in classifier.notes:
        complain(f"note: {note}")
    names, raw = read_inputs(inputs, classifier.encoder.backbone.modality, classifier.ceilings)
    view.show_predictions(names, classifier.predict(raw, top), classifier.encoder.backbone.modality, as_json=json_)


def main() -> None:
    """Run the command line; errors of the user end with one sentence and exit code 2."""
    run(app)


if __name__ == "__main__":
    main()
