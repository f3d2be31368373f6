"""Infusing relations into MiniLM: what is learned, and what sentence tasks have of it.

    python -m benchmarks.studies.infuse --corpus news.txt --tasks DIR --out runs/infuse

Pairs are acquired from the corpus by the shipped patterns, infused into MiniLM, and asked for again on held-out heads.
The infused model and the plain one are distilled to three layers on the same sentences. Four models then meet the same
tasks with linear classifiers on frozen features, few labelled samples, several draws. A killed command goes on where it
stopped. Test samples are used for nothing but the scores.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.base import Backbone
from backbones.catalog import load_backbone
from backbones.core.artifacts import load_tensors, save_tensors, write_json, write_text
from backbones.core.intervals import percentile_interval
from backbones.core.seed import numpy_generator
from backbones.deltas import load_delta, save_delta
from backbones.encoder import Encoder
from backbones.lifecycle.infuse.acquire import Filters, acquire
from backbones.lifecycle.infuse.asking import ask
from backbones.lifecycle.infuse.distilling import distil_infused, draw_sentences
from backbones.lifecycle.infuse.grammar import read_grammar
from backbones.lifecycle.infuse.pairs import read_pairs, write_pairs
from backbones.lifecycle.infuse.settings import KaidStyle
from backbones.lifecycle.infuse.training import infuse
from backbones.training.corpus import read_documents
from backbones.training.loop import Recipe
from backbones.training.saving import save_backbone
from backbones.training.tasks import fit_linear
from benchmarks.studies.infuse_page import written

MODELS = ("teacher", "teacher, infused", "student", "student, infused")


@dataclass(frozen=True)
class Few:
    """A task with few labelled samples: texts or pairs of texts, classes by number, rows of each draw."""

    name: str
    texts: tuple[list[str], ...]
    labels: NDArray[np.int64]
    draws: list[NDArray[np.int64]]
    test: NDArray[np.int64]


def few(name: str, train: list[Any], test: list[Any], per_class: int, most_test: int, draws: int = 5) -> Few:
    """Draw training rows of each class, several times, and the test rows, once; keep no other text."""
    classes = sorted({row[-1] for row in train})
    labels = np.array([classes.index(row[-1]) for row in [*train, *test]])
    drawn = []
    for draw in range(draws):
        generator = numpy_generator(draw, name)
        own = [
            generator.permutation(np.flatnonzero(labels[: len(train)] == c))[:per_class] for c in range(len(classes))
        ]
        drawn.append(np.sort(np.concatenate(own)))
    asked = len(train) + np.sort(numpy_generator(0, name, "test").permutation(len(test))[:most_test])
    rows = np.unique(np.concatenate([*drawn, asked]))
    place = {int(row): number for number, row in enumerate(rows)}
    both = [*train, *test]
    texts = tuple([both[row][side] for row in rows] for side in range(len(train[0]) - 1))
    moved = [np.array([place[int(row)] for row in part]) for part in (*drawn, asked)]
    return Few(name, texts, labels[rows], moved[:-1], moved[-1])


def tasks(folder: Path) -> list[Few]:
    """Read the tasks: four of sentence classification, one of text matching."""

    def read(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        return found

    trec, snips, clinc, mrpc = read("trec_qc"), read("snips"), read("clinc150"), read("mrpc")
    coarse = [[(text, label.partition(":")[0]) for text, label in trec[part]] for part in ("train", "test")]
    return [
        few("TREC, 6 kinds", coarse[0], coarse[1], 20, 400),
        few(
            "TREC, fine kinds",
            trec["train"],
            [r for r in trec["test"] if r[1] in {x[1] for x in trec["train"]}],
            3,
            500,
        ),
        few("SNIPS", snips["train"], snips["test"], 3, 350),
        few("CLINC150", clinc["train"], clinc["test"], 2, 450, draws=3),
        few("MRPC, pairs", mrpc["train"], mrpc["test"], 60, 300),
    ]


def features(encoder: Encoder, task: Few) -> Tensor:
    """Return what a task's classifier takes: features of a text; of a pair |a - b| and a b."""
    parts = [encoder.features(texts) for texts in task.texts]
    return parts[0] if len(parts) == 1 else torch.cat([(parts[0] - parts[1]).abs(), parts[0] * parts[1]], dim=1)


def right(task: Few, found: Tensor) -> NDArray[np.float64]:
    """Return which test samples are answered rightly, shape (draws, test), by a linear classifier of each draw."""
    rows = []
    for draw in task.draws:
        head = fit_linear(found[draw], task.labels[draw], int(task.labels.max()) + 1, l2=10.0)
        rows.append(head(found[task.test]).argmax(dim=1).numpy() == task.labels[task.test])
    return np.array(rows, dtype=np.float64)


def interval(each: NDArray[np.float64], draws: int = 2000) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean of (draws, test), over draws and over test samples."""
    generator = numpy_generator(0, "bootstrap")
    rows, columns = each.shape
    means = [
        each[generator.integers(0, rows, rows)][:, generator.integers(0, columns, columns)].mean() for _ in range(draws)
    ]
    return percentile_interval(means)


class Study:
    """The stages; each is read from its file where that is there already."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.out = args, args.out
        self._documents: list[list[str]] | None = None
        recipe = Recipe(epochs=args.epochs, batch=32, lr=args.lr, seed=args.seed)
        self.style = KaidStyle.parse({"window": args.window, "recipe": recipe}, "the study")

    def stage(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = self.out / f"{name}.json"
        if not path.exists():
            began = time.process_time()
            found = work()
            write_json(path, {**found, "core_seconds": round(time.process_time() - began, 1)})
            print(f"{name}: {time.process_time() - began:.0f} core-seconds", flush=True)
        said: dict[str, Any] = json.loads(path.read_text())
        return said

    def documents(self) -> list[list[str]]:
        if self._documents is None:
            self._documents = read_documents([self.args.corpus])
        return self._documents

    def acquired(self) -> dict[str, Any]:
        documents = self.documents()
        size = self.args.corpus.stat().st_size
        began = time.process_time()
        found = acquire(documents, read_grammar(), Filters(most=10**9))
        rate = size / 1e6 / (time.process_time() - began)
        kept = [p for _, own in groupby(found.pairs, key=attrgetter("relation")) for p in islice(own, self.args.most)]
        write_pairs(self.out / "pairs.jsonl", kept)
        facts = {"sentences": found.sentences, "found": found.found, "all": found.counts()}
        return {"megabytes": size / 1e6, "megabytes_per_second": rate, **facts}

    def infused(self) -> dict[str, Any]:
        backbone = load_backbone("minilm")
        pairs = [pair for pair in read_pairs(self.out / "pairs.jsonl") if pair.relation not in self.args.without]
        before = backbone.fingerprint()
        done = infuse(backbone, pairs, self.style, checkpoint=self.out / "infusing.safetensors", say=print)
        answers = ask(backbone, done, self.style)
        save_delta(done.delta, self.out / "infused", seed=self.args.seed)
        return {
            "trained": len(done.split.train),
            "held_out": len(done.split.held_out),
            "parameters": done.delta.parameter_count,
            "steps": done.course.steps,
            "history": done.course.history,
            "fingerprints": [before, backbone.fingerprint()],
            "answers": [
                {
                    "question": each.question,
                    "n": len(each.wanted),
                    "learned_from": each.learned_from,
                    **{name: each.accuracy(name) for name in ("commonest", "frozen", "blocks", "infused", "own")},
                    "gain": each.gain(),
                    "gain_over_blocks": each.gain("blocks"),
                }
                for each in answers
            ],
        }

    def student(self, infused: bool) -> dict[str, Any]:
        teacher = load_backbone("minilm")
        if infused:
            load_delta(self.out / "infused", teacher)
        sentences = draw_sentences(self.documents(), self.args.sentences, self.args.seed)
        name = "student-infused" if infused else "student"
        recipe = Recipe(epochs=1, batch=32, lr=3e-4, seed=self.args.seed)
        done = distil_infused(teacher, sentences, 3, recipe, folder=self.out / f"{name}-work", say=print)
        saved = save_backbone(done.student.backbone, self.out / name, {"made_by": "infuse study"})
        return {"sentences": len(sentences), "difference": saved.difference, "history": done.courses["general"].history}

    def encoder(self, model: str) -> Encoder:
        if model.startswith("student"):
            return Encoder(load_backbone(str(self.out / model.replace(", ", "-"))), precision="fp32")
        backbone: Backbone = load_backbone("minilm")
        delta = load_delta(self.out / "infused", backbone) if model.endswith("infused") else None
        return Encoder(backbone, delta, precision="fp32")

    def scored(self, model: str) -> dict[str, Any]:
        encoder = self.encoder(model)
        seen: dict[str, Tensor] = {}
        found = {}
        for task in tasks(self.args.tasks):
            hits = right(task, features(encoder, task))
            seen[task.name] = torch.from_numpy(hits)
            found[task.name] = float(hits.mean())
        save_tensors(self.out / f"right-{model.replace(', ', '-')}.safetensors", seen)
        return {"accuracy": found}

    def run(self) -> None:
        facts = {"acquired": self.stage("acquired", self.acquired), "infused": self.stage("infused", self.infused)}
        facts |= {"infused student": self.stage("student-infused-facts", lambda: self.student(True))}
        facts |= {"plain student": self.stage("student-facts", lambda: self.student(False))}
        for model in MODELS:
            facts[model] = self.stage(f"scores-{model.replace(', ', '-')}", lambda: self.scored(model))  # noqa: B023
        gains = self.gains()
        write_json(self.out / "infuse.json", {"facts": facts, "gains": gains})
        write_text(self.out / "infuse.md", written(self.args, facts, gains, MODELS))
        print((self.out / "infuse.md").read_text(), flush=True)

    def gains(self) -> dict[str, dict[str, tuple[float, float, float]]]:
        """Return model -> task -> gain of infusion with its interval, both in [-1, 1]."""
        found: dict[str, dict[str, tuple[float, float, float]]] = {}
        for base in ("teacher", "student"):
            plain, infused = (load_tensors(self.out / f"right-{base}{end}.safetensors")[0] for end in ("", "-infused"))
            for name in plain:
                each = infused[name].numpy() - plain[name].numpy()
                found.setdefault(base, {})[name] = (float(each.mean()), *interval(each))
        return found


def main(argv: Sequence[str] | None = None) -> None:
    """Run the study and write infuse.md and infuse.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="running text, UTF-8")
    parser.add_argument("--tasks", type=Path, required=True, help="folder with trec_qc, snips, clinc150, mrpc .json")
    parser.add_argument("--most", type=int, default=300, help="pairs of a relation")
    parser.add_argument("--without", nargs="*", default=["owns"], help="relations that are left out")
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--window", type=int, default=24, help="most tokens of an example")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--sentences", type=int, default=1200, help="to distil on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    torch.set_num_threads(1)
    Study(parser.parse_args(argv)).run()


if __name__ == "__main__":
    main()
