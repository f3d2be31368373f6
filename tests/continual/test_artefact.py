"""What a run leaves: its delta as PEFT and ``backbone merge`` read it, and artefacts of before that still classify."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import write_image_folders, write_tiny_backbone

from backbones.catalog import load_backbone
from backbones.core.artifacts import load_tensors, save_tensors
from backbones.core.errors import FrostlineError
from backbones.deltas import load_delta
from backbones.features import FeatureStore
from backbones.merging import merge
from continual.artefact import read_artefact
from continual.plan import prepare
from continual.runner import Run
from continual.settings import RunSettings

IMAGES = [np.full((16, 16, 3), value, dtype=np.uint8) for value in (10, 90, 200)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of LoRA on a tiny ViT of transformers."""
    place = tmp_path_factory.mktemp("artefact")
    values = {
        "benchmark": "folder",
        "data_root": str(write_image_folders(place / "data")),
        "backbone": str(write_tiny_backbone(place / "vit")),
        "increment": 2,
        "pat": "lora",
        "tuning": {"epochs": 2, "lr": 0.05},
        "seeds": (5,),
        "precision": "fp32",  # in which PEFT and a merged folder are compared
    }
    made = Run(prepare(RunSettings.parse(values, "the run")), place / "run", FeatureStore(None))
    made.begin(resumed=False)
    for _ in made.steps():
        pass
    made.finish()
    return place / "run"


def as_before(run: Path, folder: Path) -> Path:
    """Make an artefact of schema 1 from one of today."""
    artefact = run / "seed-5" / "artefact"
    folder.mkdir()
    facts = json.loads((artefact / "artefact.json").read_text())
    (folder / "artefact.json").write_text(json.dumps({**facts, "schema": 1}))
    (folder / "head.safetensors").write_bytes((artefact / "head.safetensors").read_bytes())
    backbone = load_backbone(facts["settings"]["backbone"])
    save_tensors(folder / "delta.safetensors", load_delta(artefact, backbone).state_dict())
    return folder


def test_an_artefact_of_before_classifies_as_todays(run: Path, tmp_path: Path) -> None:
    wanted = read_artefact(run).predict(IMAGES, 4)
    assert read_artefact(as_before(run, tmp_path / "old")).predict(IMAGES, 4) == wanted


def test_the_delta_of_a_run_gives_its_features_in_peft(run: Path) -> None:
    peft = pytest.importorskip("peft")
    classifier = read_artefact(run)
    wanted = classifier.encoder.features(IMAGES)
    plain = load_backbone(classifier.encoder.backbone.name)
    batch = plain.preprocessing(IMAGES)
    with torch.no_grad():
        assert (plain.features(batch) - wanted).abs().max() > 1e-3
        adapted: Any = peft.PeftModel.from_pretrained(plain.module, str(run / "seed-5" / "artefact" / "delta")).eval()
        found = plain._read(adapted, batch)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)


def test_a_run_can_be_merged(run: Path, tmp_path: Path) -> None:
    classifier = read_artefact(run)
    merged = merge(classifier.encoder.backbone.name, run, tmp_path / "out")
    assert merged.notes == classifier.encoder.backbone.notes
    plain = load_backbone(str(tmp_path / "out"))
    with torch.no_grad():
        found = plain.features(plain.preprocessing(IMAGES))
    torch.testing.assert_close(found, classifier.encoder.features(IMAGES), atol=1e-5, rtol=1e-5)


def test_an_artefact_without_its_delta(run: Path, tmp_path: Path) -> None:
    old = as_before(run, tmp_path / "old")
    (old / "delta.safetensors").unlink()
    with pytest.raises(FrostlineError, match="holds no delta"):
        read_artefact(old)


def _copy(run: Path, place: Path) -> Path:
    shutil.copytree(run / "seed-5" / "artefact", place)
    return place


def _other_tensor(path: Path) -> None:
    tensors, metadata = load_tensors(path)
    name = next(iter(tensors))
    save_tensors(path, {**tensors, name: tensors[name] + 1}, metadata)


def test_every_file_of_an_artefact_is_held_to_its_digest(run: Path, tmp_path: Path) -> None:
    names = json.loads((run / "seed-5" / "artefact" / "artefact.json").read_text())["files"]
    written = {path.name for path in (run / "seed-5" / "artefact").rglob("*") if path.is_file()}
    assert {Path(name).name for name in names} == written - {"artefact.json"} and len(names) > 2
    for number, name in enumerate(names):
        folder = _copy(run, tmp_path / str(number))
        path = folder / name
        if name.endswith(".safetensors"):
            _other_tensor(path)
        else:
            path.write_text(path.read_text() + " ")
        with pytest.raises(FrostlineError, match=f"{path.name} was changed after it was written"):
            read_artefact(folder)
        path.unlink()
        with pytest.raises(FrostlineError, match=f"{path.name} is missing"):
            read_artefact(folder)


def test_the_facts_of_an_artefact_are_held_to_their_digest(run: Path, tmp_path: Path) -> None:
    folder = _copy(run, tmp_path / "a")
    facts = json.loads((folder / "artefact.json").read_text())
    for changed, words in (
        ({"class_names": facts["class_names"][::-1]}, "artefact.json was changed"),
        ({"schema": 99}, "schema 99; this version reads up to 3"),
        ({"schema": None}, "not what a run writes"),
    ):
        (folder / "artefact.json").write_text(json.dumps({**facts, **changed}))
        with pytest.raises(FrostlineError, match=words):
            read_artefact(folder)


def test_an_artefact_without_digests_is_read_and_it_is_said(run: Path, tmp_path: Path) -> None:
    assert read_artefact(run).notes == ()
    assert "without digests" in read_artefact(as_before(run, tmp_path / "old")).notes[0]
