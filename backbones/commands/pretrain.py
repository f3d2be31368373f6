"""``backbone pretrain``: a text encoder on text files, or a vision transformer on class folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backbones.cli_shell import shares
from backbones.commands.shared import DeviceOption, OutOption, SeedOption, check_paths, tell_notes
from backbones.core.outputs import guard_folder

if TYPE_CHECKING:
    from backbones.lifecycle.pretrain.course import Pretrained, Stops
    from backbones.training.loop import Recipe

app = typer.Typer(no_args_is_help=True, help="Pre-train a backbone: BERT on text files, ViT on class folders.")

DepthOption = Annotated[int | None, typer.Option(help="blocks (default: of --size)")]
WidthOption = Annotated[int | None, typer.Option(help="of a token, divisible by the heads (default: of --size)")]
HeadsOption = Annotated[int | None, typer.Option(help="of attention (default: of --size, or width / 64)")]
InnerOption = Annotated[int | None, typer.Option(help="width inside the feed-forward part (default: 4 x width)")]
StepsOption = Annotated[int | None, typer.Option(help="optimizer steps (default: one epoch)")]
EpochsOption = Annotated[float | None, typer.Option(help="passes over the data, in place of steps")]
BatchOption = Annotated[int, typer.Option(help="samples a step")]
MicroOption = Annotated[int | None, typer.Option(help="samples a forward pass; gradients are summed up to --batch")]
RateOption = Annotated[float | None, typer.Option(help="peak rate of AdamW (default: 0.2 / width, at most 0.001)")]
WarmupOption = Annotated[float, typer.Option(help="share of the steps in which the rate rises")]
DecayOption = Annotated[float, typer.Option(help="weight decay, never of norms and biases")]
PrecisionOption = Annotated[str, typer.Option(help="auto, fp32 or bf16; auto is bf16 where the device has it")]
CheckpointsOption = Annotated[int, typer.Option(help="models written on the way, evenly on a log scale of steps")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="go on with the run in --out, with the same bits")]


@app.command()
@shares
def text(
    files: Annotated[list[Path], typer.Argument(help="UTF-8 text (.txt, also .gz or .xz), or folders of it")],
    out: OutOption,
    start: Annotated[str | None, typer.Option("--from", help="masked model to go on with: a folder or hf:NAME")] = None,
    size: Annotated[str, typer.Option(help="tiny, mini, small, medium or base")] = "tiny",
    depth: DepthOption = None,
    width: WidthOption = None,
    heads: HeadsOption = None,
    inner: InnerOption = None,
    tokenizer: Annotated[Path | None, typer.Option(help="folder of a tokenizer (default: train a vocabulary)")] = None,
    vocabulary: Annotated[int, typer.Option(help="tokens of a vocabulary that is trained, at most")] = 30522,
    cased: Annotated[bool, typer.Option("--cased", help="a vocabulary that is trained tells A from a")] = False,
    length: Annotated[int, typer.Option(help="tokens of a sequence")] = 128,
    masked: Annotated[float, typer.Option(help="share of tokens that are hidden")] = 0.15,
    whole_words: Annotated[bool, typer.Option("--whole-words", help="hide all tokens of a word or none")] = False,
    next_sentence: Annotated[
        bool | None,
        typer.Option(
            "--next-sentence/--no-next-sentence", help="tell following texts from strange ones (default: yes)"
        ),
    ] = None,
    dropout: Annotated[float, typer.Option(help="of a model from nothing")] = 0.1,
    held: Annotated[float, typer.Option(help="share of the corpus to hold out, in whole documents")] = 0.02,
    most_bytes: Annotated[int | None, typer.Option(help="of text to read (default: all)")] = None,
    steps: StepsOption = None,
    epochs: EpochsOption = None,
    batch: BatchOption = 32,
    micro: MicroOption = None,
    lr: RateOption = None,
    warmup: WarmupOption = 0.1,
    weight_decay: DecayOption = 0.01,
    precision: PrecisionOption = "auto",
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    checkpoints: CheckpointsOption = 0,
    checkpoint_at: Annotated[str, typer.Option(help="or: at these numbers of words seen, as 50000,150000")] = "",
    resume: ResumeOption = False,
) -> None:
    """Pre-train BERT on text: hidden words and next sentences, from nothing or going on (--from).

    On several devices: torchrun --nproc-per-node N -m backbones.cli pretrain text ...; they share every step.
    """
    guard_folder(out, files, resume=True)  # whether it may exist is for the run to say
    _check_corpus(files)
    from backbones.commands.shared import screen
    from backbones.lifecycle.pretrain.text import TextPlan, pretrain_text

    given = {"size": size, "depth": depth, "width": width, "heads": heads, "inner": inner, "vocabulary": vocabulary}
    tasks = {"masked": masked, "whole_words": whole_words, "next_sentence": next_sentence, "held": held}
    values = {**given, **tasks, "length": length, "lowercase": not cased, "dropout": dropout, "most_bytes": most_bytes}
    plan = TextPlan.parse(values, "the pre-training")
    wide = 768 if start is not None else plan.shape().width
    length_ = _length(steps, epochs)
    recipe = _recipe(wide, lr, **length_, batch=batch, micro=micro, warmup=warmup, weight_decay=weight_decay,
                     precision=precision, seed=seed)  # fmt: skip
    stops = _stops(checkpoints, checkpoint_at)
    with screen() as shown:
        found = pretrain_text(
            files, out, plan, recipe, start=start, tokenizer=tokenizer, stops=stops, resume=resume, device=device,
            progress=shown.progress, say=shown.say,
        )  # fmt: skip
        _show(found, shown)


@app.command()
@shares
def images(
    data: Annotated[str, typer.Argument(help="folder with train/<class>/* and test/<class>/*, or with <class>/*")],
    out: OutOption,
    size: Annotated[str, typer.Option(help="ti, s or b")] = "ti",
    depth: DepthOption = None,
    width: WidthOption = None,
    heads: HeadsOption = None,
    inner: InnerOption = None,
    image_size: Annotated[int, typer.Option(help="side of the input in pixels")] = 224,
    patch: Annotated[int | None, typer.Option(help="side of a patch (default: 16, or 1/8 of a small image)")] = None,
    dropout: Annotated[float, typer.Option(help="stochastic depth")] = 0.0,
    least: Annotated[float, typer.Option(help="smallest share of the area in a random crop; 1 for none")] = 0.35,
    flip: Annotated[float, typer.Option(help="share of images that are mirrored")] = 0.5,
    jitter: Annotated[float, typer.Option(help="of brightness, contrast and saturation")] = 0.3,
    mixup: Annotated[float, typer.Option(help="images are mixed by a share from Beta(mixup, mixup)")] = 0.0,
    smoothing: Annotated[float, typer.Option(help="of labels")] = 0.1,
    held: Annotated[float, typer.Option(help="share to hold out where DATA has no test folder")] = 0.1,
    steps: StepsOption = None,
    epochs: EpochsOption = None,
    batch: BatchOption = 64,
    micro: MicroOption = None,
    lr: RateOption = None,
    warmup: WarmupOption = 0.1,
    weight_decay: DecayOption = 0.05,
    precision: PrecisionOption = "auto",
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    checkpoints: CheckpointsOption = 0,
    checkpoint_at: Annotated[str, typer.Option(help="or: at these numbers of images seen, as 5000,15000")] = "",
    resume: ResumeOption = False,
) -> None:
    """Pre-train a vision transformer on labelled images, with augmentation."""
    guard_folder(out, [data], resume=True)
    check_paths([Path(data)])
    from backbones.commands.shared import screen
    from backbones.lifecycle.pretrain.images import ImagePlan, pretrain_images
    from backbones.lifecycle.pretrain.views import Augmentation

    looks = {"least": least, "flip": flip, "jitter": jitter, "mixup": mixup, "smoothing": smoothing}
    change = Augmentation.parse(looks, "the augmentation")
    given = {"size": size, "depth": depth, "width": width, "heads": heads, "inner": inner}
    values = {**given, "image_size": image_size, "patch": patch, "dropout": dropout, "augmentation": change}
    plan = ImagePlan.parse(values, "the pre-training")
    recipe = _recipe(plan.shape().width, lr, **_length(steps, epochs), batch=batch, micro=micro, warmup=warmup,
                     weight_decay=weight_decay, precision=precision, seed=seed, decay="cosine")  # fmt: skip
    stops = _stops(checkpoints, checkpoint_at)
    with screen() as shown:
        task = read_images(data, held, seed, shown.progress)
        found = pretrain_images(
            task, out, plan, recipe, stops=stops, resume=resume, device=device, progress=shown.progress, say=shown.say
        )
        _show(found, shown)


def _length(steps: int | None, epochs: float | None) -> dict[str, Any]:
    return {"epochs": 1.0} if steps is None and epochs is None else {"steps": steps, "epochs": epochs}


def _recipe(width: int, lr: float | None, **values: Any) -> Recipe:
    """Return the recipe; wider models want smaller rates."""
    from backbones.training.loop import Recipe

    return Recipe.parse({"lr": min(1e-3, 0.2 / width) if lr is None else lr, **values}, "the training")


def _stops(checkpoints: int, checkpoint_at: str) -> Stops:
    from backbones.lifecycle.pretrain.course import Stops

    at = tuple(part.strip() for part in checkpoint_at.split(",") if part.strip())
    return Stops.parse({"checkpoints": checkpoints, "checkpoint_at": at}, "the checkpoints")


def read_images(data: str, held: float, seed: int, progress: Any) -> Any:
    """Return images of class folders as a Task; without a test folder, a share of each class is held out.

    Args:
        data: folder with ``train`` and ``test``, or of class folders.
        held: share.
        seed: of the choice.
        progress: told of the reading.

    Raises:
        FrostlineError: see ``benchmarks.folders.read_folders``; no class folders; one class.
    """
    from backbones.commands.shared import read_task
    from backbones.core.labelled import Labelled, Task, check_task
    from benchmarks.folders import existing_folder, list_classes

    root = existing_folder(data)
    if any((root / name).is_dir() for name in ("train", "test", "val")):
        return read_task("folder", data, progress=progress)
    names, listed = list_classes(root, root.name, progress)
    tell_notes(listed.notes)
    pictures: Any = listed  # read one by one when asked for, as a sequence is
    whole = Labelled(pictures, listed.labels, names, "image")
    check_task(Task(root.name, whole, whole))
    return Task(root.name, *whole.split(held, seed))


def _show(found: Pretrained, shown: Any) -> None:
    from backbones.lifecycle.pretrain.page import table_of, write_report
    from backbones.training import ranks

    if ranks.rank() == 0:
        page = write_report(found)
        shown.table(table_of(found))
        for folder in found.checkpoints:
            shown.say(f"checkpoint: {folder}")
        shown.say(f"model: {found.model}; load it with: {found.usage}")
        shown.say(f"page: {page}")
    ranks.leave()


def _check_corpus(paths: Sequence[Path]) -> None:
    from backbones.training.corpus import check_corpus

    check_corpus(paths)
