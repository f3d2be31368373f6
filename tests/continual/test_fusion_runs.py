"""Runs of LoRAFusion: pools trained on the way, killed and resumed bit for bit, and the ledger in the report."""

import json

import pytest
import torch
from tiny_runs import write_image_folders, write_tiny_backbone

from backbones.features import FeatureStore
from continual.checkpoint import Checkpoints
from continual.engine import HEAD, Engine
from continual.figures_table import table_rows
from continual.heads import HEADS
from continual.plan import prepare
from continual.report import read_report
from continual.runner import Run
from continual.settings import RunSettings


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("fusion")
    write_image_folders(root / "data", classes=6, train=4, test=2)
    write_tiny_backbone(root / "vit")
    return root


def plan(place, values, schedule):
    base = {
        "benchmark": "folder",
        "data_root": str(place / "data"),
        "backbone": str(place / "vit"),
        "increment": 2,
        "pat": "lora_fusion",
        "pat_settings": values,
        "pat_schedule": schedule,
        "tuning": {"epochs": 2, "batch": 5, "lr": 0.05},
        "precision": "fp32",
        "chunk": 4,
    }
    return prepare(RunSettings.parse(base, "test"))


class Watch:
    """Counts the reports of training and interrupts at the n-th."""

    def __init__(self, at=None):
        self.seen, self.at = 0, at

    def __call__(self, phase, _done, _total):
        self.seen += phase.startswith("tuning")
        if self.at is not None and self.seen == self.at:
            raise KeyboardInterrupt


def learn(plan, folder, watch):
    """Run or resume; return epochs of every experience, and all that must repeat."""
    keeper = Checkpoints(folder)
    engine = Engine(
        plan.backbone,
        plan.pat,
        HEADS.load("ncm")().build(0),
        tuning=plan.settings.tuning,
        schedule=plan.settings.pat_schedule,
        precision="fp32",
        chunk=4,
        keeper=keeper,
        progress=watch,
    )
    try:
        steps = [*keeper.restore(engine), *engine.run(plan.stream(1993))]
        found = {f"delta.{name}": value.clone() for name, value in engine.delta.state_dict().items()}
        found |= {f"predictions.{step.index}": torch.from_numpy(step.predictions[HEAD]) for step in steps}
        return [step.losses for step in steps], found
    finally:
        engine.close()


CASES = {
    "stages": ({"train": "stages", "r": 2}, "first", [6, 0, 0]),
    "stages, every": ({"train": "stages", "r": 2, "mode": "delta", "warm": 1}, "every", [4, 2, 2]),
    "experiences": ({"train": "experiences", "r": 2}, "every", [2, 2, 2]),
}


@pytest.mark.parametrize(
    "case", ["stages, every", *(pytest.param(case, marks=pytest.mark.slow) for case in ("experiences", "stages"))]
)
def test_killed_anywhere_and_resumed_gives_the_same_bits(place, tmp_path, case):
    values, schedule, epochs = CASES[case]
    made = plan(place, values, schedule)
    watch = Watch()
    losses, whole = learn(made, tmp_path / "whole", watch)
    assert [len(row) for row in losses] == epochs
    # A stage of two epochs reports five times: the 6th and the 11th report come when one stage is kept as done.
    for at in (3, 6, 11, watch.seen - 1):
        folder = tmp_path / f"killed-{at}"
        with pytest.raises(KeyboardInterrupt):
            learn(made, folder, Watch(at))
        again, found = learn(made, folder, Watch())
        assert again == losses, f"killed at {at} of {watch.seen}"
        assert found.keys() == whole.keys() and all(torch.equal(found[name], whole[name]) for name in whole)


def test_the_report_has_the_ledger(place, tmp_path):
    run = Run(plan(place, {"train": "experiences", "r": 2}, "every"), tmp_path, FeatureStore(None))
    run.begin(resumed=False)
    reports = [report for _, _, report in run.steps()]
    run.finish()
    report = read_report(tmp_path / "report.json")
    lora = report.ledger["cells_written_lora"]
    assert lora == 3 * 4 * 2 * (24 + 24), "three blocks, four matrices each, of rank 2"
    assert report.ledger["cells_written"] == 0
    assert [each.ledger["cells_programmed_here"] for each in reports] == [lora, 2 * lora, 2 * lora]
    assert {each.parameters.trainable_pat for each in reports} == {2 * 3 + 12 * 24}
    assert report.ledger["digital_numbers"] == 2 * 3 + 12 * 24
    rows = {row.name: row for row in table_rows(report)}
    assert rows["ledger: cells written"].value == "0 cells"
    assert rows["ledger: cells written lora"].value == f"{lora:,} cells"
    assert "assumption" in rows["ledger: energy per cell nj"].note
    assert "cells written lora" in (tmp_path / "report.html").read_text()
    old = json.loads((tmp_path / "report.json").read_text())
    del old["ledger"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert not [row for row in table_rows(read_report(tmp_path / "old.json")) if row.name.startswith("ledger")]
