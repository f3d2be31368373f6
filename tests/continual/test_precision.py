"""Precision, device and threads are resolved once, written down, and used again."""

import json
import tomllib

import pytest
from command_lines import cil
from tiny_runs import write_image_folders, write_tiny_backbone

from backbones.core.errors import FrostlineError
from backbones.features import FeatureStore
from continual.artefact import FACTS, read_artefact
from continual.plan import prepare
from continual.report import read_report
from continual.runner import Run
from continual.settings import RunSettings, read_settings


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("precision")
    write_image_folders(root / "data")
    write_tiny_backbone(root / "vit")
    return root


@pytest.fixture
def native(monkeypatch):
    """Say what the processor can do."""
    return lambda can: monkeypatch.setattr("backbones.core.launch.native_bf16", lambda _device: can)


def plan_of(place):
    values = {"benchmark": "folder", "data_root": str(place / "data"), "backbone": str(place / "vit"), "increment": 2}
    return prepare(RunSettings.parse(values, "test"))


def words(place):
    return ["--benchmark", "folder", "--data-root", place / "data", "--backbone", place / "vit", "--increment", "2"]


def test_a_run_of_auto_says_what_it_was(place, tmp_path, native):
    native(True)
    out = tmp_path / "run"
    code, _, err = cil(*words(place), "--store", tmp_path / "store", "--out", out)
    assert code == 0, err
    written = tomllib.loads((out / "settings.toml").read_text())
    report = json.loads((out / "report.json").read_text())
    facts = json.loads((out / "seed-1993" / "artefact" / FACTS).read_text())
    for values in (written, report["settings"], facts["settings"]):
        assert (values["precision"], values["device"]) == ("bf16", "cpu")
        assert values["threads"] >= 1
    machine = json.loads((out / "environment.json").read_text())
    assert machine == report["environment"]
    assert (machine["precision"], machine["device"], machine["cpu_threads"]) == ("bf16", "cpu", written["threads"])

    native(False)  # the folder goes to another machine
    classifier = read_artefact(out)
    assert classifier.encoder.precision == "bf16"
    assert "emulated" in " ".join(classifier.notes)
    image = next((place / "data" / "test").glob("*/*.png"))
    code, printed, err = cil("predict", out, image, "--json")
    assert code == 0 and json.loads(printed), err
    assert "note: cpu does not multiply bf16 natively: it is emulated" in err
    code, printed, err = cil("--resume", out, "--store", tmp_path / "store")
    assert code == 0, err
    assert "it is emulated" in printed
    assert read_report(out / "report.json").settings["precision"] == "bf16"
    code, _, err = cil("--resume", out, "--precision", "fp32")
    assert code == 2 and "precision: 'bf16' -> 'fp32'" in err
    code, _, err = cil("--resume", out, "--precision", "auto", "--store", tmp_path / "store")
    assert code == 0, err


def test_what_was_written_before_precision_was_resolved_is_assumed_and_said(place, tmp_path, native):
    native(False)
    plan = plan_of(place)
    run = Run(plan, tmp_path, FeatureStore(None))
    run.begin(resumed=False)
    list(run.steps())
    run.finish()
    written = tmp_path / "settings.toml"
    written.write_text(written.read_text().replace('precision = "fp32"', 'precision = "auto"'))
    facts = tmp_path / "seed-1993" / "artefact" / FACTS
    held = json.loads(facts.read_text())
    held["schema"], held["settings"]["precision"] = 2, "auto"
    facts.write_text(json.dumps(held))
    assert (
        read_artefact(tmp_path).notes[-1] == "the artefact does not say in which precision it was made; fp32 is assumed"
    )
    again = Run(plan, tmp_path, FeatureStore(None))
    again.begin(resumed=True)
    again.close()
    assert any("says precision auto; fp32 is assumed" in note for note in again.notes)
    assert read_settings(written).precision == "fp32"


def test_an_artefact_of_a_device_that_is_not_here_says_where_it_computes(place, tmp_path, monkeypatch):
    from continual.artefact import _placed
    from continual.plan import resolve

    def pick(name):
        import torch

        if name == "cuda":
            raise FrostlineError("device 'cuda' cannot be used here")
        return torch.device("cpu")

    monkeypatch.setattr("continual.artefact.pick_device", pick)
    monkeypatch.setattr("continual.plan.pick_device", pick)
    made = resolve(RunSettings(benchmark="split-digits", precision="fp32"))[0].model_copy(update={"device": "cuda"})
    settings, notes = _placed(made, None)
    assert settings.device == "cpu" and notes == ["the run was computed on cuda, which is not here; cpu is used"]
    with pytest.raises(FrostlineError, match="cannot be used here"):
        _placed(made, "cuda")


def test_a_folder_whose_fingerprints_are_gone_is_no_dead_end(place, tmp_path):
    plan = plan_of(place)
    run = Run(plan, tmp_path, FeatureStore(None))
    run.begin(resumed=False)
    with pytest.raises(FrostlineError, match=r"is in use by process \d+ on"):
        Run(plan, tmp_path, FeatureStore(None)).begin(resumed=True)
    run.close()
    (tmp_path / "fingerprints.json").unlink()
    again = Run(plan, tmp_path, FeatureStore(None))
    again.begin(resumed=True)
    assert not again.notes, "nothing was computed yet: there is nothing to compare"
    next(steps := again.steps())
    steps.close()
    (tmp_path / "fingerprints.json").write_text("{")
    last = Run(plan, tmp_path, FeatureStore(None))
    last.begin(resumed=True)
    assert any("fingerprints.json is gone" in note for note in last.notes)
    list(last.steps())
    last.finish()
