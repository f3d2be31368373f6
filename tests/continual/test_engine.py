"""The engine: schedules, resuming bit for bit, invariance to the batch, honest counting."""

import numpy as np
import pytest
import torch
from tiny_runs import write_image_folders, write_tiny_backbone

from backbones.core.errors import FrostlineError
from backbones.features import FeatureStore
from benchmarks.folders import read_folders
from benchmarks.streams import make_stream
from continual.checkpoint import Checkpoints
from continual.engine import HEAD, Engine
from continual.heads import HEADS
from continual.plan import prepare
from continual.report import read_report
from continual.runner import Run
from continual.settings import RunSettings


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    write_image_folders(root / "data")
    write_tiny_backbone(root / "vit")
    return root


def settings(place, **values):
    base = {
        "benchmark": "folder",
        "data_root": str(place / "data"),
        "backbone": str(place / "vit"),
        "increment": 2,
        "pat": "vpt",
        "pat_settings": {"length": 2},
        "tuning": {"epochs": 2, "batch": 5},
        "precision": "fp32",
        "chunk": 4,
    }
    return RunSettings.parse({**base, **values}, "test")


def finish(values, folder, store=None, progress=None, resumed=False):
    extra = {"progress": progress} if progress else {}
    run = Run(prepare(values), folder, store or FeatureStore(None), **extra)
    run.begin(resumed)
    for _ in run.steps():
        pass
    return run.finish()


@pytest.mark.parametrize("schedule", ["first", "every"])
def test_a_run_repeats_itself_bit_for_bit(place, schedule):
    values = settings(place, pat_schedule=schedule)
    assert finish(values, None).numbers() == finish(values, None).numbers()


class Stop:
    """Interrupts at the n-th report of progress."""

    def __init__(self, at):
        self.left = at

    def __call__(self, _phase, _done, _total):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "schedule, head",
    [
        pytest.param("first", "linear", marks=pytest.mark.slow),
        ("every", "ipt"),
        pytest.param("first", "ipt", marks=pytest.mark.slow),
        pytest.param("every", "linear", marks=pytest.mark.slow),
    ],
)
def test_killed_anywhere_and_resumed_gives_the_same_numbers(place, tmp_path, schedule, head):
    values = settings(place, pat_schedule=schedule, head=head)
    whole = finish(values, tmp_path / "whole").numbers()
    assert 0.25 < whole["summary"]["a_last_sample"] < 1, "too easy or too hard to tell anything"
    for at in (2, 14, 40):
        folder = tmp_path / f"killed-{at}"
        try:
            finish(values, folder, progress=Stop(at))
        except KeyboardInterrupt:
            finish(values, folder, resumed=True)
        assert read_report(folder / "report.json").numbers() == whole


def test_a_finished_run_resumes_to_itself(place, tmp_path):
    values = settings(place, seeds=(1, 2))
    whole = finish(values, tmp_path / "run").numbers()
    assert finish(values, tmp_path / "run", resumed=True).numbers() == whole
    assert [run["seed"] for run in whole] == [1, 2]


def test_stored_activations_change_nothing_but_the_forwards(place, tmp_path):
    values = settings(place, pat_settings={"length": 2, "layers": "2"}, pat="vpt")
    plain = finish(values, None, FeatureStore(tmp_path / "a"))
    stored = finish(values.model_copy(update={"activations": True}), None, FeatureStore(tmp_path / "b"))
    assert stored.summary.a_t_sample == plain.summary.a_t_sample
    assert stored.forwards < plain.forwards


def test_frozen_forwards_are_counted_once_per_sample_and_never_again(place, tmp_path):
    values = settings(place, pat="frozen", pat_settings={})
    first = finish(values, None, FeatureStore(tmp_path))
    assert first.forwards == 4 * (6 + 3)
    assert finish(values.model_copy(update={"seeds": (5,)}), None, FeatureStore(tmp_path)).forwards == 0


def test_the_reference_equals_a_run_of_its_own(place):
    run = finish(settings(place), None)
    assert run.references == {}, "the head is the reference itself"
    with_ipt = finish(settings(place, head="ipt"), None)
    assert list(with_ipt.references["NCM"]) == list(run.summary.a_t_sample)


def test_predictions_of_future_experiences_are_marked(place):
    plan = prepare(settings(place, pat="frozen", pat_settings={}))
    engine = Engine(plan.backbone, plan.pat, HEADS.load("ncm")().build(0), chunk=4)
    steps = list(engine.run(plan.stream(1993)))
    assert (steps[0].predictions[HEAD][6:] == -1).all()
    assert (steps[1].predictions[HEAD] >= 0).all()
    engine.close()


def test_two_classes_and_one_class_at_a_time(place, tmp_path):
    data = write_image_folders(tmp_path / "two", classes=2)
    report = finish(settings(place, data_root=str(data), increment=1, head="ipt"), None)
    assert len(report.steps) == 2


@pytest.mark.slow
def test_three_hundred_experiences(place, tmp_path):
    data = write_image_folders(tmp_path / "many", classes=300, train=2, test=1)
    values = settings(place, data_root=str(data), increment=1, pat="frozen", pat_settings={}, head="ipt")
    assert len(finish(values, tmp_path / "run").steps) == 300


def test_nan_loss_stops_with_epoch_and_step(place, tmp_path, monkeypatch):
    values = settings(place, tuning={"epochs": 2, "batch": 5, "lr": 1e30, "head_lr": 1e30})
    with pytest.raises(FrostlineError, match=r"the loss of the PAT became (nan|inf) in epoch 1, step \d+.*tuning\.lr"):
        finish(values, tmp_path / "run")


def test_tuning_goes_on_with_smaller_batches_when_memory_runs_out(place, monkeypatch):
    from continual.training import _Trainer

    values = settings(place)
    plain = finish(values, None)
    real = _Trainer._gradients

    def tight(self, batch, forward, targets):
        if self.micro > 2:
            raise RuntimeError("out of memory")
        return real(self, batch, forward, targets)

    monkeypatch.setattr(_Trainer, "_gradients", tight)
    report = finish(values, None)
    assert any("2 samples at a time" in note for note in report.steps[0].notes)
    assert report.steps[0].a_t_sample == pytest.approx(plain.steps[0].a_t_sample, abs=0.35)


def test_global_generators_are_not_touched(place):
    torch.manual_seed(3)
    np.random.seed(3)
    before, kept = torch.get_rng_state(), np.random.get_state()[1].copy()
    finish(settings(place, head="ipt", pat_settings={"length": 2, "dropout": 0.2}), None)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == kept).all()


def test_a_corrupt_checkpoint_is_named_and_the_one_before_serves(place, tmp_path):
    values = settings(place)
    whole = finish(values, tmp_path / "run").numbers()
    last = sorted((tmp_path / "run" / "seed-1993" / "checkpoints").glob("step-*"))[-1]
    content = bytearray(last.read_bytes())
    content[-3] ^= 1
    last.write_bytes(bytes(content))
    with pytest.raises(FrostlineError, match=r"checkpoint .*step-001.* is corrupt .*goes on from step-000"):
        finish(values, tmp_path / "run", resumed=True)
    last.unlink()
    assert finish(values, tmp_path / "run", resumed=True).numbers() == whole


def test_a_checkpoint_of_another_seed_is_refused(place, tmp_path):
    values = settings(place)
    for seed in (1993, 7):
        finish(values.model_copy(update={"seeds": (seed,)}), tmp_path / str(seed))
    mine, other = (tmp_path / str(seed) / f"seed-{seed}" / "checkpoints" for seed in (1993, 7))
    for name in ("step-001.safetensors", "predictions-001.safetensors"):
        (mine / name).write_bytes((other / name).read_bytes())
    with pytest.raises(FrostlineError, match=r"step-001.* is of another run, .*goes on from step-000"):
        finish(values, tmp_path / "1993", resumed=True)


def test_changed_data_or_settings_are_refused_on_resume(place, tmp_path):
    data = write_image_folders(tmp_path / "data")
    values = settings(place, data_root=str(data))
    finish(values, tmp_path / "run")
    with pytest.raises(FrostlineError, match=r"other settings \(head: 'ncm' -> 'linear'"):
        finish(values.model_copy(update={"head": "linear"}), tmp_path / "run", resumed=True)
    next((data / "train" / "class_000").glob("*.png")).unlink()
    with pytest.raises(FrostlineError, match=r"the data changed since .* was begun: [0-9a-f]{12} then"):
        finish(values, tmp_path / "run", resumed=True)
    with pytest.raises(FrostlineError, match="already holds a run; continue it with --resume"):
        finish(values, tmp_path / "run")


def test_tuning_learns(place):
    """With labels that follow the colours, training the prompts lowers the loss."""
    plan = prepare(settings(place, tuning={"epochs": 8, "batch": 6}))
    engine = Engine(plan.backbone, plan.pat, HEADS.load("ncm")().build(0), tuning=plan.settings.tuning, chunk=4)
    (step,) = list(engine.run(make_stream(read_folders(place / "data"), increment=4)))
    assert step.losses[-1] < 0.7 * step.losses[0]
    engine.close()


def test_checkpoints_keep_the_last_two(place, tmp_path):
    finish(settings(place, increment=1), tmp_path / "run")
    folder = tmp_path / "run" / "seed-1993" / "checkpoints"
    assert [path.name for path in sorted(folder.glob("step-*"))] == ["step-002.safetensors", "step-003.safetensors"]
    assert not list(folder.glob("tuning-*"))
    assert Checkpoints(folder)._all()
