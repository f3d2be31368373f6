"""Folders of deltas: whole whatever happens while they are written, and named by a string or a path alike."""

from __future__ import annotations

import inspect
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from delta_makers import by_peft, features, trained

import backbones.core.artifacts
from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.deltas import find_delta, load_delta, save_delta
from backbones.pat.peft_files import is_peft, read_peft
from backbones.testing_models import tiny_bert
from backbones.training.saving import making_anew


def read(folder: Path) -> torch.Tensor:
    backbone: Backbone = tiny_bert()
    load_delta(folder, backbone)
    return features(backbone)


class Dies(BaseException):
    """A process that is killed."""


@pytest.mark.parametrize(("old", "new"), [("lora", "prefix"), ("prefix", "lora")])  # of PEFT's format and of ours
def test_a_delta_is_the_old_or_the_new_at_every_moment(
    old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, was = trained("bert", old, {})
    second, becomes = trained("bert", new, {"layers": "1-2"})
    replace, calls, seen = os.replace, 0, []
    limit = 0

    def dying(source: Any, target: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > limit:
            raise Dies
        replace(source, target, **options)

    monkeypatch.setattr(Path, "replace", lambda self, target: dying(self, target))
    for limit in range(20):
        folder, calls = tmp_path / f"{limit}", -1000
        save_delta(first, folder)
        (folder / "notes.txt").write_text("mine")
        calls = 0
        try:
            save_delta(second, folder)
        except Dies:
            found = read(folder)
            seen.append("old" if torch.equal(found, was) else "new" if torch.equal(found, becomes) else "neither")
            calls = -1000
            save_delta(second, folder)  # what died is no obstacle
            assert torch.equal(read(folder), becomes)
        else:
            break
    assert set(seen) == {"old", "new"} and seen == sorted(seen, reverse=True)
    assert torch.equal(read(folder), becomes) and (folder / "notes.txt").read_text() == "mine"
    own = {"lora": {"adapter_config.json", "adapter_model.safetensors"}, "prefix": {"delta.safetensors"}}[new]
    assert {path.name for path in folder.iterdir()} == own | {"pat_config.json", "notes.txt"}


def test_a_full_disk_leaves_the_delta_that_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, was = trained("bert", "lora", {})
    save_delta(first, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backbones.core.artifacts.os, "fsync", full)
    with pytest.raises(FrostlineError, match="No space left on device"):
        save_delta(trained("bert", "prefix", {})[0], tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert torch.equal(read(tmp_path), was)


def test_a_folder_that_is_made_anew_comes_back_if_that_fails(tmp_path: Path) -> None:
    place = tmp_path / "model"
    place.mkdir()
    (place / "old").touch()
    with pytest.raises(Dies), making_anew(place):
        place.mkdir()
        (place / "half").touch()
        raise Dies
    assert [path.name for path in place.iterdir()] == ["old"]
    with making_anew(place):
        place.mkdir()
        (place / "new").touch()
    assert [path.name for path in place.iterdir()] == ["new"] and list(tmp_path.iterdir()) == [place]


def test_strings_name_folders_as_paths_do(tmp_path: Path) -> None:
    delta, wanted = trained("bert", "lora", {})
    save_delta(delta, str(tmp_path))
    assert find_delta(str(tmp_path)) == tmp_path and is_peft(str(tmp_path)) and read_peft(str(tmp_path))
    assert torch.equal(features(load_delta(str(tmp_path), tiny_bert()).backbone), wanted)
    torch.testing.assert_close(by_peft("bert", tmp_path), wanted, atol=1e-6, rtol=1e-6)


# Modules whose functions users call with names of files; what a package exports counts too.
DOORS = [
    "backbones",
    "backbones.compose",
    "backbones.lifecycle.pretrain",
    "benchmarks",
    "benchmarks.ontologies",
    "benchmarks.passages",
    "continual",
    "zeroshot",
    "backbones.deltas",
    "backbones.merging:merge",
    "backbones.core.artifacts:load_tensors",
    "backbones.core.artifacts:save_tensors",
    "backbones.pat.peft_files",
    "backbones.lifecycle.compress.run",
    "backbones.lifecycle.compress.files:load_packed",
    "backbones.lifecycle.export.artefact",
    "backbones.lifecycle.offsite.plug",
    "backbones.lifecycle.offsite.split",
    "backbones.lifecycle.infuse.pairs",
    "backbones.lifecycle.infuse.saved",
    "backbones.analysis.cloze",
    "backbones.analysis.spans",
    "backbones.analysis.pair_files",
    "backbones.training.unlabelled:read_unlabelled",
    "benchmarks.folders:read_folders",
    "benchmarks.cifar:read_cifar",
    "benchmarks.text_files",
    "continual.artefact",
    "continual.report",
    "continual.settings",
]


def test_every_door_takes_a_string_where_it_takes_a_path() -> None:
    narrow = []
    for door in DOORS:
        home, _, chosen = door.partition(":")
        module = import_module(home)
        for name in [chosen] if chosen else dir(module):
            thing = getattr(module, name, None)
            foreign = not hasattr(module, "__path__") and getattr(thing, "__module__", "") != home
            if name.startswith("_") or not inspect.isfunction(thing) or (foreign and not chosen):
                continue
            for argument in inspect.signature(thing).parameters.values():
                if "Path" in str(argument.annotation) and "str" not in str(argument.annotation):
                    narrow.append(f"{home}.{name}({argument})")
    assert not narrow, narrow
