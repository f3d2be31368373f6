"""Does a domain difference help a task difference in a domain without labels? Composable sparse fine-tuning, measured.

    python -m benchmarks.studies.compose --data sst_etc.json --out runs/compose

The task is sentiment, with labels from sentences on films; the other domain is customer reviews of products, of which
only unlabelled text is used. For each seed a *domain difference* is trained by masked-language modelling on product
reviews, a *task difference* by labels of film reviews, both from the same base and both by the two stages of LT-SFT
(Ansell et al., ACL 2022); then both are added to the base. The head is a logistic regression on features of the
labelled film sentences, fitted again for every row. Differences are kept in the output folder: a killed command goes
on.

The data file is JSON: name of a set -> list of [sentence, "0" or "1"], with ``stsa.binary.train`` and
``stsa.binary.dev`` (films) and ``custrev.all`` (products).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from backbones.base import Backbone
from backbones.catalog import LoadOptions, load_backbone
from backbones.compose.adding import composed, overlaps
from backbones.compose.difference import Difference, difference_of
from backbones.compose.files import read_difference, save_difference
from backbones.core.artifacts import write_json, write_text
from backbones.core.seed import numpy_generator
from backbones.encoder import Encoder
from backbones.pat.sparse import Sparse
from benchmarks.studies.words import domain_difference
from continual.figures_table import markdown
from continual.metrics import interval
from continual.settings import Tuning
from continual.training import batches_of, tune

Labels = NDArray[np.int64]
LOSSES = ("loss_before", "loss_after", "loss_without")
HELD = 256  # test sentences on which the loss of masked words is taken
ROWS = ("base", "domain difference", "task difference", "task + domain difference")


@dataclass(frozen=True)
class Texts:
    """Sentences and their labels."""

    texts: list[str]
    labels: Labels

    def some(self, count: int, seed: int, purpose: str) -> Texts:
        """Return ``count`` of them, drawn without replacement."""
        rows = numpy_generator(seed, "compose", purpose).permutation(len(self.texts))[:count]
        return Texts([self.texts[row] for row in rows], self.labels[rows])


@dataclass(frozen=True)
class Domains:
    """Films with labels, products without, and both tests."""

    films: Texts
    films_test: Texts
    products: Texts
    products_test: Texts


def read_domains(path: Path, test: int) -> Domains:
    """Read the data file; every sentence is once in it, and no test sentence is among the others."""
    sets = json.loads(path.read_text(encoding="utf-8"))
    films, films_test, products = (
        _texts(sets[name]) for name in ("stsa.binary.train", "stsa.binary.dev", "custrev.all")
    )
    mixed = products.some(len(products.texts), 0, "split of products")
    seen = set(films.texts)
    fresh = [row for row, text in enumerate(films_test.texts) if text not in seen]
    films_test = Texts([films_test.texts[row] for row in fresh], films_test.labels[fresh])
    return Domains(
        films,
        films_test.some(test, 0, "test of films"),
        Texts(mixed.texts[test:], mixed.labels[test:]),
        Texts(mixed.texts[:test], mixed.labels[:test]),
    )


def _texts(rows: Sequence[Sequence[str]]) -> Texts:
    once = {text.strip(): int(label) for text, label in rows}
    return Texts(list(once), np.array(list(once.values()), dtype=np.int64))


def task_difference(backbone: Backbone, pat: Sparse, films: Texts, epochs: int, lr: float, seed: int) -> Difference:
    """Train a difference by labels, ``epochs`` in each of its two stages."""
    delta = pat.grow(backbone, seed)
    encoder = Encoder(backbone, delta, "fp32")
    try:
        found = tune(
            encoder,
            batches_of(encoder, films.texts),  # type: ignore[arg-type]
            backbone.features,
            torch.from_numpy(films.labels),
            Tuning(epochs=epochs, lr=lr, weight_decay=0.0),
            seed,
        )
        print(f"  labels, seed {seed}: losses {[round(loss, 3) for loss in found.losses]}", flush=True)
        return difference_of(delta, f"task-{seed}")
    finally:
        delta.detach()


def scored(backbone: Backbone, differences: Sequence[Difference], films: Texts, data: Domains) -> dict[str, float]:
    """Return the accuracy on both tests of a head fitted to ``films``, with ``differences`` added to the base."""
    from sklearn.linear_model import LogisticRegression

    with composed(backbone, differences) if differences else nullcontext():
        encoder = Encoder(backbone, None, "fp32")
        train, own, other = (encoder.features(each.texts) for each in (films, data.films_test, data.products_test))
    mean, std = train.mean(dim=0), train.std(dim=0) + 1e-6
    head = LogisticRegression(C=0.01, max_iter=500).fit(((train - mean) / std).numpy(), films.labels)
    return {
        name: float(head.score(((features - mean) / std).numpy(), test.labels))
        for name, features, test in (("films", own, data.films_test), ("products", other, data.products_test))
    }


def run_seed(args: argparse.Namespace, backbone: Backbone, data: Domains, seed: int) -> dict[str, Any]:
    """Train both differences of a seed and score every row, unless an earlier run did."""
    kept = args.out / f"seed-{seed}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    pat = Sparse(density=args.density, layers=args.layers)
    films = data.films.some(args.labels, seed, "labels")
    made: dict[str, Difference] = {}
    for kind in ("task", "domain"):
        path = args.out / "differences" / f"{kind}-{seed}.safetensors"
        if not path.exists():
            if kind == "task":
                fresh = task_difference(backbone, pat, films, args.epochs, args.lr, seed)
            else:
                fresh = domain_difference(
                    backbone, pat, data.products.texts, data.products_test.texts[:HELD], args.steps, args.lr, seed
                )
            save_difference(path, fresh)
        made[kind] = read_difference(path)
    sets: tuple[list[Difference], ...] = ([], [made["domain"]], [made["task"]], [made["task"], made["domain"]])
    rows = {name: scored(backbone, chosen, films, data) for name, chosen in zip(ROWS, sets, strict=True)}
    losses = {key: made["domain"].settings[key] for key in LOSSES}
    shared = overlaps(list(made.values()))[0][1]
    found = {"seed": seed, "k": made["task"].k, "shared": shared, "losses": losses, "rows": rows}
    write_json(kept, found)
    return found


def page(args: argparse.Namespace, found: list[dict[str, Any]], data: Domains) -> str:
    """Return the page."""
    lines = []
    for name in ROWS:
        scores = [[run["rows"][name][test] for run in found] for test in ("films", "products")]
        gain = [run["rows"][name]["products"] - run["rows"]["task difference"]["products"] for run in found]
        lines.append((name, *map(_spread, scores), "-" if name == "task difference" else _spread(gain, "+")))
    table = markdown(("weights", "films", "products", "products, against task alone"), lines)
    shared = ", ".join(f"{run['shared']:,}" for run in found)
    losses = [_spread([run["losses"][key] / 100 for run in found], digits=2) for key in LOSSES]
    chance = found[0]["k"] * args.density
    options = f"--layers {args.layers} --density {args.density:g} --labels {args.labels} --epochs {args.epochs} "
    options += f"--steps {args.steps} --lr {args.lr:g} --test {args.test} --max-tokens {args.max_tokens}"
    return f"""# Composable sparse fine-tuning: a task from films, a domain of products

Backbone {args.backbone}, blocks {args.layers}, sentences cut at {args.max_tokens} tokens. Sentiment is learned from
{args.labels:,} labelled sentences on films; the domain from {len(data.products.texts):,} sentences of product reviews
without labels, by {args.steps} steps of masked-language modelling with 32 sentences in each of two stages (before them
a word head learns alone; it is thrown away at the end). Each difference changes {found[0]["k"]:,} weights.

Tests: {len(data.films_test.texts)} sentences on films, {len(data.products_test.texts)} on products; no difference and
no head was trained on one of them. The head is a logistic regression on the labelled film sentences, fitted again for
every row. Accuracy in percent, mean ± half of the 95 % Student-t interval over the seeds
{", ".join(str(run["seed"]) for run in found)}; a seed draws the labelled sentences, the masks and the order. Made by

```sh
python -m benchmarks.studies.compose --data sst_etc.json --seeds {args.seeds} \\
  {options} --out DIR
```

{table}
Guessing masked words in {min(HELD, args.test)} of the test sentences on products costs {losses[0]} nats a word before
the domain difference is trained (head alone) and {losses[1]} with it; with the head of the end, but without the
difference, {losses[2]}. Both differences of a seed change the same weight in {shared} places
(two random ones of this size: {chance:,.0f}).
"""


def _spread(values: Sequence[float], sign: str = "", digits: int = 1) -> str:
    found = interval([100 * value for value in values])
    half = "" if found.half_width is None else f" ± {found.half_width:.{digits}f}"
    return f"{found.mean:{sign}.{digits}f}{half}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the study and write compose.md and compose.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the JSON file of labelled sentences")
    parser.add_argument("--out", type=Path, required=True, help="differences, compose.md and compose.json")
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--layers", default="3-5")
    parser.add_argument("--density", type=float, default=0.05)
    parser.add_argument("--labels", type=int, default=640, help="labelled sentences on films")
    parser.add_argument("--epochs", type=int, default=2, help="of the task, in each stage")
    parser.add_argument("--steps", type=int, default=40, help="of masked-language modelling, in each stage")
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--test", type=int, default=400, help="test sentences of each domain")
    parser.add_argument("--max-tokens", type=int, default=32)
    args = parser.parse_args(argv)
    data = read_domains(args.data, args.test)
    backbone = load_backbone(args.backbone, LoadOptions(max_tokens=args.max_tokens))
    found: list[dict[str, Any]] = []
    for seed in map(int, args.seeds.split(",")):
        found.append(run_seed(args, backbone, data, seed))
        write_json(args.out / "compose.json", found)
        write_text(args.out / "compose.md", page(args, found, data))
        print((args.out / "compose.md").read_text(encoding="utf-8"), flush=True)


if __name__ == "__main__":
    main()
