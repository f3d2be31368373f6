"""Which constants of IPT are good: a grid on held-out *training* data, never on test images.

    python -m benchmarks.studies.ipt FEATURES.npz --out benchmarks/results

FEATURES.npz holds ``x`` (float, (n, width)) and ``y`` (int, (n,)): training features of a frozen backbone. A fifth of
each class is held out to score; class orders are drawn from seeds that no reported stream uses. The table and every
figure behind it are written as ipt-study.md and ipt-study.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backbones.core.artifacts import write_json, write_text
from backbones.core.errors import FrostlineError
from backbones.core.seed import torch_generator
from continual.heads import HEADS

PLAIN = {
    "prototypes": 5, "tau": 1 / 16, "metric": "none", "noise": 0, "settle": False, "balance": False, "average": False,
    "replay_weight": "index", "epochs": 30, "batch_size": 64, "lr": 0.05, "decay": False,
}  # fmt: skip
GRID: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("references", "ncm", {}),
    ("references", "linear", {}),
    ("references", "slda", {}),
    ("references", "ranpac", {}),
    ("from plain to ours", "ipt", PLAIN),
    ("from plain to ours", "ipt", {"metric": "none"}),
    ("from plain to ours", "ipt", {"metric": "standard"}),
    ("from plain to ours", "ipt", {}),
    ("without tuning", "ipt", {"epochs": 0}),
    ("prototypes", "ipt", {"prototypes": 1}),
    ("prototypes", "ipt", {"prototypes": 5}),
    ("prototypes", "ipt", {"prototypes": 20}),
    ("noise", "ipt", {"noise": 0}),
    ("noise", "ipt", {"noise": 1.0}),
    ("temperature", "ipt", {"tau": 1 / 16}),
    ("temperature", "ipt", {"tau": 1 / 32}),
    ("schedule", "ipt", {"lr": 0.03}),
    ("schedule", "ipt", {"lr": 0.3}),
    ("schedule", "ipt", {"epochs": 5}),
    ("schedule", "ipt", {"decay": False}),
    ("replay", "ipt", {"replay_size": 128}),
    ("replay", "ipt", {"replay_weight": 1.0}),
    ("replay", "ipt", {"balance": False}),
    ("example prototypes", "ipt", {"similarity_weight": 0}),
    ("example prototypes", "ipt", {"settle": False}),
    ("shrinkage", "ipt", {"shrinkage": 0.2}),
)
EXTREMES: tuple[tuple[int, str], ...] = ((1, "ipt"), (50, "ipt"))


@dataclass(frozen=True)
class Row:
    """One line of the study; accuracies and the drift rate in percent, one value for each class order."""

    group: str
    head: str
    settings: dict[str, Any]
    increment: int
    a_bar: list[float]
    a_last: list[float]
    drift: list[float]
    seconds: float


@dataclass(frozen=True)
class Split:
    """Training features fit on and held out, in the order of a stream: (classes, samples, width) each."""

    fit: Tensor
    held: Tensor


def load_features(path: Path, per_class: int | None) -> Tensor:
    """Read features as float32 (classes, samples, width), the same number for every class.

    Raises:
        FrostlineError: the file has no ``x`` and ``y`` of one length, or a class has fewer than 5 samples.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            x, y = np.asarray(archive["x"], dtype=np.float32), np.asarray(archive["y"], dtype=np.int64)
    except (OSError, KeyError, ValueError) as error:
        raise FrostlineError(f"{path}: no features ({error}); pass an .npz with x (n, width) and y (n,).") from error
    counts = np.bincount(y)
    least = int(counts[counts > 0].min())
    if x.ndim != 2 or len(x) != len(y) or least < 5:
        raise FrostlineError(f"{path}: x {x.shape}, y {y.shape}, least class {least}; a study needs 5 of each class.")
    size = min(per_class or least, least)
    rows = np.stack([np.flatnonzero(y == label)[:size] for label in np.unique(y)])
    return torch.from_numpy(x[rows])


def hold_out(features: Tensor, seed: int) -> Split:
    """Draw a class order and hold out a fifth of each class."""
    generator = torch_generator(seed, "ipt study")
    classes, size = features.shape[:2]
    order = torch.randperm(classes, generator=generator)
    mixed = torch.stack([features[label][torch.randperm(size, generator=generator)] for label in order.tolist()])
    return Split(mixed[:, size // 5 :].contiguous(), mixed[:, : size // 5].contiguous())


def stream(split: Split, head: str, settings: Mapping[str, Any], increment: int, seed: int) -> tuple[float, ...]:
    """Run one stream; return A_bar, A_last, mean category drift rate (percent) and seconds of learning."""
    learner = HEADS.load(head).parse(settings, f"head {head!r}").build(seed)
    classes, size = split.fit.shape[:2]
    held = split.held.shape[1]
    accuracies, drifts, seconds, right = [], [], 0.0, torch.empty(0, dtype=torch.bool)
    for start in range(0, classes, increment):
        end = min(start + increment, classes)
        labels = torch.arange(start, end).repeat_interleave(size)
        began = time.perf_counter()
        learner.partial_fit(split.fit[start:end].flatten(0, 1), labels)
        seconds += time.perf_counter() - began
        chosen = learner.predict(split.held[:end].flatten(0, 1))
        if len(right):
            drifts.append(float((right & (chosen[: len(right)] >= start)).float().mean()))
        right = chosen == torch.arange(end).repeat_interleave(held)
        accuracies.append(float(right.float().mean()))
    drift = sum(drifts) / max(len(drifts), 1)
    return 100 * sum(accuracies) / len(accuracies), 100 * accuracies[-1], 100 * drift, seconds


def joint(split: Split) -> float:
    """Return the held-out accuracy (percent) of multinomial logistic regression on all classes at once."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = torch.arange(len(split.fit))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.03, max_iter=200))
    model.fit(split.fit.flatten(0, 1).numpy(), classes.repeat_interleave(split.fit.shape[1]).numpy())
    right = classes.repeat_interleave(split.held.shape[1]).numpy()
    return 100 * float(model.score(split.held.flatten(0, 1).numpy(), right))


def measure(splits: Mapping[int, Split], group: str, head: str, settings: Mapping[str, Any], increment: int) -> Row:
    """Run one line of the study on every class order."""
    runs = [stream(split, head, settings, increment, seed) for seed, split in splits.items()]
    a_bar, a_last, drift, seconds = ([run[column] for run in runs] for column in range(4))
    return Row(group, head, dict(settings), increment, a_bar, a_last, drift, sum(seconds) / len(seconds))


def render(rows: Sequence[Row], bound: float, facts: Mapping[str, Any]) -> str:
    """Return the page."""
    gap = bound - _mean(next(row for row in rows if row.head == "ncm").a_last)
    lines = [
        "# Which constants of IPT are good",
        "",
        "Measured on held-out **training** data; no test image was read. "
        + ", ".join(f"{key}: {value}" for key, value in facts.items())
        + f". Joint multinomial logistic regression on all of it: {bound:.2f}.",
        "",
        "A row changes only the settings it names; `ipt` alone is the default. Share of gap: of the way in A_last from",
        "`ncm` to the joint regression. CDR: category drift rate. s: seconds of learning the whole stream.",
        "",
        "| group | head | settings | A_bar | A_last | share of gap | CDR | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    low = bound - gap
    for row in rows:
        words = ", ".join(f"{key}={_short(value)}" for key, value in row.settings.items()) or "default"
        share = f"{100 * (_mean(row.a_last) - low) / gap:.0f} %"
        figures = f"{_mean(row.a_bar):.2f} | {_mean(row.a_last):.2f} | {share} | {_mean(row.drift):.2f}"
        lines.append(f"| {row.group} | {row.head} | {words} | {figures} | {row.seconds:.1f} |")
    return "\n".join(lines) + "\n"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--seeds", default="1,2,3", help="class orders, such as 1,2,3")
    parser.add_argument("--per-class", type=int, default=None, help="samples of each class; all by default")
    parser.add_argument("--groups", default="", help="only these groups, separated by commas (ncm is always run)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="ipt-study")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    features = load_features(options.features, options.per_class)
    splits = {int(seed): hold_out(features, int(seed)) for seed in options.seeds.split(",")}
    chosen = set(options.groups.split(",")) - {""}
    jobs = [(group, head, settings, 10) for group, head, settings in GRID]
    jobs += [(f"increments of {step}", head, {}, step) for step, head in EXTREMES]
    rows = []
    for group, head, settings, step in jobs:
        if chosen and group not in chosen and (head, step) != ("ncm", 10):
            continue
        rows.append(measure(splits, group, head, settings, step))
        print(json.dumps(asdict(rows[-1])), flush=True)
    first = next(iter(splits.values()))
    facts = {
        "classes": len(features), "fit on": f"{first.fit.shape[1]} of each class",
        "scored on": f"{first.held.shape[1]} of each class", "class orders": options.seeds, "increment": "10 classes",
    }  # fmt: skip
    bound = _mean([joint(split) for split in splits.values()])
    write_json(
        options.out / f"{options.name}.json", {"facts": facts, "joint": bound, "rows": [asdict(r) for r in rows]}
    )
    write_text(options.out / f"{options.name}.md", render(rows, bound, facts))


if __name__ == "__main__":
    main()
