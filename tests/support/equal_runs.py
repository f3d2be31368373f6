"""What this program writes, written with a clock and a memory of our own: two processes must give the same bytes."""

from __future__ import annotations

import itertools
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pretrain_makers import coloured_task, write_corpus
from run_makers import RECIPE, TEXT, Stopped, stop_at
from tiny_runs import write_image_folders, write_tiny_backbone

from backbones.catalog import load_backbone
from backbones.features import FeatureStore
from backbones.lifecycle.offsite.exported import read_export
from backbones.lifecycle.offsite.layout import Layout
from backbones.lifecycle.offsite.split import split
from backbones.lifecycle.offsite.tune import tune
from backbones.lifecycle.pretrain import pretrain_text
from backbones.merging import merge
from backbones.training.loop import Recipe
from continual.plan import prepare
from continual.runner import Run
from continual.settings import RunSettings


def write_all(folder: Path) -> None:
    """Write a run with its store, a merged folder, a stopped pre-training, an off-site export and an adapter."""
    ticks = itertools.count()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("time", "monotonic", "perf_counter"):
            patch.setattr(f"time.{name}", lambda: next(ticks) / 1024)  # exact in binary
        patch.setattr("resource.getrusage", lambda _who: SimpleNamespace(ru_maxrss=1))
        torch.set_num_threads(1)
        _run()
        merge("vit", Path("run"), Path("merged"))
        corpus = write_corpus(Path("corpus.txt"))
        with suppress(Stopped):
            pretrain_text([corpus], Path("text"), TEXT, RECIPE, save_every=0, progress=stop_at(3))
        split(load_backbone("vit"), Layout.of(3, 1, 1, 1), Path("split"))
        tune(read_export(Path("split")), coloured_task().train, Path("adapter"), Recipe(steps=2), pat="lora")


def _run() -> None:
    values = {
        "benchmark": "folder",
        "data_root": str(write_image_folders(Path("data"))),
        "backbone": str(write_tiny_backbone(Path("vit"))),
        "increment": 2,
        "pat": "layernorm+lora",
        "tuning": {"epochs": 2},
        "seeds": (5,),
    }
    run = Run(prepare(RunSettings.parse(values, "the run")), Path("run"), FeatureStore(Path("store")))
    run.begin(resumed=False)
    for _ in run.steps():
        pass
    run.finish()


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
