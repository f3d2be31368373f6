"""Train and measure ``bundled:vit-micro``.

    python -m backbones.recipes.vit_micro --data DIR --teacher FILE.safetensors --out DIR
    python -m backbones.recipes.vit_micro --evaluate DIR [--out DIR]

DIR of ``--data`` holds ``train/<class>/<image>`` (Tiny-ImageNet at 32 pixels), DIR of ``--evaluate`` holds
``train/<class>/<image>`` and ``test/<class>/<image>`` or ``val/<class>/<image>`` (CIFAR-100). Needs torch, timm, numpy
and Pillow; ``--evaluate`` needs scikit-learn too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer

from backbones.core.artifacts import digest_tensors, load_tensors, save_tensors, write_json
from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress
from backbones.core.seed import lent_generator, numpy_generator, torch_generator
from backbones.recipes.distil import Course, Plan, distil
from backbones.recipes.evaluate import class_means, features, linear_probe
from backbones.recipes.images import read_class_folders, to_unit
from backbones.recipes.lines import Lines
from backbones.recipes.readers import Lesson
from backbones.recipes.student import build_student
from backbones.recipes.teacher import Teacher, cached_targets, load_teacher

SHIPPED = Path(__file__).resolve().parent.parent / "weights"
SIZE = 32
KWARGS: dict[str, Any] = {
    "img_size": SIZE,
    "patch_size": 4,
    "embed_dim": 192,
    "depth": 6,
    "num_heads": 3,
    "num_classes": 0,
    "class_token": True,
    "global_pool": "token",
}
NOTES = {
    "data": "Tiny-ImageNet-200 at 32x32 pixels, training split, with labels",
    "teacher": "a ViT-Ti/16 fine-tuned on Tiny-ImageNet-200: its outputs only, no weight of it is in the file",
    "licence": "trained on ImageNet images: non-commercial research use under the ImageNet terms",
    "card": "MODEL_CARD.md",
}


def lesson_of(
    folder: Path, teacher: Teacher, count: int | None, out: Path, plan: Plan, device: torch.device, bar: Progress
) -> Lesson:
    """Read the training images and the teacher's answers to ``count`` of them (None: all), cached in ``out``/cache."""
    found = read_class_folders(folder / "train", SIZE, out / "cache", bar)
    classes = teacher.head.out_features
    if len(found.classes) > classes:
        raise FrostlineError(
            f"{folder / 'train'} has {len(found.classes)} classes and the teacher's head {classes}; pass a teacher "
            "that was fine-tuned on these classes in alphabetical order."
        )
    order = numpy_generator(plan.seed, "order").permutation(len(found.images))
    count = min(count or len(order), len(order))
    grid = SIZE // int(KWARGS["patch_size"])
    targets = cached_targets(
        teacher,
        found.images,
        found.digest,
        order,
        count,
        grid,
        out / "cache",
        device,
        workers=plan.workers,
        progress=bar,
    )
    with torch.inference_mode():
        scores = teacher.head(torch.from_numpy(np.asarray(targets[:, 0], dtype=np.float32))).softmax(-1).numpy()
    return Lesson(found.images[order[:count]], found.labels[order[:count]], targets, scores)


def train(
    folder: Path,
    teacher: Teacher,
    count: int | None,
    out: Path,
    plan: Plan,
    device: torch.device,
    start: Path | None = None,
) -> VisionTransformer:
    """Train from scratch, or on from the weights in folder ``start``, and write weights, config and record to ``out``.

    The files are ``vit_micro.safetensors``, ``vit_micro.json`` and ``training.json``.
    """
    bar = Lines()
    lesson = lesson_of(folder, teacher, count, out, plan, device, bar)
    if start is None:
        sample = to_unit(lesson.images[:1024], torch.device("cpu"))
        model = build_student(KWARGS, sample, torch_generator(plan.seed, "student"))
    else:
        model = load(start)
    origin = None if start is None else digest_tensors(model.state_dict())
    course = distil(model, lesson, plan, device, out / "checkpoint.pt", progress=bar)
    _write(model, course, len(lesson.images), plan, teacher, out, origin)
    return model


def _write(
    model: VisionTransformer,
    course: Course,
    images: int,
    plan: Plan,
    teacher: Teacher,
    out: Path,
    origin: str | None,
) -> None:
    tensors = {name: tensor.half() for name, tensor in model.state_dict().items()}
    save_tensors(out / "vit_micro.safetensors", tensors)
    write_json(
        out / "vit_micro.json",
        {
            "arch": "vision_transformer.VisionTransformer",
            "kwargs": KWARGS,
            "size": SIZE,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "weights": "vit_micro.safetensors",
            "digest": digest_tensors(tensors),
            "notes": NOTES,
        },
    )
    record = {
        "plan": repr(plan),
        "images": images,
        "start": origin,
        "steps": course.step,
        "epochs": round(course.step * min(plan.batch, images) / images, 2),
        "minutes": round(course.seconds / 60, 1),
        "teacher": {"digest": teacher.digest, "size": teacher.size},
        "columns": ["share done", "class token", "patch tokens", "labels", "spread"],
        "history": course.history,
    }
    write_json(out / "training.json", record)


def load(folder: Path) -> VisionTransformer:
    """Rebuild the ViT that ``folder``/vit_micro.json and its safetensors file describe, in float32."""
    config = json.loads((folder / "vit_micro.json").read_text())
    tensors, _ = load_tensors(folder / config["weights"])
    with lent_generator(0):
        model = VisionTransformer(**config["kwargs"])
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return model.eval()


def measure(model: VisionTransformer, folder: Path, device: torch.device, workers: int = 1) -> dict[str, float]:
    """Return the accuracy in percent of a linear probe and of cosine class means on frozen features of ``folder``."""
    bar = Lines()
    held = "test" if (folder / "test").is_dir() else "val"
    known = read_class_folders(folder / "train", SIZE, progress=bar, flag="--evaluate")
    asked = read_class_folders(folder / held, SIZE, progress=bar, flag="--evaluate")
    if known.classes != asked.classes:
        raise FrostlineError(f"{folder}/train and {folder}/{held} have different class folders; unpack the data again.")
    x, y = (features(model, part.images, device, workers=workers, progress=bar) for part in (known, asked))
    return {
        "train images": len(x),
        "test images": len(y),
        "linear probe": round(100 * float(np.mean(linear_probe(x, known.labels, y) == asked.labels)), 2),
        "ncm": round(100 * float(np.mean(class_means(x, known.labels, y) == asked.labels)), 2),
    }


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m backbones.recipes.vit_micro",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, help="folder with train/<class>/<image>, 32x32 pixels")
    parser.add_argument("--teacher", type=Path, help="safetensors of a timm ViT, 192 wide, with a head for the classes")
    parser.add_argument("--out", type=Path, help="folder for the weights, the config, the caches and the checkpoint")
    parser.add_argument(
        "--start", type=Path, help="folder with vit_micro.json to train on from (default: from scratch)"
    )
    parser.add_argument("--teacher-size", type=int, default=128, help="pixels the teacher sees (default 128)")
    parser.add_argument("--teacher-images", type=int, help="how many images the teacher sees (default all)")
    parser.add_argument("--minutes", type=float, default=Plan.minutes, help="wall time of training (default 35)")
    parser.add_argument("--steps", type=int, help="train by steps instead of time: then the seed decides the result")
    parser.add_argument("--batch", type=int, default=Plan.batch)
    parser.add_argument("--shard", type=int, default=Plan.shard, help="images a forward; on a GPU, use --batch's")
    parser.add_argument("--workers", type=int, default=Plan.workers, help="threads that share the shards out (CPU)")
    parser.add_argument("--lr", type=float, default=Plan.lr)
    parser.add_argument("--spread", type=float, default=Plan.spread, help="weight of an even spread of the features")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (bf16 there)")
    parser.add_argument("--evaluate", type=Path, help="CIFAR-100 as class folders: measure --out's weights or ours")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code, 2 for an error that the user can mend."""
    given = _arguments(words)
    try:
        device = torch.device(given.device)
        if given.workers > 1:
            torch.set_num_threads(1)  # the workers are the threads
        if given.data is not None or given.evaluate is None:
            missing = [flag for flag in ("data", "teacher", "out") if getattr(given, flag) is None]
            if missing:
                needs = ", ".join(f"--{flag}" for flag in missing)
                raise FrostlineError(
                    f"training needs {needs}: pass --data DIR (with train/<class>/<image>), --teacher FILE.safetensors "
                    "and --out DIR; or pass --evaluate DIR alone to measure the shipped weights."
                )
            plan = Plan(
                given.steps,
                given.minutes,
                given.batch,
                given.lr,
                spread=given.spread,
                seed=given.seed,
                shard=given.shard,
                workers=given.workers,
            )
            teacher = load_teacher(given.teacher, given.teacher_size)
            train(given.data, teacher, given.teacher_images, given.out, plan, device, given.start)
        if given.evaluate is not None:
            figures = measure(load(given.out or SHIPPED), given.evaluate, device, given.workers)
            sys.stdout.write(json.dumps(figures, indent=2) + "\n")
            if given.out is not None:
                write_json(given.out / "figures.json", figures)
    except FrostlineError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
