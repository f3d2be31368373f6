"""The ``backbone`` command line, through the installed entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_lines import backbone as here

from backbones.catalog import LoadOptions, load_backbone
from backbones.deltas import load_delta, save_delta
from backbones.pat.stack import make_pat
from backbones.testing_models import raw_batch

BACKBONE = Path(sys.executable).with_name("backbone")


def backbone(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BACKBONE), *map(str, words)], capture_output=True, text=True, check=False)


def save(pat: str, folder: Path) -> None:
    base = load_backbone("bundled:vit-micro")
    delta = make_pat(pat, {}).grow(base, 0)
    with torch.no_grad():
        for parameter in delta.parameters():
            parameter.add_(0.02)
    save_delta(delta, folder)


def test_merge_writes_weights_that_load(tmp_path: Path) -> None:
    # as the artefact of a run has it
    save("lora", tmp_path / "run" / "seed-1993" / "artefact" / "delta")
    code, out, err = here("merge", "bundled:vit-micro", tmp_path / "run", "--out", tmp_path / "out")
    assert code == 0, err
    assert "merged lora into bundled:vit-micro: 12 of 78 tensors changed" in out
    assert f"--weights {tmp_path / 'out' / 'model.safetensors'}" in out
    beside, plain = load_backbone("bundled:vit-micro"), LoadOptions(weights=tmp_path / "out" / "model.safetensors")
    load_delta(tmp_path / "run", beside)
    batch = beside.preprocessing(raw_batch(beside))
    with torch.no_grad():
        found = load_backbone("bundled:vit-micro", plain).features(batch)
        torch.testing.assert_close(found, beside.features(batch), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bundled:vit-micro", "absent", "--out", "out"), "absent holds no delta"),
        (("bundled:vit-macro", "vpt", "--out", "out"), "Did you mean 'bundled:vit-micro'"),
        (("bundled:vit-micro", "vpt", "--out", "out"), "Vpt cannot be folded into weights"),
        (("bundled:vit-micro", "vpt", "--out", "vpt"), "vpt exists already"),
        (("bundled:vit-micro", "vpt", "--out", "out", "--weights", "none.safetensors"), "does not exist"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    save("vpt", tmp_path / "vpt")
    code, _, error = here("merge", *words)
    assert code == 2
    assert said in error and "Traceback" not in error
    assert error.strip().splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    assert "merge" in backbone("--help").stdout  # also writes the byte code
    script = (
        "import sys\nfrom typer.testing import CliRunner\nfrom backbones.cli import app\n"
        "for words in (['--help'], ['merge', '--help']):\n"
        "    assert CliRunner().invoke(app, words).exit_code == 0\n"
        "print(sorted({'torch', 'timm', 'transformers', 'numpy', 'peft', 'sklearn'} & set(sys.modules)))"
    )
    began = os.times()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    ended = os.times()
    assert ended.children_user + ended.children_system - began.children_user - began.children_system < 1
    assert done.stdout.strip() == "[]"
