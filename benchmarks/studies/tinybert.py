"""MiniLM distilled to three and to two layers on CLINC150, and what each loss of TinyBERT is worth, in one command.

    python -m benchmarks.studies.tinybert --data clinc150.json --out runs/tinybert

The teacher is MiniLM (6 layers of 384), fine-tuned on all 150 intents. Students have its width and begin as copies of
the layers that they learn from; they learn from the teacher's layers first and from its answers then, on the same
questions, which are not varied. The ablation does the same with fewer questions, once for every row. Test questions are
used for nothing but the scores. Every stage is kept in the output folder: a killed command goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from backbones.base import Backbone
from backbones.catalog import LoadOptions, load_backbone
from backbones.commands.shared import read_task
from backbones.core.artifacts import write_json, write_text
from backbones.core.labelled import Labelled, Task
from backbones.core.launch import pick_device
from backbones.encoder import Encoder
from backbones.lifecycle.distill.answers import Answers
from backbones.lifecycle.distill.distil import Distilled, Plan, distil
from backbones.lifecycle.distill.finished import Stages
from backbones.lifecycle.distill.latency import Latency, latency
from backbones.lifecycle.distill.layers import layer_map
from backbones.lifecycle.distill.losses import Terms
from backbones.lifecycle.distill.student import Shape
from backbones.training.loop import Course, Recipe
from backbones.training.saving import save_backbone
from backbones.training.tasks import accuracy, finetune, fit_linear
from continual.figures_table import markdown

LOSSES: dict[str, dict[str, Any]] = {
    "all four": {},
    "without embedding": {"terms": {"embedding": 0.0}},
    "without hidden": {"terms": {"hidden": 0.0}},
    "without attention": {"terms": {"attention": 0.0}},
    "without soft (labels in its place)": {"terms": {"soft": 0.0, "hard": 1.0}},
}
CONTROLS: dict[str, dict[str, Any]] = {
    "without all of the layers": {"layers": None},
    "labels alone": {"layers": None, "terms": {"soft": 0.0, "hard": 1.0}},
}
FULL = "all four"


def teach(args: argparse.Namespace, task: Task) -> tuple[Backbone, nn.Linear, dict[str, float]]:
    """Return MiniLM fine-tuned on the task, its head, and its accuracies with a head alone and tuned."""
    teacher = load_backbone("minilm", LoadOptions()).to(pick_device(args.device))
    head = nn.Linear(teacher.width, len(task.train.classes), device="meta").to_empty(device=teacher.device)
    probe = args.out / "probe.json"

    def run(checkpoint: Path | None) -> Course:
        fitted = fit_linear(
            Encoder(teacher, precision="fp32").features(list(task.train.samples)),
            task.train.labels,
            len(task.train.classes),
        )
        write_json(probe, {"accuracy": accuracy(teacher, fitted, task.test)})
        head.load_state_dict(fitted.state_dict())
        recipe = Recipe(epochs=args.teacher_epochs, batch=32, lr=args.teacher_lr)
        shown: dict[str, Any] = {"checkpoint": checkpoint, "say": _say, "progress": _bar}
        return finetune(teacher, task.train, recipe, full=True, head=head, head_rate=5.0, **shown).course

    facts = {"epochs": args.teacher_epochs, "lr": args.teacher_lr, "samples": len(task.train)}
    Stages(args.out / "teacher", facts).once("teacher", {"teacher": teacher.module, "head": head}, run)
    head.requires_grad_(False)
    found = {"probe": json.loads(probe.read_text())["accuracy"]} if probe.exists() else {}
    return teacher, head, {**found, "tuned": _score(args.out / "teacher.json", teacher, head, task.test)}


def plan_of(args: argparse.Namespace, changes: dict[str, Any]) -> Plan:
    """Return the plan of the students, with what a row of the ablation changes."""
    terms = Terms(projection="identity", **changes.get("terms", {}))
    layers = Recipe(epochs=args.layer_epochs, batch=args.batch, lr=args.layer_lr)
    answers = Recipe(epochs=args.answer_epochs, batch=args.batch, lr=args.answer_lr)
    return Plan(terms=terms, tune=None, layers=changes.get("layers", layers), answers=answers)


def student_of(
    args: argparse.Namespace,
    place: Path,
    teacher: Backbone,
    head: nn.Linear,
    data: Labelled,
    layers: int,
    changes: dict[str, Any],
    answers: Answers | None = None,
) -> Distilled:
    """Distil a student of some layers, unless an earlier run did."""
    plan, shape = plan_of(args, changes), Shape(layers=layers)
    kept: dict[str, Any] = {"folder": place, "say": _say, "progress": _bar}
    return distil(teacher, shape, plan, data=data, head=head, answers=answers, **kept)


def small(
    args: argparse.Namespace, teacher: Backbone, head: nn.Linear, task: Task, layers: int, per_class: int | None
) -> dict[str, Any]:
    """Distil and score a student; its backbone is saved as an ordinary folder."""
    place = args.out / f"layers-{layers}"
    made = student_of(args, place, teacher, head, task.train.few(per_class, 0), layers, {})
    student, own = made.student.backbone, made.student_head
    assert own is not None
    score = _score(place / "score.json", student, own, task.test)
    if not (place / "model").exists():
        save_backbone(student, place / "model", {"teacher": "minilm on CLINC150", "layers": list(made.layers)})
    return {
        "accuracy": score,
        "per_class": per_class,
        "map": list(made.layers),
        "parameters": student.parameter_count,
        "seconds": sum(course.seconds for course in made.courses.values()),
        "history": {stage: course.history for stage, course in made.courses.items()},
        "latency": _latencies(args, place / "latency.json", teacher, student, task.test),
    }


def _latencies(args: argparse.Namespace, path: Path, teacher: Backbone, student: Backbone, data: Labelled) -> Any:
    """Return milliseconds and ratios for one question and for a batch, measured in turns."""
    if not path.exists():
        found = {}
        for count in (1, 32):
            raw = [text for text in data.samples if 8 < len(student.preprocessing([text])[0, 0]) <= 16][:count]
            each: Latency = latency(teacher, student, raw, args.repeats)
            found[str(count)] = {"teacher": each.teacher, "student": each.student, "ratio": each.ratio}
        write_json(path, found)
    return json.loads(path.read_text(encoding="utf-8"))


def ablate(
    args: argparse.Namespace, teacher: Backbone, head: nn.Linear, task: Task, names: Sequence[str]
) -> Iterator[tuple[str, float]]:
    """Score a small student once for each of some rows, all from the same questions and the same start."""
    data, test = task.train.few(args.ablation_per_class, 0), task.test.few(args.ablation_test, 0)
    layers = layer_map(args.ablation_layers, teacher.depth)
    answers = Answers(teacher, layers, Terms(projection="identity"), head)
    rows = {**LOSSES, **CONTROLS}
    for name in names:
        place, changes = args.out / f"ablation-{list(rows).index(name)}", rows[name]
        made = student_of(args, place, teacher, head, data, args.ablation_layers, changes, answers)
        assert made.student_head is not None
        score = _score(place / "score.json", made.student.backbone, made.student_head, test)
        print(f"{name}: {100 * score:.2f}", flush=True)
        yield name, score


def _score(path: Path, backbone: Backbone, head: nn.Linear, data: Labelled) -> float:
    if not path.exists():
        write_json(path, {"accuracy": accuracy(backbone, head, data)})
    return float(json.loads(path.read_text(encoding="utf-8"))["accuracy"])


def _say(text: str) -> None:
    print(text, flush=True)


def _bar(phase: str, done: int, total: int) -> None:
    if done and done % 50 == 0:
        print(f"  {phase}: {done} of {total}", flush=True)


def page(args: argparse.Namespace, found: dict[str, Any]) -> str:
    """Return the page."""
    teacher = found["teacher"]
    rows = [
        [
            "MiniLM, 6 layers, fine-tuned",
            _points(teacher["tuned"]),
            "100.0",
            "all",
            f"{found['parameters']:,}",
            "-",
            "-",
        ]
    ]
    for layers, each in found["students"].items():
        kept = 100 * each["accuracy"] / teacher["tuned"]
        few = "all" if each["per_class"] is None else str(each["per_class"])
        one, many = each["latency"]["1"], each["latency"]["32"]
        name = f"{layers} layers, from layers {', '.join(map(str, each['map']))}"
        speeds = [f"{time['ratio']:.2f} ({time['teacher']:.1f} to {time['student']:.1f} ms)" for time in (one, many)]
        rows.append([name, _points(each["accuracy"]), f"{kept:.1f}", few, f"{each['parameters']:,}", *speeds])
    names = ("model", "accuracy", "% of the teacher's", "questions a class", "parameters")
    header = (*names, "times faster, 1 question", "times faster, 32")
    full = found["ablation"].get(FULL)
    losses = [
        [name, _points(value), "-" if name == FULL or full is None else f"{100 * (value - full):+.2f}"]
        for name, value in found["ablation"].items()
    ]
    text = _lead(args, found) + markdown(header, rows)
    if losses:
        text += _ablation_lead(args) + markdown(("losses", "accuracy", "against all four"), losses)
    return text


def _points(share: float) -> str:
    return f"{100 * share:.2f}"


def _lead(args: argparse.Namespace, found: dict[str, Any]) -> str:
    counts, probe = found["counts"], found["teacher"].get("probe")
    said = "" if probe is None else f" (a logistic regression on frozen features: {_points(probe)})"
    part = f" --per-class {' '.join(map(str, args.per_class))}" if args.per_class else ""
    few = "as many of these questions a class as the table says" if args.per_class else "the same questions"
    return f"""# MiniLM distilled on CLINC150

Teacher: MiniLM fine-tuned with all its weights for {args.teacher_epochs:g} epoch(s) on {counts[0]:,} questions of 150
intents{said}. Students have the teacher's width, begin as copies of the layers that they learn from, and learn on
{few} {args.layer_epochs:g} epoch(s) from layers (embedding, hidden,
attention; identity projections; peak rate {args.layer_lr:g}) and {args.answer_epochs:g} from answers (soft,
temperature 1; peak rate {args.answer_lr:g}; head at 5 times the rate, begun as the teacher's), {args.batch} questions
a step, no general stage, no variants of questions, one seed. Accuracy in
percent on {counts[1]:,} test questions, used for nothing else. Speed: features of questions of 9 to 16
tokens, one thread, both models in one process in turns whose order alternates, median of {args.repeats} ratios; the
machine was shared with much other work, so that milliseconds are long. Made by

```sh
python -m benchmarks.studies.tinybert --data FILE --layers {" ".join(map(str, args.layers))} \\
  --teacher-epochs {args.teacher_epochs:g} \\
  --layer-epochs {args.layer_epochs:g} --answer-epochs {args.answer_epochs:g} --batch {args.batch}{part} \\
  --ablation-per-class {args.ablation_per_class} --ablation-layers {args.ablation_layers} --out DIR
```

"""


def _ablation_lead(args: argparse.Namespace) -> str:
    return f"""
## Each loss left out

The student of {args.ablation_layers} layers with {args.ablation_per_class} questions a class, as many epochs over them,
the same order and start in every row; one seed; accuracy on {args.ablation_test} test questions a class, where a
difference of a point is within the error of the test. All terms of the layers share one gradient, clipped at norm 1, so
that in so few steps a term with large values, such as that of attention, may leave little to the others.

"""


def main() -> None:
    """Run everything that is not done yet and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="CLINC150 as JSON")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--layers", type=int, nargs="+", default=[3, 2])
    for name, usual in (("teacher-epochs", 1.0), ("layer-epochs", 1.0), ("answer-epochs", 1.0), ("teacher-lr", 1e-4)):
        parser.add_argument(f"--{name}", type=float, default=usual)
    parser.add_argument("--layer-lr", type=float, default=3e-4)
    parser.add_argument("--answer-lr", type=float, default=2e-4)
    parser.add_argument("--per-class", type=int, nargs="+", help="questions a class for each student (default: all)")
    numbers = {"batch": 32, "ablation-per-class": 20, "ablation-test": 10, "ablation-layers": 2, "repeats": 41}
    for name, number in {**numbers, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    task = read_task("split-clinc150", args.data)
    teacher, head, scores = teach(args, task)
    found: dict[str, Any] = {
        "teacher": scores,
        "parameters": teacher.parameter_count,
        "counts": [len(task.train), len(task.test)],
        "settings": {key: value for key, value in vars(args).items() if key not in ("out", "data")},
        "students": {},
        "ablation": {},
    }
    for number, layers in enumerate(args.layers):
        few = args.per_class[min(number, len(args.per_class) - 1)] if args.per_class else None
        found["students"][str(layers)] = small(args, teacher, head, task, layers, few)
        _write(args, found)
        for name, score in ablate(args, teacher, head, task, () if number else tuple(LOSSES)):
            found["ablation"][name] = score
            _write(args, found)
    for name, score in ablate(args, teacher, head, task, tuple(CONTROLS)):
        found["ablation"][name] = score
        _write(args, found)
    print(page(args, found), flush=True)


def _write(args: argparse.Namespace, found: dict[str, Any]) -> None:
    write_json(args.out / "tinybert.json", found)
    write_text(args.out / "tinybert.md", page(args, found))


if __name__ == "__main__":
    main()
