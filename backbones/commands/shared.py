"""What the commands share: options, data by name, a screen with bars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backbones.cli_shell import complain
from backbones.core.outputs import check_paths as check_paths

if TYPE_CHECKING:
    from backbones.base import Backbone
    from backbones.cli_view import Screen
    from backbones.core.labelled import Task
    from backbones.core.samples import Progress

ModelArgument = Annotated[str, typer.Argument(help="backbone: a folder, minilm, timm:NAME ..., see --list of cil-run")]
BenchmarkOption = Annotated[str | None, typer.Option(help="labelled data by name: cil-run --list benchmarks")]
DataRootOption = Annotated[str | None, typer.Option(help="folder or file of the data, where the name needs one")]
TrainOption = Annotated[int | None, typer.Option(min=1, help="training samples of each class (default: all)")]
TestOption = Annotated[int | None, typer.Option(min=1, help="test samples of each class (default: all)")]
OutOption = Annotated[Path, typer.Option(help="new folder for everything that comes out")]
WeightsOption = Annotated[Path | None, typer.Option(help="local weights of a timm backbone (.safetensors)")]
ImageSizeOption = Annotated[int | None, typer.Option(help="side of the input in pixels (default: the model's)", min=1)]
DeviceOption = Annotated[str, typer.Option(help="where to compute: auto, cpu, cuda, cuda:1, mps ...")]
SeedOption = Annotated[int, typer.Option(help="of everything that is drawn")]


def check_data(benchmark: str | None, data_root: str | None) -> None:
    """Raise FrostlineError for labelled data that nobody can read; to be asked before anything heavy is imported.

    Args:
        benchmark, data_root: as in ``read_task``; both None for no data.
    """
    from benchmarks.catalog import BENCHMARKS

    if benchmark is not None:
        BENCHMARKS.check(benchmark)
    elif data_root is not None:
        _existing(data_root)


def read_task(
    benchmark: str | None,
    data_root: str | None,
    *,
    train: int | None = None,
    test: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Task:
    """Read labelled data by the name of a benchmark.

    Args:
        benchmark: as for ``cil-run``; None for ``text`` or ``folder``, whichever ``data_root`` looks like.
        data_root: folder or file.
        train: training samples of each class, drawn by ``seed``; None for all.
        test: test samples of each class, likewise.
        seed: of the draws.
        progress: told of the reading.

    Raises:
        FrostlineError: no data named, or what the benchmark raises.
    """
    from backbones.core.errors import FrostlineError
    from backbones.core.labelled import Labelled, Task, check_task
    from backbones.core.samples import silent
    from benchmarks.catalog import BENCHMARKS

    if benchmark is None and data_root is None:
        raise FrostlineError(
            "no labelled data is named; pass --data-root with a file or folder, or --benchmark with a name (see "
            "cil-run --list benchmarks)."
        )
    name = benchmark or _kind(str(data_root))
    data = BENCHMARKS.load(name).load(data_root=data_root, progress=progress or silent)
    tell_notes(data.notes)
    parts = [
        Labelled(part, part.labels, data.class_names, part.modality).few(count, seed)
        for part, count in ((data.train, train), (data.test, test))
    ]
    return check_task(Task(data.name, *parts))


def task_for(
    backbone: Backbone,
    benchmark: str | None,
    data_root: str | None,
    *,
    train: int | None,
    test: int | None,
    seed: int,
    progress: Progress,
    role: str = "backbone",
) -> Task | None:
    """Read labelled data for a backbone, which messages call by its ``role``; None where none are named.

    Raises:
        FrostlineError: data of another kind than the backbone takes, or see ``read_task``.
    """
    from backbones.core.errors import FrostlineError

    if benchmark is None and data_root is None:
        return None
    task = read_task(benchmark, data_root, train=train, test=test, seed=seed, progress=progress)
    if task.train.modality != backbone.modality:
        raise FrostlineError(
            f"{task.name} holds {task.train.modality}s, but {role} {backbone.name!r} takes {backbone.modality}s; "
            "pass data and a model of one kind."
        )
    return task


def _kind(root: str) -> str:
    """Return ``"folder"`` for a folder of images, else ``"text"``; raise FrostlineError where nothing is."""
    from backbones.core.images import image_suffixes

    path = _existing(root)
    for number, file in enumerate(path.rglob("*") if path.is_dir() else ()):
        if file.suffix.lower() in image_suffixes():
            return "folder"
        if number > 1000:
            break
    return "text"


def _existing(root: str) -> Path:
    """Return the path of a data root; raise FrostlineError where nothing is."""
    from backbones.core.errors import FrostlineError

    path = Path(root.partition("::")[0])
    if not path.exists():
        raise FrostlineError(
            f"the data root {path} does not exist; pass a folder with train/<class>/* and test/<class>/* (images or "
            "texts), or a file of texts (.csv, .tsv, .jsonl, .json)."
        )
    return path


def load(
    name: str,
    weights: Path | None = None,
    image_size: int | None = None,
    max_tokens: int | None = None,
    *,
    device: str = "auto",
) -> Backbone:
    """Load a backbone onto a device and tell its notes on standard error."""
    from backbones.catalog import LoadOptions, load_backbone

    found = load_backbone(
        name, LoadOptions(weights=weights, image_size=image_size, max_tokens=max_tokens, device=device)
    )
    tell_notes(found.notes)
    return found


def tell_notes(notes: Iterable[str]) -> None:
    """Print notes to standard error."""
    for note in notes:
        complain(f"note: {note}")


@contextmanager
def screen() -> Iterator[Screen]:
    """Lend a screen: ``progress`` and ``say`` for the library, ``table`` for what comes out."""
    from backbones.cli_view import Screen

    with Screen() as found:
        yield found
