"""Several processes of torchrun: commands that share their work do, the others say in one sentence that they do not."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from command_lines import backbone, cil, zero
from pretrain_makers import write_corpus
from safetensors.torch import load_file
from torch import nn

from backbones.core.errors import FrostlineError
from backbones.training import ranks
from backbones.training.loop import Recipe, train

SAID = "error: this command does its work in one process: started 3 times by torchrun, it would do all of it 3 times"
ALONE = {
    "cil-run": (cil, ["--backbone", "bundled:vit-micro", "--benchmark", "digits", "--out", "OUT"]),
    "cil-run predict": (cil, ["predict", "run", "image.png"]),
    "eae-zero": (zero, ["predict", "attack"]),
    "distill": (backbone, ["distill", "minilm", "--data", "x", "--out", "OUT"]),
    "compress": (backbone, ["compress", "minilm", "--out", "OUT"]),
    "infuse train": (backbone, ["infuse", "train", "minilm", "--pairs", "x", "--out", "OUT"]),
    "offsite split": (backbone, ["offsite", "split", "minilm", "--out", "OUT"]),
    "merge": (backbone, ["merge", "minilm", "x", "--out", "OUT"]),
}


@pytest.mark.parametrize("name", ALONE)
def test_a_command_for_one_process_says_so_once_and_leaves_everything_alone(name, tmp_path, monkeypatch):
    program, words = ALONE[name]
    words = [str(tmp_path / "out") if word == "OUT" else word for word in words]
    monkeypatch.setattr("backbones.cli_shell.WAIT", 0.0)
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        code, out, err = program(*words)
        assert code == 2 and out == ""
        assert (SAID in " ".join(err.split()), bool(err)) == (rank == 0, rank == 0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["text", "images"])
def test_pre_training_is_not_stopped_by_that(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    code, _, err = backbone("pretrain", kind, tmp_path / "nowhere", "--out", tmp_path / "out")
    assert code == 2 and "nowhere" in err and "torchrun" not in err


def trained(monkeypatch, world, recipe, count=8):
    """The rows that every process of ``world`` is given, step by step, and what is said."""
    rows, said = [], []
    for rank in range(world):
        monkeypatch.setattr(ranks, "world", lambda: world)
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        weight = nn.Parameter(torch.zeros(1))
        seen = []
        train(
            {"w": weight},
            lambda part, _, s=seen, w=weight: s.append(part) or (w * 0).sum(),
            count,
            recipe,
            say=said.append,
        )
        rows.append(seen)
    return rows, said


@pytest.mark.parametrize("micro", [None, 1, 3, 8])
@pytest.mark.parametrize("world", [2, 3])
def test_every_process_has_a_part_of_every_step_and_no_row_comes_twice(monkeypatch, world, micro):
    recipe = Recipe(steps=2, batch=8, micro=micro, precision="fp32")
    rows, said = trained(monkeypatch, world, recipe)
    assert all(len(seen) >= 2 for seen in rows)
    alone, _ = trained(monkeypatch, 1, recipe)
    given, wanted = ([row for seen in each for part in seen for row in part] for each in (rows, alone))
    assert sorted(given) == sorted(wanted)
    shared = [line for line in said if "processes share" in line]
    assert len(shared) == (0 if micro in (1, 3) else world)
    assert not shared or f"{world} processes share the 8 samples of a step, {-(-8 // world)} at a time" in shared[0]


def test_more_processes_than_samples_a_step_are_refused(monkeypatch):
    with pytest.raises(FrostlineError, match="2 samples a step leave 1 of 3 processes without any; pass --batch 3"):
        trained(monkeypatch, 3, Recipe(steps=1, batch=2))


def test_more_processes_than_devices_are_refused(monkeypatch):
    for key, value in {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(FrostlineError, match=r"process 3 .* there are 2\. Pass torchrun --nproc-per-node 2"):
        ranks.join()


def torchrun(*words):
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    return subprocess.run([*start, *map(str, words)], capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_torchrun_itself_shares_pre_training_without_micro(tmp_path):
    file = write_corpus(tmp_path / "corpus.txt")
    words = ["pretrain", "text", file, "--depth", 1, "--width", 16, "--heads", 2, "--vocabulary", 200, "--length", 24,
             "--steps", 4, "--batch", 6, "--device", "cpu", "--precision", "fp32"]  # fmt: skip
    two = torchrun("backbones.cli", *words, "--out", tmp_path / "two")
    assert two.returncode == 0, two.stderr
    assert " ".join(two.stdout.split()).count("2 processes share the 6 samples of a step, 3 at a time") == 1
    code, _, err = backbone(*words, "--micro", 3, "--out", tmp_path / "one")
    assert code == 0, err
    one, other = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    assert max((one[key] - other[key]).abs().max().item() for key in one) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("module", ["continual.cli", "zeroshot.cli"])
def test_torchrun_itself_is_answered_once(tmp_path, module):
    words = {
        "continual.cli": ["--benchmark", "digits", "--out", tmp_path / "run"],
        "zeroshot.cli": ["predict", "attack"],
    }
    found = torchrun(module, *words[module])
    assert found.returncode != 0 and not (tmp_path / "run").exists()
    assert " ".join((found.stdout + found.stderr).split()).count("this command does its work in one process") == 1
