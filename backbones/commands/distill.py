"""``backbone distill``: a smaller backbone that computes what a teacher computes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backbones.commands.shared import (
    BenchmarkOption,
    DeviceOption,
    ImageSizeOption,
    OutOption,
    SeedOption,
    TestOption,
    TrainOption,
    WeightsOption,
    check_data,
    check_paths,
)
from backbones.core.errors import FrostlineError
from backbones.core.outputs import guard_folder

if TYPE_CHECKING:
    from backbones.base import Backbone
    from backbones.cli_view import Screen
    from backbones.core.labelled import Labelled, Task
    from backbones.lifecycle.distill.distil import Distilled, Plan
    from backbones.lifecycle.distill.student import Shape

MAP = "teacher's layers to learn from, as 2,4,6 (default: g(m) = m * N / M)"
AUGMENT = "vary training texts by a masked language model, or by word vectors alone with neighbours"
TERM = "weight or setting of the losses, as hidden=0.5 or temperature=2 or projection=identity; repeatable"


def distill(
    teacher: Annotated[str, typer.Argument(help="backbone: a folder, minilm, timm:NAME ..., see --list of cil-run")],
    out: OutOption,
    layers: Annotated[int | None, typer.Option(help="of the student (default: half of the teacher's)")] = None,
    width: Annotated[int | None, typer.Option(help="of the student (default: the teacher's)")] = None,
    heads: Annotated[int | None, typer.Option(help="of the student (default: the teacher's)")] = None,
    inner: Annotated[int | None, typer.Option(help="width of feed-forward networks (default: the same ratio)")] = None,
    layer_map: Annotated[str | None, typer.Option("--map", help=MAP)] = None,
    student: Annotated[str | None, typer.Option(help="a student that exists: a folder, in place of its size")] = None,
    start: Annotated[str, typer.Option(help="of the student: layers (copies where shapes agree) or random")] = "layers",
    corpus: Annotated[list[Path] | None, typer.Option(help="stage one: text files, or a folder of images")] = None,
    benchmark: BenchmarkOption = None,
    data: Annotated[str | None, typer.Option("--data", "--data-root", help="stage two: labelled data")] = None,
    train: TrainOption = None,
    test: TestOption = None,
    teacher_head: Annotated[Path | None, typer.Option(help="folder with the head of a tuned teacher")] = None,
    general_epochs: Annotated[float, typer.Option(help="over the corpus")] = 1.0,
    tune_epochs: Annotated[float, typer.Option(help="of tuning the teacher; 0 fits a head alone")] = 2.0,
    layer_epochs: Annotated[float, typer.Option(help="of learning from layers; 0 leaves it out")] = 3.0,
    answer_epochs: Annotated[float, typer.Option(help="of learning from answers")] = 3.0,
    tune_lr: Annotated[float, typer.Option(help="peak rate of tuning the teacher")] = 1e-4,
    layer_lr: Annotated[float, typer.Option(help="peak rate of learning from layers, general stage included")] = 3e-4,
    answer_lr: Annotated[float, typer.Option(help="peak rate of learning from answers")] = 2e-4,
    batch: Annotated[int, typer.Option(help="samples a step")] = 32,
    term: Annotated[list[str] | None, typer.Option(help=TERM)] = None,
    augment: Annotated[str | None, typer.Option(help=AUGMENT)] = None,
    variants: Annotated[int, typer.Option(help="of each text, with --augment")] = 20,
    dropout: Annotated[bool, typer.Option("--dropout", help="keep the student's dropout on")] = False,
    plain_images: Annotated[bool, typer.Option("--plain-images", help="no flips and shifts")] = False,
    weights: WeightsOption = None,
    image_size: ImageSizeOption = None,
    max_tokens: Annotated[int | None, typer.Option(help="of a text (default: what the teacher takes)")] = None,
    device: DeviceOption = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    seed: SeedOption = 0,
) -> None:
    """Distil TEACHER into a smaller backbone: from its layers and its answers, as TinyBERT does.

    With --corpus it learns the teacher's layers from texts or images without labels; with --data the teacher is tuned
    on the task (unless --teacher-head is given), and the student learns its layers and then its answers there.
    """
    guard_folder(out, [data, *(corpus or ())], resume=resume)
    if not corpus and benchmark is None and data is None:
        raise FrostlineError("nothing to distil on: pass --corpus (no labels), --data (labelled), or both.")
    check_data(benchmark, data)
    check_paths(corpus or ())
    from backbones.commands.shared import load, screen, task_for
    from backbones.lifecycle.distill.distil import distil
    from backbones.lifecycle.distill.estimate import estimate
    from backbones.lifecycle.distill.heads import read_head
    from backbones.lifecycle.distill.images import flip_and_shift

    rates = {"general": layer_lr, "tune": tune_lr, "layers": layer_lr, "answers": answer_lr}
    epochs = {"general": general_epochs if corpus else 0.0, "tune": tune_epochs}
    epochs |= {"layers": layer_epochs, "answers": answer_epochs}
    plan = _plan(term or [], layer_map, start, epochs, rates, batch, dropout, seed)
    with screen() as shown:
        big = load(teacher, weights, image_size, max_tokens, device=device)
        shape = _shape(big, layers, width, heads, inner, student, max_tokens, image_size)
        texts = _corpus(corpus, big, shown) if corpus else None
        task = task_for(
            big, benchmark, data, train=train, test=test, seed=seed, progress=shown.progress, role="the teacher"
        )
        head = read_head(teacher_head, task.train.classes) if teacher_head is not None and task is not None else None
        known = _varied(task.train, augment, variants, big, seed, shown) if task is not None else None
        raw = None if known is None else known.samples
        shown.say(estimate(big, shape, plan, texts, raw, head is not None))
        vary = flip_and_shift if big.modality == "image" and not plain_images else None
        done = distil(
            big, shape, plan, corpus=texts, data=known, head=head, vary=vary, folder=out / STAGES,
            progress=shown.progress, say=shown.say,
        )  # fmt: skip
        facts = {"teacher": teacher, "plan": plan.model_dump(), "seed": seed, "augment": augment}
        _finish(out, big, done, task, texts, facts, tuned=head is None and plan.tune is not None, shown=shown)


STAGES = "stages"  # what an interrupted run goes on from; removed at the end


def _plan(
    terms: Sequence[str],
    layer_map: str | None,
    start: str,
    epochs: dict[str, float],
    rates: dict[str, float],
    batch: int,
    dropout: bool,
    seed: int,
) -> Plan:
    from backbones.core.settings import parse_pairs
    from backbones.lifecycle.distill.distil import Plan
    from backbones.lifecycle.distill.layers import parse_map
    from backbones.lifecycle.distill.losses import Terms
    from backbones.training.loop import Recipe

    recipes: dict[str, Any] = {}
    for stage, count in epochs.items():
        values = {"epochs": count, "batch": batch, "lr": rates[stage], "seed": seed}
        recipes[stage] = Recipe.parse(values, f"the {stage} stage") if count else None
    weights = Terms.parse(parse_pairs(list(terms), "--term"), "the losses")
    said = {"terms": weights, "map": parse_map(layer_map), "start": start, "dropout": dropout, "seed": seed}
    return Plan.parse({**said, **recipes}, "the distillation")


def _shape(
    teacher: Backbone,
    layers: int | None,
    width: int | None,
    heads: int | None,
    inner: int | None,
    student: str | None,
    max_tokens: int | None,
    image_size: int | None,
) -> Backbone | Shape:
    from backbones.commands.shared import load
    from backbones.lifecycle.distill.student import Shape

    sizes = {"width": width, "heads": heads, "inner": inner}
    if student is None:
        return Shape.parse({"layers": layers or max(1, teacher.depth // 2), **sizes}, "the student")
    given = [f"--{name}" for name, value in {"layers": layers, **sizes}.items() if value is not None]
    if given:
        raise FrostlineError(f"--student names a model that exists, so that {given[0]} has nothing to say; drop one.")
    return load(student, None, image_size, max_tokens, device=str(teacher.device))


def _corpus(paths: Sequence[Path], teacher: Backbone, shown: Screen) -> Sequence[Any]:
    from backbones.training.corpus import read_documents, unread
    from backbones.training.unlabelled import read_images

    if teacher.modality == "image":
        images = read_images(paths)
        for note in images.notes:
            shown.say(f"note: {note}")
        return images
    for note in unread(paths):
        shown.say(f"note: {note}")
    return [sentence for document in read_documents(paths, progress=shown.progress) for sentence in document]


def _varied(data: Labelled, augment: str | None, count: int, teacher: Backbone, seed: int, shown: Screen) -> Labelled:
    if augment is None:
        return data
    from backbones.lifecycle.distill.augment import Variants, Varier, with_variants
    from backbones.lm import load_language_model

    if data.modality != "text":
        raise FrostlineError("--augment is for texts; images are flipped and shifted while they are trained on.")
    settings = Variants.parse({"count": count}, "--variants")
    if augment == "neighbours":
        module: Any = teacher.module
        prepare: Any = teacher.preprocessing
        varier = Varier(prepare.tokenizer, module.get_input_embeddings().weight, None, settings)
    else:
        varier = Varier.from_model(load_language_model(augment, "masked", device=str(teacher.device)), settings)
    found = with_variants(data, varier, seed, shown.progress)
    shown.say(f"{len(data):,} texts became {len(found):,} by {augment}")
    return found


def _finish(
    out: Path,
    teacher: Backbone,
    done: Distilled,
    task: Task | None,
    texts: Sequence[Any] | None,
    facts: dict[str, Any],
    *,
    tuned: bool,
    shown: Screen,
) -> None:
    """Save the student (and a teacher that was tuned), compare them, and write the page."""
    from backbones.lifecycle.distill.heads import save_head
    from backbones.lifecycle.distill.report import compare, facts_of, lead_of, parts_of, table_of
    from backbones.page import write_page
    from backbones.training.saving import making_anew, save_backbone

    samples: Sequence[Any] = task.test.samples if task is not None else texts or []
    found = compare(teacher, done, samples, None if task is None else task.test, shown.progress)
    figures = facts_of(found, done)
    with making_anew(out / "model"):  # a run may have ended between here and the page
        saved = save_backbone(done.student.backbone, out / "model", {**facts, **figures}, progress=shown.progress)
    if task is not None and done.student_head is not None and done.teacher_head is not None:
        save_head(out, done.student_head, task.train.classes, {"backbone": "model", "data": task.name})
        if tuned:
            tutor, names = out / "teacher", task.train.classes
            with making_anew(tutor):
                save_backbone(teacher, tutor / "model", {"tuned_on": task.name}, progress=shown.progress)
                save_head(tutor, done.teacher_head, names, {"backbone": "model", "data": task.name})
    page = write_page(out, "Distillation", lead_of(found, done), parts_of(found, done), {**facts, **figures})
    shutil.rmtree(out / STAGES, ignore_errors=True)
    shown.table(table_of(found))
    shown.say(lead_of(found, done))
    shown.say(f"written to {saved.folder}; load it with: {saved.usage}")
    shown.say(f"page: {page}")
