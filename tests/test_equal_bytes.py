"""Equal runs write equal bytes, whatever order a process gives to sets and hash tables; one module writes tensors."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import equal_runs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backbones.core.artifacts import load_tensors, save_tensors, tensor_bytes

ROOT = Path(__file__).resolve().parents[1]
TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3, dtype=torch.int64), "é": torch.zeros(0, 2)}


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    other = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    child = subprocess.Popen(
        [sys.executable, equal_runs.__file__, str(there)],
        env={**os.environ, "PYTHONHASHSEED": other, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
    )
    equal_runs.write_all(here)
    _, said = child.communicate(timeout=300)
    assert child.returncode == 0, said.decode()
    mine, theirs = (
        {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        for place in (here, there)
    )
    assert mine.keys() == theirs.keys() and len(mine) > 40
    assert [name for name in sorted(mine) if mine[name] != theirs[name]] == []


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_tensors_and_metadata_does_not_matter(metadata: dict[str, str], order: random.Random) -> None:
    content = tensor_bytes(TENSORS, metadata)
    names, keys = list(TENSORS), list(metadata)
    order.shuffle(names)
    order.shuffle(keys)
    assert tensor_bytes({name: TENSORS[name] for name in names}, {key: metadata[key] for key in keys}) == content
    size = int.from_bytes(content[:8], "little")
    assert size % 8 == 0 and list(json.loads(content[8 : 8 + size]).get("__metadata__", {})) == sorted(metadata)


def test_many_keys_come_back_as_they_were(tmp_path: Path) -> None:
    metadata = {f"key {number}": f'ä {number} \U0001f600 "\\\n' for number in range(40)}
    save_tensors(tmp_path / "a.safetensors", TENSORS, metadata)
    tensors, said = load_tensors(tmp_path / "a.safetensors")
    assert said == metadata and all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("package", ["backbones", "benchmarks", "continual", "zeroshot"])
def test_one_module_writes_tensors(package: str) -> None:
    writers = ("safetensors.torch import save", "save_file(", "safetensors.numpy", "torch.save(")
    allowed = {
        "backbones/core/artifacts.py",  # the one
        "backbones/compose/legacy.py",  # speaks of torch.save
        "backbones/pat/peft_files.py",  # tells a user what to call
        "backbones/recipes/distil.py",  # the checkpoint of a recipe, which is no product
        "continual/testing.py",  # round trips in memory
    }
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / package).rglob("*.py")
        if any(writer in path.read_text(encoding="utf-8") for writer in writers)
    }
    assert found <= allowed
