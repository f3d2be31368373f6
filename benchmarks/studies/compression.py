r"""Train large, then compress: models of several sizes trained on one small task, compressed, compared at equal bytes.

    python -m benchmarks.studies.compression --sizes 16x3,24x3,32x3,48x3,64x3 --out runs/compression

Pages of ``backbone compress`` and ``backbone export`` are taken into the page with ``--reports``, such as those of

    backbone compress timm:vit_tiny_patch16_224 --weights FILE --benchmark folder \
        --data-root CIFAR100 --train 20 --test 20 --bits 8,6,4,3 --within 2 --out runs/vit
    backbone export minilm --format int8 --benchmark split-clinc150 --data-root FILE --train 5 --test 3 --out runs/int8

The claim to test (Li et al. 2020): heavily compressed large models beat lightly compressed small ones at equal bytes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from backbones.base import Backbone
from backbones.commands.shared import read_task
from backbones.core.artifacts import write_bytes, write_json, write_text
from backbones.core.errors import FrostlineError
from backbones.core.labelled import Task
from backbones.core.preprocess import Preprocessing
from backbones.core.seed import derive, lent_generator
from backbones.lifecycle.compress.frontier import Frontier, explore
from backbones.lifecycle.compress.plan import Plan
from backbones.lifecycle.compress.report import facts_of
from backbones.plots import scatter
from backbones.training.loop import Recipe
from backbones.training.tasks import finetune
from backbones.vit import from_timm

KILO = 1e3
LIGHT = 8  # bits of a lightly compressed model


def main() -> None:
    """Run the study; a size that is done is kept, so that a killed command goes on."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", default="16x3,24x3,32x3,48x3,64x3", help="width x blocks, smallest first")
    parser.add_argument("--benchmark", default="split-digits")
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--steps", type=int, default=400, help="of training a model")
    parser.add_argument("--retrain", type=int, default=60, help="steps after a round of pruning")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--reports", type=Path, nargs="*", default=[], help="report.json of other commands to show")
    given = parser.parse_args()
    torch.set_num_threads(1)
    task = read_task(given.benchmark, given.data_root, seed=given.seed)
    done: dict[str, Any] = {}
    for size in given.sizes.split(","):
        file = given.out / f"{size}.json"
        if not file.exists():
            backbone, seconds = _trained(size, task, given.steps, given.seed)
            plan = Plan(bits=(8, 6, 4, 3), sparsity=(0.0, 0.5, 0.75, 0.9), rounds=1,
                        recipe=Recipe(steps=given.retrain, batch=64, lr=5e-4, seed=given.seed))  # fmt: skip
            frontier: Frontier = explore(backbone, plan, task=task, say=print)
            write_json(file, {"seconds": seconds, "parameters": backbone.parameter_count, **facts_of(frontier)})
        done[size] = json.loads(file.read_text())
    command = f"python -m benchmarks.studies.compression --sizes {given.sizes} --steps {given.steps} --out DIR"
    page, picture = _page(done, task, command)
    page += "".join(_reported(json.loads(file.read_text())) for file in given.reports)
    write_text(given.out / "compression.md", page)
    write_json(given.out / "compression.json", done)
    write_bytes(given.out / "compression.png", picture)
    print(page)


def _trained(size: str, task: Task, steps: int, seed: int) -> tuple[Backbone, float]:
    from timm.models.vision_transformer import VisionTransformer

    try:
        width, depth = (int(word) for word in size.split("x"))
    except ValueError:
        raise FrostlineError(f"size {size!r}: write width x blocks, such as 32x3.") from None
    with lent_generator(derive(seed, "study", size)):
        heads = max(1, width // 16)
        module = VisionTransformer(
            img_size=16, patch_size=4, embed_dim=width, depth=depth, num_heads=heads, num_classes=0
        )
    backbone = from_timm(module, size, Preprocessing(16))
    tuned = finetune(backbone, task.train, Recipe(steps=steps, batch=64, lr=2e-3, seed=seed), full=True, say=print)
    return backbone, tuned.course.seconds


def contests(done: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one contest for each lightly compressed model but the largest: it against larger ones of no more bytes.

    Lightly compressed is 8 bits, nothing pruned; of the larger models, the point that did best on the test data counts,
    which favours them a little.
    """
    sizes, found = list(done), []
    for number, size in enumerate(sizes[:-1]):
        light = next(p for p in done[size]["points"] if p["bits"] == LIGHT and p["sparsity"] == 0)
        rivals = [
            (other, point)
            for other in sizes[number + 1 :]
            for point in done[other]["points"]
            if point["bytes"] <= light["bytes"]
        ]
        best = max(rivals, key=lambda each: each[1]["linear"], default=None)
        found.append({"size": size, "light": light, "rival": best})
    return found


def _page(done: dict[str, Any], task: Task, command: str) -> tuple[str, bytes]:
    lines = [
        "# Train large, then compress", "", f"`{command}`", "",
        f"Vision transformers of several widths and depths, trained on {task.name} ({len(task.train)} training and "
        f"{len(task.test)} test samples), then put on 8, 6, 4 and 3 bits with 0, 50, 75 and 90 % of the weights pruned "
        "(one round for each share, retrained towards the features of the dense model). Accuracy: a head refitted to "
        "the frozen features; kept head: fitted to the dense ones. Bytes are those of the formula; the file adds the "
        "names of its tensors, which weigh on models as small as these. One seed.", "",
        "![accuracy against bytes](compression.png)", "",
        "| model | weights | zero | bytes, kB | file, kB | refitted head | kept head |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    groups: dict[str, list[tuple[float, float, str]]] = {}
    for size, facts in done.items():
        for point in facts["points"]:
            bits = "float32" if point["bits"] == 32 else f"{point['bits']} bits"
            lines.append(
                f"| {size} | {bits} | {point['sparsity']:.0%} | {point['bytes'] / KILO:.1f} | "
                f"{point['file'] / KILO:.1f} | {point['linear']:.1%} | "
                f"{point['kept']:.1%} |"
            )
            groups.setdefault(size, []).append((point["bytes"] / KILO, 100 * point["linear"], ""))
    lines += ["", "## The claim", "", "| lightly compressed | bytes, kB | right | best larger one | right |",
              "|---|---:|---:|---|---:|"]  # fmt: skip
    won, held = 0, contests(done)
    fought = sum(each["rival"] is not None for each in held)
    for each in held:
        light, rival = each["light"], each["rival"]
        start = f"| {each['size']}, 8 bits | {light['bytes'] / KILO:.1f} | {light['linear']:.1%} |"
        if rival is None:
            lines.append(f"{start} none is as small | |")
            continue
        size, point = rival
        won += point["linear"] > light["linear"]
        lines.append(
            f"{start} {size}, {point['bits']} bits, {point['sparsity']:.0%} zero, {point['bytes'] / KILO:.1f} kB | "
            f"{point['linear']:.1%} |"
        )
    error = 100 * (0.05 * 0.95 / len(task.test)) ** 0.5
    lines += ["", f"The larger model was better in {won} of {fought} contests. An accuracy near 95 % on "
              f"{len(task.test)} test samples has a sampling error of about {error:.1f} points: smaller differences "
              "say nothing. All sizes had the same number of steps, in which the smallest are far from done: at the "
              "largest sizes, where training no longer tells them apart, the contest is the fairer one. Of the larger "
              "models the best point on the test data counts.", ""]  # fmt: skip
    return "\n".join(lines), scatter(groups, "kB by the formula", "linear probe, % right", log_x=True, front=True)


def _reported(report: dict[str, Any]) -> str:
    """Return the tables of another command's page as a section."""
    lines = [f"\n## {report['title']}", "", report["lead"]]
    facts = {key: value for key, value in report["facts"].items() if isinstance(value, str | int | float)}
    lines += ["", "; ".join(f"{key}: {value}" for key, value in facts.items())]
    for table in report["tables"]:
        lines += ["", table["caption"], "", f"| {' | '.join(table['header'])} |", "|---" * len(table["header"]) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in table["rows"]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
