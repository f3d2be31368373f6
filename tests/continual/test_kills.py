"""A run that was killed at any moment and resumed reports what one in peace reports: all but wall times."""

import json

import pytest
from kills import TIMES, killed_at_write, report_of, writes_of
from tiny_runs import write_image_folders, write_tiny_backbone

from backbones.features import FeatureStore
from continual.plan import prepare
from continual.runner import Run
from continual.settings import RunSettings

KINDS = {
    "trained on every experience": {
        "pat": "vpt", "pat_settings": {"length": 2}, "pat_schedule": "every", "head": "ipt",
    },
    "above stored activations": {
        "pat": "vpt", "pat_settings": {"length": 2, "layers": "2"}, "activations": True, "head": "linear",
        "head_settings": {"mask": "new"},
    },
    "above activations in memory, two seeds": {
        "pat": "vpt", "pat_settings": {"length": 2, "layers": "1-2"}, "head": "ipt", "seeds": [1, 2],
    },
    "frozen, two seeds": {"pat": "frozen", "head": "linear", "seeds": [1, 2]},
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("kills")
    write_image_folders(root / "data")
    write_tiny_backbone(root / "vit")
    return root


def settings(place, **values):
    base = {
        "benchmark": "folder", "data_root": str(place / "data"), "backbone": str(place / "vit"), "increment": 2,
        "tuning": {"epochs": 2, "batch": 5}, "precision": "fp32", "chunk": 4,
    }  # fmt: skip
    return RunSettings.parse({**base, **values}, "test")


def finish(plan, folder):
    resumed = (folder / "run" / "settings.toml").exists()
    run = Run(plan, folder / "run", FeatureStore(folder / "store"))
    run.begin(resumed)
    for _ in run.steps():
        pass
    return run.finish()


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_killed_run_reports_is_what_one_in_peace_reports(place, tmp_path, kind, monkeypatch):
    monkeypatch.setattr("continual.runner.draw", lambda _folder, _report: [])
    plan = prepare(settings(place, **KINDS[kind]))
    total = writes_of(lambda: finish(plan, tmp_path / "peace"))
    peace = report_of(tmp_path / "peace" / "run")
    for at in [1, *range(4, total, max(1, total // 2)), total]:
        folder = tmp_path / f"killed-{at}"
        for again in (at, 3, None):  # killed there, killed again soon after, left in peace
            with killed_at_write(again or 10**9):
                finish(plan, folder)
        assert report_of(folder / "run") == peace, f"killed at write {at} of {total}"


def test_the_seconds_and_the_memory_of_a_killed_attempt_are_kept(place, tmp_path):
    plan = prepare(settings(place, **KINDS["trained on every experience"]))
    with killed_at_write(9):
        finish(plan, tmp_path)
    (cost,) = (tmp_path / "run" / "seed-1993" / "checkpoints").glob("cost-*.json")
    held = json.loads(cost.read_text())
    held["seconds"]["tuning"] = 1000.0
    held["notes"] = ["out of memory: a note of the killed attempt"]
    cost.write_text(json.dumps(held))
    report = finish(plan, tmp_path)
    (step,) = [step for step in report.steps if step.seconds["tuning"] > 1000]
    assert step.notes[0] == held["notes"][0]
    assert report.seconds_by_phase["tuning"] > 1000
    assert set(TIMES) & set(report.model_dump()) and report.peak_memory_bytes > 0
