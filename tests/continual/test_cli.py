"""``cil-run`` as a user meets it: whole runs, every command, every wrong input."""

import json
import os
import signal
import subprocess
import time

import pytest
from command_lines import cil, installed
from tiny_runs import write_image_folders, write_tiny_backbone

from continual.report import read_report

ENTRY = installed("cil-run")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("cli")
    write_image_folders(root / "data")
    write_tiny_backbone(root / "vit")
    return root


def words(place, out, *more):
    base = ["--benchmark", "folder", "--data-root", place / "data", "--backbone", place / "vit", "--increment", "2"]
    return [*map(str, base), "--store", str(place / "store"), *(["--out", str(out)] if out else []), *map(str, more)]


@pytest.fixture(scope="module")
def finished(place, tmp_path_factory):
    """One finished run of two seeds."""
    out = tmp_path_factory.mktemp("runs") / "run"
    more = ["--pat", "vpt", "--pat-set", "length=2", "--tune-set", "epochs=1", "--ipt", "--seeds", "1993,1994"]
    code, printed, err = cil(*words(place, out, *more))
    assert code == 0, err
    return out, printed


def test_a_run_ends_in_a_table_and_a_folder(finished):
    out, printed = finished
    for word in ("A_bar, sample-weighted", "A_last, task-weighted", "forgetting", "BWT", "FWT", "category drift rate"):
        assert word in printed
    for word in ("trainable parameters", "stored per class", "forwards"):
        assert word in printed
    wanted = {"settings.toml", "environment.json", "fingerprints.json", "report.json", "report.html", "plots"}
    assert wanted <= {path.name for path in out.iterdir()}
    assert {p.name for p in (out / "plots").iterdir()} == {
        "accuracy.png",
        "accuracy_matrix.png",
        "drift.png",
        "map.png",
    }
    seed = out / "seed-1994"
    assert {"report.json", "accuracy_matrix.csv", "artefact", "checkpoints"} <= {p.name for p in seed.iterdir()}
    assert len(read_report(out / "report.json").runs) == 2


def test_settings_are_written_resolved_and_repeat_the_run(finished, place, tmp_path):
    out, _ = finished
    code, _, err = cil("--config", out / "settings.toml", "--out", tmp_path / "again", "--store", place / "other")
    assert code == 0, err
    assert read_report(tmp_path / "again" / "report.json").numbers() == read_report(out / "report.json").numbers()
    text = (out / "settings.toml").read_text()
    assert "projection" in text and "tau" in text, "the constants of PAT and head are not written"


def test_report_redraws(finished):
    out, _ = finished
    picture = out / "plots" / "map.png"
    before = picture.read_bytes()
    picture.unlink()
    code, printed, _ = cil("report", out)
    assert code == 0 and "A_bar" in printed
    assert picture.read_bytes() == before


def test_predict_uses_the_artefact(finished, place):
    out, _ = finished
    images = sorted((place / "data" / "test").glob("*/0.png"))
    code, printed, err = cil("predict", out, *images, "--json", "--top", 4)
    assert code == 0, err
    rows = json.loads(printed)
    assert [row["image"] for row in rows] == [str(image) for image in images]
    assert all(len(row["classes"]) == 4 for row in rows)
    alone = json.loads(cil("predict", out, images[2], "--json", "--top", 4)[1])
    assert alone == rows[2:3], "the batch changes predictions"
    code, printed, _ = cil("predict", out, *images)
    assert code == 0 and "class_00" in printed


def test_predictions_of_the_artefact_are_those_of_the_run(finished, place):
    from benchmarks.images import decode_image
    from continual.artefact import read_artefact
    from continual.figures_files import read_predictions

    out, _ = finished
    classifier = read_artefact(out, 1994)
    report = read_report(out / "report.json").runs[1]
    names = report.stream.class_names
    files = [path for c in report.stream.class_order for path in sorted((place / "data" / "test" / names[c]).glob("*"))]
    found = [best[0][0] for best in classifier.predict([decode_image(path) for path in files])]
    kept = read_predictions(out / "seed-1994" / "predictions.safetensors").predictions[-1]
    assert sorted(found) == sorted(names[i] for i in kept)


def test_dry_run_prints_the_plan_and_writes_nothing(place, tmp_path):
    code, printed, err = cil(*words(place, tmp_path / "no", "--pat", "vpt", "--dry-run"))
    assert code == 0, err
    for word in ("experiences", "trainable parameters", "forwards", "estimated time", "estimated memory"):
        assert word in printed
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("what", ["backbones", "pats", "heads", "benchmarks"])
def test_lists_show_name_line_and_origin(what):
    code, printed, _ = cil("--list", what)
    known = {"backbones": "timm:*", "pats": "vpt", "heads": "ipt", "benchmarks": "split-cifar100"}
    assert code == 0 and known[what] in printed and "frostline" in printed


WRONG = [
    (["--benchmark", "split-cifar10O"], "unknown benchmark 'split-cifar10O'. Did you mean 'split-cifar10'"),
    (["--pat", "vtp"], "unknown PAT 'vtp'. Did you mean 'vpt'"),
    (["--head", "npt"], "unknown head 'npt'. Did you mean 'ipt'"),
    (["--backbone", "bundled:vit-mico"], "Did you mean 'bundled:vit-micro'"),
    (["--pat", "vpt", "--pat-set", "lenght=3"], "unknown key 'lenght'. Did you mean 'length'?"),
    (["--pat", "vpt", "--pat-set", "length=-1"], "length = '-1': input should be greater than or equal to 0"),
    (["--pat", "vpt", "--pat-set", "layers=2-9"], "layers run from 0 to 2"),
    (["--pat", "vpt", "--pat-set", "length"], "is not of the form key=value"),
    (["--head", "ipt", "--head-set", "tua=1"], "unknown key 'tua'. Did you mean 'tau'?"),
    (["--tune-set", "epoch=3"], "unknown key 'tuning.epoch'"),
    (["--seeds", "1,x"], "write whole numbers separated by commas"),
    (["--seeds", "1,1"], "hold one twice"),
    (["--ipt", "--head", "ncm"], "--ipt is short for --head ipt"),
    (["--order", "random"], "order = 'random': input should be 'seed' or 'alphabetical'"),
    (["--increment", "99"], "there are 4 classes; give a number from 1 to 4"),
    (["--increments", "1,2"], "leave init_classes and increment out"),
    (["--shots", "1000"], "class_000"),
    (["--data-root", "nowhere"], "nowhere"),
    (["--weights", "x.safetensors"], "takes no separate weights"),
    (["--device", "quantum"], "device 'quantum' cannot be used here"),
    (["--config", "nothing.toml"], "nothing.toml does not exist"),
    (["--list", "cats"], "unknown list 'cats'"),
]


@pytest.mark.parametrize(("more", "message"), WRONG, ids=[" ".join(more) for more, _ in WRONG])
def test_wrong_input_is_named_and_exits_with_2(place, tmp_path, more, message):
    code, printed, err = cil(*words(place, tmp_path / "no"), *more)
    assert code == 2
    assert message in err and err.startswith("error: ")
    assert "Traceback" not in printed + err
    assert not (tmp_path / "no").exists(), "a refused run leaves a folder behind"


def test_an_unknown_option_exits_with_2():
    code, _, err = cil("--no-such-option")
    assert code == 2 and "no-such-option" in err.lower()


def test_an_existing_run_is_not_overwritten(finished, place):
    out, _ = finished
    before = (out / "report.json").read_bytes()
    code, _, err = cil(*words(place, out))
    assert code == 2 and f"--resume {out}" in err
    code, _, err = cil("--resume", out, "--head", "ncm")
    assert code == 2 and "was run with other settings" in err
    code, _, err = cil("--resume", out, "--out", "x")
    assert code == 2 and "leave --out" in err
    code, _, err = cil("--resume", out, "--config", out / "settings.toml")
    assert code == 2 and "give one of them" in err
    assert (out / "report.json").read_bytes() == before


def test_settings_file_with_an_unknown_key(place, tmp_path):
    (tmp_path / "s.toml").write_text('benchmrk = "folder"\n')
    code, _, err = cil("--config", tmp_path / "s.toml")
    assert code == 2 and "unknown key 'benchmrk'. Did you mean 'benchmark'?" in err
    (tmp_path / "s.toml").write_text("benchmark = \n")
    code, _, err = cil("--config", tmp_path / "s.toml")
    assert code == 2 and "no readable TOML" in err and "line 1" in err


def test_an_unreadable_image_is_named_and_what_was_encoded_is_kept(place, tmp_path):
    data = write_image_folders(tmp_path / "data")
    bad = data / "test" / "class_003" / "2.png"
    bad.write_bytes(bad.read_bytes()[:60])
    code, _, err = cil(*words(place, tmp_path / "run"), "--data-root", data)
    assert code == 2 and str(bad) in err
    bad.unlink()
    code, _, err = cil(*words(place, tmp_path / "run2"), "--data-root", data)
    assert code == 0, err


def test_an_unwritable_folder_is_named(place, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = cil(*words(place, tmp_path / "file" / "run"))
    assert code == 2 and "cannot write" in err and "another folder" in err


def test_commands_on_a_folder_without_a_run(tmp_path):
    for command in (["report", tmp_path], ["predict", tmp_path, __file__], ["--resume", tmp_path]):
        code, _, err = cil(*command)
        assert code == 2 and err.startswith("error: "), command


def test_predict_refuses_another_backbone_and_bad_images(finished, place, tmp_path):
    out, _ = finished
    image = place / "data" / "test" / "class_000" / "0.png"
    code, _, err = cil("predict", out, image, tmp_path / "none.png")
    assert code == 2 and "none.png" in err
    code, _, err = cil("predict", out, image, "--seed", 7)
    assert code == 2 and "It has seed-1993, seed-1994" in err
    weights = place / "vit" / "model.safetensors"
    kept = weights.read_bytes()
    try:
        from backbones.testing import tiny_transformers_vit

        tiny_transformers_vit(seed=5).module.save_pretrained(place / "vit")
        code, _, err = cil("predict", out, image)
    finally:
        weights.write_bytes(kept)
    assert code == 2 and "is not the one of this run: fingerprint" in err


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow), (signal.SIGINT, 130)]
)
def test_a_signal_keeps_what_is_computed_and_the_run_resumes(place, tmp_path, number, code):
    more = ["--pat", "vpt", "--pat-set", "length=2", "--tune-set", "epochs=400", "--tune-set", "batch=2"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    running = subprocess.Popen(
        [ENTRY, *words(place, tmp_path / "run", *more)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # A shell starts jobs in the background with SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    saved = tmp_path / "run" / "seed-1993" / "checkpoints"
    deadline = time.monotonic() + 120
    while not list(saved.glob("tuning-*")) and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.05)
    running.send_signal(number)
    _, err = running.communicate(timeout=120)
    assert running.returncode == code, err
    assert f"cil-run --resume {tmp_path / 'run'}" in err.replace("\n", "")
    assert "Traceback" not in err
    assert list(saved.glob("tuning-*"))


def test_help_names_every_option_and_command():
    code, printed, _ = cil("--help")
    assert code == 0
    for word in ("--ipt", "--pat-schedule", "--resume", "--dry-run", "--seeds", "report", "predict"):
        assert word in printed


def test_ctrl_c_before_anything_is_begun(place, tmp_path, monkeypatch):
    def stop(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("continual.plan.load_for", stop)
    code, _, err = cil(*words(place, tmp_path / "no"))
    assert code == 130 and "nothing begun" in err
    assert not (tmp_path / "no").exists()
