"""The table of PATs: every PAT and three stacks on images and on text, with class means and with IPT, in one command.

    python -m benchmarks.studies.pats --cifar DIR --weights vit_tiny.safetensors --clinc data_full.json --out runs/pats

Every row runs in a process of its own, so that its peak memory is its own; all its seeds share what is stored below the
lowest touched block. A killed command goes on where it stopped. Test samples are used for nothing but the scores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from backbones.core.artifacts import write_json, write_text
from backbones.core.seed import numpy_generator
from backbones.features import FeatureStore
from benchmarks.studies.engines import learn, spread
from benchmarks.types import Dataset, Subset
from continual.figures_table import markdown
from continual.plan import Plan, prepare
from continual.settings import RunSettings
from continual.spent import peak_memory

HEADS_SHOWN = ("ncm", "ipt")
PHASES = ("tuning", "features")
HEADER = ("PAT", "trained", "ncm A_bar", "ncm A_last", "ipt A_bar", "ipt A_last", "ipt CDR", "seconds", "peak MiB")


@dataclass(frozen=True)
class Row:
    """One PAT or stack as the table runs it: registered names, settings that differ from the defaults, peak rate."""

    pat: str
    lr: float
    settings: dict[str, Any] = field(default_factory=dict)


# Rates: one for each kind of parameter, from the ranges that the papers give; none was chosen by a score of this table.
ROWS = (
    Row("frozen", 1e-3),
    Row("vpt", 5e-3),
    Row("pasta", 5e-3),
    Row("layernorm", 2e-3),
    Row("lora", 1e-3),
    Row("lora_fusion", 5e-3),
    Row("sparse", 5e-4),
    Row("adapter", 1e-3),
    Row("adapter", 1e-3, {"kind": "parallel"}),
    Row("prefix", 5e-3),
    Row("ssf", 2e-3),
    Row("bitfit", 2e-3),
    Row("mix", 1e-3),
    Row("layernorm+prefix+adapter", 2e-3, {"adapter": {"where": "proj"}}),
    Row("vpt+adapter", 2e-3),
    Row("lora+mix", 1e-3),
    Row("side", 1e-3),
)


def title(row: Row) -> str:
    """Return what the table calls a row."""
    said = ", ".join(f"{key}={value}" for key, value in _flat(row.settings).items())
    return f"{row.pat} ({said})" if said else row.pat


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    return found


def some(dataset: Dataset, train: int | None, test: int | None) -> Dataset:
    """Keep at most so many training and test samples of each class, drawn once by a generator of seed 0."""

    def few(samples: Any, count: int | None, kind: str) -> Any:
        if count is None:
            return samples
        chosen = []
        for label in range(len(dataset.class_names)):
            own = np.flatnonzero(samples.labels == label)
            chosen.append(numpy_generator(0, kind, label).permutation(own)[:count])
        return Subset(samples, np.sort(np.concatenate(chosen)))

    return Dataset(
        dataset.name, dataset.class_names, few(dataset.train, train, "train"), few(dataset.test, test, "test")
    )


def run_row(plan: Plan, folder: Path, store: FeatureStore) -> dict[str, Any]:
    """Run all seeds of one row; returns its figures, accuracies in [0, 1]."""
    seeds = [_seed(plan, seed, folder / f"seed-{seed}", store) for seed in plan.settings.seeds]
    return {"seeds": seeds, "peak_memory_bytes": peak_memory()}


def _seed(plan: Plan, seed: int, folder: Path, store: FeatureStore) -> dict[str, Any]:
    learned = learn(plan, seed, HEADS_SHOWN, folder, store)
    # Of the phases that a PAT decides; what lies below it is stored by the first row that comes by.
    seconds = sum(step.seconds.get(phase, 0.0) for step in learned.steps for phase in PHASES)
    found: dict[str, Any] = {"seed": seed, "trained": learned.trained, "seconds": seconds}
    for name, total in learned.figures.items():
        found[name] = {"a_bar": total.a_bar_sample, "a_last": total.a_last_sample, "cdr": total.cdr_mean}
    return found


def plan_of(args: argparse.Namespace, part: str, row: Row) -> Plan:
    """Return the plan of one row on ``cifar`` or ``clinc``."""
    common = {
        "pat": row.pat,
        "pat_settings": row.settings,
        "pat_schedule": args.schedule,
        "tuning": {"lr": row.lr, "epochs": args.epochs},
        "head": "ipt",
        "seeds": tuple(int(seed) for seed in args.seeds.split(",")),
        "activations": row.pat != "frozen",
    }
    if part == "clinc":
        own = {"benchmark": "split-clinc150", "data_root": args.clinc, "pat_layers": args.clinc_layers}
        return prepare(RunSettings.parse({**common, **_layers(own, row)}, "the study"))
    own = {
        "benchmark": "split-cifar100",
        "data_root": args.cifar,
        "backbone": "timm:vit_tiny_patch16_224",
        "weights": args.weights,
        "pat_layers": args.cifar_layers,
    }
    plan = prepare(RunSettings.parse({**common, **_layers(own, row)}, "the study"))
    return Plan(**{**vars(plan), "dataset": some(plan.dataset, args.cifar_train, args.cifar_test)})


def _layers(own: dict[str, Any], row: Row) -> dict[str, Any]:
    return {**own, "pat_layers": None} if row.pat == "frozen" else own


def table(found: dict[str, dict[str, Any]]) -> str:
    """Return rows as Markdown: mean and half of the 95 % Student-t interval over the seeds, in percent."""
    lines = []
    most = max((len(row["seeds"]) for row in found.values()), default=0)
    for name, row in found.items():
        seeds = row["seeds"]
        if len(seeds) < most:  # a row of a command that was not let finish
            name = f"{name}: {', '.join(str(seed['seed']) for seed in seeds)} alone"
        cells = [
            spread([seed[head][figure] for seed in seeds])
            for head, figure in (
                ("ncm", "a_bar"),
                ("ncm", "a_last"),
                ("ipt", "a_bar"),
                ("ipt", "a_last"),
                ("ipt", "cdr"),
            )
        ]
        seconds = f"{np.mean([seed['seconds'] for seed in seeds]):.0f}"
        lines.append((name, f"{seeds[0]['trained']:,}", *cells, seconds, f"{row['peak_memory_bytes'] / 2**20:,.0f}"))
    return markdown(HEADER, lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the study and write pats.md and pats.json."""
    args = _arguments(argv)
    if args.one is not None:
        part, number = args.one.split(":")
        row = ROWS[int(number)]
        plan = plan_of(args, part, row)
        place = args.out / part / f"{number}-{row.pat}"
        write_json(place / "row.json", run_row(plan, place, FeatureStore(args.store or args.out / "store")))
        return
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for part in ("clinc", "cifar"):
        if getattr(args, part) is None:
            continue
        found[part] = {}
        for number in _chosen(args):
            row = ROWS[number]
            path = args.out / part / f"{number}-{row.pat}" / "row.json"
            if not path.exists():
                began = time.perf_counter()
                words = [*(argv if argv is not None else sys.argv[1:]), "--one", f"{part}:{number}"]
                done = subprocess.run([sys.executable, "-m", "benchmarks.studies.pats", *words], check=False)
                print(f"{part}, {title(row)}: {time.perf_counter() - began:.0f} s, exit {done.returncode}", flush=True)
            if path.exists():
                found[part][title(row)] = json.loads(path.read_text())
        _write(args, found)


def _chosen(args: argparse.Namespace) -> list[int]:
    if args.rows is None:
        return list(range(len(ROWS)))
    wanted = args.rows.split(",")
    return [number for number, row in enumerate(ROWS) if row.pat in wanted]


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clinc", default=None, help="CLINC150: data_full.json or its folder; left out without it")
    parser.add_argument("--cifar", default=None, help="CIFAR-100; left out without it")
    parser.add_argument("--weights", default=None, help="weights of timm:vit_tiny_patch16_224")
    parser.add_argument("--seeds", default="1993,1994,1995")
    parser.add_argument("--rows", default=None, help="PATs to run, such as lora,vpt; default: all")
    parser.add_argument("--schedule", default="first", choices=("first", "every"))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--clinc-layers", default="3-5", help="blocks of 6 that are touched")
    parser.add_argument("--cifar-layers", default="8-11", help="blocks of 12 that are touched")
    parser.add_argument("--cifar-train", type=int, default=20, help="training images of each class")
    parser.add_argument("--cifar-test", type=int, default=10, help="test images of each class")
    parser.add_argument("--store", type=Path, default=None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--one", default=None, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _write(args: argparse.Namespace, found: dict[str, dict[str, dict[str, Any]]]) -> None:
    rows = [{**asdict(row), "title": title(row)} for row in ROWS]
    write_json(args.out / "pats.json", {"rows": rows, "found": found})
    text = _header(args)
    if "clinc" in found:
        text += f"\n## CLINC150, 15 experiences of 10 intents, all texts, MiniLM, blocks {args.clinc_layers}\n\n"
        text += table(found["clinc"])
    if "cifar" in found:
        text += (
            f"\n## CIFAR-100, 10 experiences of 10 classes, {args.cifar_train} training and {args.cifar_test} test "
            f"images a class, ViT-Ti at 224 px, blocks {args.cifar_layers}\n\n"
        )
        text += table(found["cifar"])
    write_text(args.out / "pats.md", text)
    print(text, flush=True)


def _header(args: argparse.Namespace) -> str:
    rates = ", ".join(f"{title(row)} {row.lr:g}" for row in ROWS if row.pat != "frozen")
    return f"""# PATs on images and on text

Every PAT with its default settings in the blocks named, trained on the {args.schedule} experience for {args.epochs}
epochs (peak rates: {rates}; none was chosen by a score of this table), then class means (ncm) or IPT on its features.
Accuracies and the category drift rate (CDR) are in percent, as mean ± half of the 95 % Student-t interval over the
class orders of seeds {args.seeds}. Seconds are wall seconds of a seed for training and features, on two shared cores
with other work beside it, with what lies below the touched blocks read from the store: orders of magnitude, no more
(pat-speed.md compares steps). Peak memory is of the row's process and counts mapped files. Made by

```sh
python -m benchmarks.studies.pats --clinc FILE --cifar DIR --weights FILE --seeds {args.seeds} --epochs {args.epochs} \\
  --schedule {args.schedule} --clinc-layers {args.clinc_layers} --cifar-layers {args.cifar_layers} \\
  --cifar-train {args.cifar_train} --cifar-test {args.cifar_test} --out DIR
```
"""


if __name__ == "__main__":
    main()
