"""The CIFAR-100 table: heads on a frozen backbone, on a prompted one, and the joint bound, in one command.

    python -m benchmarks.studies.cifar100 --data-root DIR --weights vit_tiny.safetensors --out runs/cifar100

Every (PAT, seed) is one engine run whose heads share its features; a killed command goes on where it stopped. Test
images are used for nothing but the scores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backbones.core.artifacts import write_json, write_text
from backbones.features import FeatureStore, store_folder
from benchmarks.studies.engines import learn, spread
from continual.engine import Engine, Step
from continual.figures_table import markdown
from continual.heads import HEADS
from continual.plan import Plan, prepare
from continual.settings import RunSettings

HEADER = ("row", "A_bar", "A_last", "A_last by seed", "forgetting", "CDR", "trained in the PAT", "stored numbers")
HEADS_SHOWN = ("linear", "cosine", "ncm", "slda", "ranpac", "ipt")


@dataclass
class Scored:
    """Figures of one row and seed, in [0, 1]; None where there is none."""

    row: str
    seed: int
    a_bar: float | None
    a_last: float
    forgetting: float | None
    cdr: float | None
    trained: int
    stored: int


class Printer:
    """A progress that prints a line every half minute."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, phase: str, done: int, total: int) -> None:
        if time.monotonic() - self._last > 30:
            self._last = time.monotonic()
            print(f"  {phase}: {done}/{total}", flush=True)


def run_heads(plan: Plan, seed: int, folder: Path, store: FeatureStore) -> list[Scored]:
    """Learn the stream of one seed with all heads on the same features; resumes from ``folder``."""
    settings = plan.settings

    def told(step: Step) -> None:
        print(f"  {settings.pat}, seed {seed}, experience {step.index + 1}: {step.seconds}", flush=True)

    place = folder / f"{settings.pat}-seed-{seed}"
    found = learn(plan, seed, HEADS_SHOWN, place, store, progress=Printer(), told=told)
    return [
        Scored(
            f"{title(settings)} + {name}",
            seed,
            total.a_bar_sample,
            total.a_last_sample,
            total.forgetting,
            total.cdr_mean,
            found.trained,
            found.stored[name],
        )
        for name, total in found.figures.items()
    ]


def title(settings: RunSettings) -> str:
    """Return what a table calls the PAT."""
    if not settings.pat_settings:
        return settings.pat
    said = ", ".join(f"{key}={value}" for key, value in settings.pat_settings.items() if value not in (None, 0.0))
    return f"{settings.pat} ({said})"


def joint_bound(plan: Plan, store: FeatureStore, share: float = 0.1) -> Scored:
    """Fit multinomial logistic regression on all frozen features at once.

    The strength of its regularisation is chosen on a held-out tenth of the training samples.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    engine = Engine(plan.backbone, plan.pat, HEADS.load("ncm")().build(0), store=store, progress=Printer())
    train, test = (store.features(engine.encoder, part).numpy() for part in (plan.dataset.train, plan.dataset.test))
    labels, wanted = plan.dataset.train.labels, plan.dataset.test.labels
    mean, std = train.mean(axis=0), train.std(axis=0) + 1e-6
    train, test = (train - mean) / std, (test - mean) / std
    fit, held, fit_labels, held_labels = train_test_split(
        train, labels, test_size=share, stratify=labels, random_state=0
    )
    best = max(
        (0.003, 0.01, 0.03, 0.1),
        key=lambda c: LogisticRegression(C=c, max_iter=200).fit(fit, fit_labels).score(held, held_labels),
    )
    model = LogisticRegression(C=best, max_iter=300).fit(train, labels)
    accuracy = float((model.predict(test) == wanted).mean())
    return Scored(f"joint logistic regression on frozen features (C={best:g})", 0, None, accuracy, None, None, 0, 0)


def table(rows: Sequence[Scored]) -> str:
    """Return the rows as Markdown: mean and half of the 95 % Student-t interval over the seeds that were run."""
    lines = []
    for name in dict.fromkeys(row.row for row in rows):
        mine = [row for row in rows if row.row == name]
        by_seed = ", ".join(f"{row.seed}: {100 * row.a_last:.2f}" for row in mine if row.seed)
        lines.append(
            (
                name,
                spread([row.a_bar for row in mine]),
                spread([row.a_last for row in mine]),
                by_seed or "-",
                spread([row.forgetting for row in mine]),
                spread([row.cdr for row in mine]),
                f"{mine[0].trained:,}",
                f"{mine[0].stored:,}",
            )
        )
    return markdown(HEADER, lines)


def gap_closed(rows: Sequence[Scored], row: str, base: str) -> float | None:
    """Return the share of the way from ``base`` to the joint bound that ``row`` goes, in A_last."""
    joint = [r.a_last for r in rows if r.row.startswith("joint")]
    mine, low = ([r.a_last for r in rows if r.row == name] for name in (row, base))
    if not (joint and mine and low):
        return None
    return float((np.mean(mine) - np.mean(low)) / (joint[0] - np.mean(low)))


def _plan(args: argparse.Namespace, pat: str, pat_settings: dict[str, Any]) -> Plan:
    tuned = {"epochs": args.epochs, "lr": args.lr}
    settings = RunSettings.parse(
        {
            "benchmark": "split-cifar100",
            "data_root": args.data_root,
            "backbone": args.backbone,
            "weights": args.weights,
            "pat": pat,
            "pat_settings": pat_settings,
            "activations": bool(pat_settings),
            "tuning": tuned,
            "head": "ipt",
            "seeds": tuple(int(seed) for seed in args.seeds.split(",")),
        },
        "the study",
    )
    return prepare(settings)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the study and write cifar100.md and cifar100.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--backbone", default="timm:vit_tiny_patch16_224")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--seeds", default="1993,1994,1995")
    parser.add_argument("--vpt-seeds", default=None, help="seeds of the prompted rows, if fewer")
    parser.add_argument("--parts", default="frozen,joint,vpt", help="what to run now; the page holds these alone")
    parser.add_argument("--vpt-layers", default="all", help="blocks that get prompts")
    parser.add_argument("--vpt-length", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--store", type=Path, default=None)
    parser.add_argument("--out", type=Path, required=True, help="checkpoints, cifar100.md and cifar100.json")
    args = parser.parse_args(argv)
    store = FeatureStore(args.store or store_folder())
    parts, rows = args.parts.split(","), []
    frozen = _plan(args, "frozen", {})
    if "frozen" in parts:
        for seed in frozen.settings.seeds:
            rows += run_heads(frozen, seed, args.out, store)
            _write(args, rows)
    if "joint" in parts:
        rows.append(joint_bound(frozen, store))
        _write(args, rows)
    if "vpt" in parts:
        vpt = _plan(args, "vpt", {"depth": "deep", "length": args.vpt_length, "layers": args.vpt_layers})
        for seed in map(int, (args.vpt_seeds or args.seeds).split(",")):
            rows += run_heads(vpt, seed, args.out, store)
            _write(args, rows)


def _write(args: argparse.Namespace, rows: Sequence[Scored]) -> None:
    write_json(args.out / "cifar100.json", [vars(row) for row in rows])
    text = f"{_header(args)}\n{table(rows)}"
    for row in dict.fromkeys(row.row for row in rows if row.row.endswith("+ ipt")):
        closed = gap_closed(rows, row, "frozen + ncm")
        if closed is not None:
            text += f"\n{row} goes {100 * closed:.1f} % of the way in A_last from frozen + ncm to the joint bound.\n"
    write_text(args.out / "cifar100.md", text)
    print(text, flush=True)


def _header(args: argparse.Namespace) -> str:
    shown = f"--vpt-layers {args.vpt_layers} --vpt-length {args.vpt_length} --epochs {args.epochs} --lr {args.lr:g}"
    if args.vpt_seeds:
        shown += f" --vpt-seeds {args.vpt_seeds}"
    return f"""# CIFAR-100, ten experiences of ten classes

Backbone {args.backbone} with local weights, images resized to its input (`direct`), fp32, or bf16 where
native. Class orders: seeds {args.seeds}, the permutations that peers use. All 50,000 training and 10,000 test
images; test images are used for the scores alone. Accuracies are in percent, sample-weighted, as mean ± half of the
95 % Student-t interval over the seeds; forgetting is in points; CDR is the category drift rate. Made by

```sh
python -m benchmarks.studies.cifar100 --data-root DIR --weights FILE {shown} --seeds {args.seeds} --out DIR
```

IPT is our reconstruction, with the defaults of [ipt-study.md](ipt-study.md), chosen on held-out training images of
other class orders.
"""


def features_of(plan: Plan, store: FeatureStore) -> tuple[Tensor, Tensor]:
    """Return the frozen training features and labels of a plan, for studies on held-out training data."""
    engine = Engine(plan.backbone, plan.pat, HEADS.load("ncm")().build(0), store=store)
    return store.features(engine.encoder, plan.dataset.train), torch.from_numpy(plan.dataset.train.labels)


if __name__ == "__main__":
    main()
