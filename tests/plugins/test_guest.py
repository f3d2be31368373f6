"""A package from outside adds a PAT, a head, a stream and a backbone by the same door as the built-in ones."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from command_lines import cil, installed
from PIL import Image

from backbones.catalog import BACKBONES, LoadOptions, load_backbone
from backbones.core.errors import FrostlineError
from backbones.pat import PATS
from backbones.pat.sites import UnfitError, fitting
from backbones.testing import check_backbone, check_pat, image_batch, tiny_transformers_vit, tiny_vit
from benchmarks.catalog import BENCHMARKS
from benchmarks.streams import make_stream
from benchmarks.testing import check_benchmark, check_stream
from continual.heads import HEADS
from continual.report import read_report
from continual.testing import check_head

GUEST = Path(__file__).parent / "guest"
REGISTRIES = {"pats": PATS, "heads": HEADS, "benchmarks": BENCHMARKS, "backbones": BACKBONES}
NAMES = {"pats": "guest-pat", "heads": "guest-head", "benchmarks": "guest-stream", "backbones": "guest-backbone"}


def install(folder, name, groups):
    """Write what an installer leaves behind: a dist-info folder with metadata and entry points."""
    info = folder / f"{name.replace('-', '_')}-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    lines = []
    for group, points in groups.items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder that stands for site-packages with the guest in it."""
    folder = tmp_path_factory.mktemp("site")
    project = tomllib.loads((GUEST / "pyproject.toml").read_text())["project"]
    install(folder, project["name"], project["entry-points"])
    (folder / "frostline_guest").symlink_to(GUEST / "frostline_guest")
    return folder


def forget():
    for registry in REGISTRIES.values():
        registry.__dict__.pop("_entries", None)


@pytest.fixture
def guest(site, monkeypatch):
    """The guest is installed for the length of a test."""
    monkeypatch.syspath_prepend(site)
    forget()
    yield
    forget()
    for name in [name for name in sys.modules if name.startswith("frostline_guest")]:
        del sys.modules[name]


def test_nothing_of_the_guest_is_known_before_it_is_installed():
    code, _, err = cil("--pat", "guest-pat", "--dry-run")
    assert code == 2 and "unknown PAT 'guest-pat'" in err and "Traceback" not in err


@pytest.mark.parametrize("what", REGISTRIES)
def test_lists_show_the_guest_and_where_it_comes_from(guest, what):
    code, out, _ = cil("--list", what)
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.strip().startswith(NAMES[what])]
    assert "frostline-guest" in line
    others = [line for line in out.splitlines() if line.rstrip().endswith("frostline")]
    assert len(others) == len(REGISTRIES[what].names()) - 1


@pytest.mark.parametrize("grow", [tiny_vit, tiny_transformers_vit], ids=["timm", "transformers"])
def test_the_guests_pat_meets_the_contract_on_our_backbones(guest, grow):
    backbone = grow()
    check_pat(PATS.load("guest-pat")(), backbone, image_batch(backbone))


def test_the_guests_backbone_meets_the_contract_and_takes_every_pat(guest):
    backbone = load_backbone("guest-backbone")
    check_backbone(backbone, image_batch(backbone))
    fits = fitting(backbone)
    assert {"vpt", "guest-pat", "layernorm"} <= set(fits), fits
    for name in fits:
        check_pat(PATS.load(name)(), backbone, image_batch(backbone))
    for name in set(PATS.names()) - set(fits):
        with pytest.raises(UnfitError, match=f"PAT '{name}' needs .* backbone 'guest-backbone'"):
            PATS.load(name)().grow(backbone, 0)
    assert load_backbone("guest-backbone", LoadOptions(image_size=16)).tokens == 16
    with pytest.raises(FrostlineError, match="no other weights than its own"):
        load_backbone("guest-backbone", LoadOptions(weights=Path("w.safetensors")))


def test_the_guests_head_meets_the_contract(guest):
    check_head(HEADS.load("guest-head")())


def test_the_guests_stream_meets_the_contract(guest):
    benchmark = BENCHMARKS.load("guest-stream")
    check_benchmark(benchmark)
    stream = make_stream(benchmark.load(), init_classes=2, increment=1, seed=3)
    check_stream(stream)
    assert [len(each.classes) for each in stream.experiences] == [2, 1, 1, 1, 1]


@pytest.fixture(scope="module")
def finished(site, tmp_path_factory):
    """A whole run in a fresh process that finds the guest on its path alone."""
    out = tmp_path_factory.mktemp("run") / "out"
    command = [installed("cil-run"), "--out", out, "--store", out.parent / "store"]
    for option in ("benchmark", "pat", "head", "backbone"):
        command += [f"--{option}", NAMES[{"benchmark": "benchmarks"}.get(option, f"{option}s")]]
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
    words = [*map(str, command), "--tune-set", "epochs=1", "--pat-set", "start=1.1", "--pat-schedule", "every"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return out


def test_a_whole_run_of_the_guests_parts_ends_in_a_report(finished):
    report = read_report(finished / "report.json")
    assert len(report.steps) == 3 and len(report.stream.class_names) == 6
    assert report.parameters.trainable_pat == 16  # the width of the guest's backbone
    assert report.parameters.stored == 6 * 16
    written = tomllib.loads((finished / "settings.toml").read_text())
    assert (written["pat"], written["head"], written["benchmark"]) == ("guest-pat", "guest-head", "guest-stream")
    assert written["backbone"] == "guest-backbone" and written["pat_settings"] == {"start": 1.1}


def test_the_guests_run_predicts_images_and_is_drawn_again(guest, finished, tmp_path):
    Image.new("RGB", (20, 20), (235, 235, 235)).save(tmp_path / "a.png")
    Image.new("RGB", (9, 14), (200, 40, 40)).save(tmp_path / "b.png")
    code, out, err = cil("predict", finished, tmp_path / "a.png", tmp_path / "b.png", "--json")
    assert code == 0, err
    assert json.loads(out) and "white" in out and "red" in out
    code, out, err = cil("report", finished)
    assert code == 0 and "guest-pat" in out


def test_a_finished_run_needs_its_guest(finished, tmp_path):
    code, _, err = cil("--config", finished / "settings.toml", "--out", tmp_path / "out")
    assert code == 2 and "unknown benchmark 'guest-stream'" in err


def test_wrong_settings_of_a_guest_are_told_like_ours(guest):
    code, _, err = cil("--pat", "guest-pat", "--pat-set", "strat=2", "--dry-run")
    assert code == 2 and "PAT 'guest-pat'" in err and "Did you mean 'start'" in err
    code, _, err = cil("--pat", "guest-pta", "--dry-run")
    assert code == 2 and "Did you mean 'guest-pat'" in err


@pytest.mark.parametrize(
    ("what", "group", "name"),
    [
        ("pats", "backbones.pats", "vpt"),
        ("heads", "continual.heads", "ipt"),
        ("benchmarks", "benchmarks.streams", "split-digits"),
        ("backbones", "backbones.models", "bundled:vit-micro"),
    ],
)
def test_a_name_claimed_twice_ends_with_2_and_both_claimants(guest, tmp_path, monkeypatch, what, group, name):
    install(tmp_path, "rival", {group: {name: "rival:Thing"}})
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    for arguments in (["--list", what], ["--dry-run"] if what != "heads" else ["--list", what]):
        code, out, err = cil(*arguments)
        assert code == 2 and out == ""
        assert repr(name) in err and "claimed twice" in err and "Traceback" not in err
        assert "by frostline (" in err and "by rival (rival:Thing)" in err


def test_a_pat_that_does_not_fit_is_told_with_those_that_do(guest):
    code, _, err = cil("--backbone", "guest-backbone", "--pat", "lora", "--dry-run")
    assert code == 2 and "Traceback" not in err
    assert "PAT 'lora' needs the site 'proj', which backbone 'guest-backbone' does not have" in err
    assert "PATs that fit this backbone: " in err and "guest-pat" in err and "layernorm" in err


def test_a_guest_that_fails_to_import_is_named_and_hurts_nobody_else(guest, tmp_path, monkeypatch):
    install(tmp_path, "rival", {"backbones.pats": {"rival-pat": "rival_module:Thing"}})
    (tmp_path / "rival_module.py").write_text("raise RuntimeError('built for another version')")
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    code, out, _ = cil("--list", "pats")
    assert code == 0 and "rival-pat" in out and "guest-pat" in out
    code, _, err = cil("--pat", "rival-pat", "--dry-run")
    assert code == 2 and "Traceback" not in err
    assert "'rival-pat'" in err and "built for another version" in err and "uninstall rival" in err
