"""``backbone compress`` from end to end, and what it refuses."""

import json
import subprocess

import pytest
from command_lines import backbone, cil, installed

from backbones.core.errors import FrostlineError
from backbones.lifecycle.compress.frontier import explore
from backbones.lifecycle.compress.plan import Plan
from backbones.lifecycle.compress.report import table_of
from backbones.testing_models import tiny_vit
from backbones.training.saving import save_backbone
from backbones.training.timing import compare_speed

DIGITS = ("--benchmark", "split-digits", "--train", "6", "--test", "6")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compress") / "tiny"
    save_backbone(tiny_vit(), folder, {})
    return folder


def test_the_command_writes_a_frontier_and_a_backbone_that_runs(model, tmp_path):
    out = tmp_path / "out"
    code, said, wrong = backbone(
        "compress", model, "--bits", "8,3", "--sparsity", "0,0.5", "--steps", 2, "--rounds", 1, *DIGITS, "--out", out
    )  # fmt: skip
    assert code == 0, wrong
    assert "about" in said and "chosen:" in said
    facts = json.loads((out / "report.json").read_text())["facts"]
    assert [(p["bits"], p["sparsity"]) for p in facts["points"]] == [(32, 0), (8, 0), (3, 0), (8, 0.5), (3, 0.5)]
    sizes = [p["file"] for p in facts["points"]]
    assert sizes[0] > sizes[1] > sizes[2] and sizes[1] > sizes[3] > sizes[4]
    assert all(0 <= p[key] <= 1 for p in facts["points"] for key in ("ncm", "linear", "kept", "agreed"))
    assert facts["points"][0]["linear"] == facts["points"][0]["kept"] and facts["points"][0]["agreed"] == 1
    assert (out / "bytes.png").exists() and (out / "latency.png").exists() and (out / "report.html").exists()
    assert (out / "packed" / "packed.safetensors").exists()
    code, said, wrong = cil("--backbone", out / "model", "--benchmark", "split-digits", "--out", tmp_path / "run")
    assert code == 0, wrong


def test_without_data_one_point_is_written(model, tmp_path):
    code, _said, wrong = backbone("compress", model, "--bits", "4", "--out", tmp_path / "out")
    assert code == 0, wrong
    assert json.loads((tmp_path / "out" / "model" / "frostline.json").read_text())["bits"] == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--bits", "9"], ["9 bits", "2 to 8"]),
        (["--bits", "1"], ["1 bits", "2 to 8"]),
        (["--bits", "four"], ["'four'", "numbers"]),
        (["--bits", "4.5"], ["4.5", "integer"]),
        (["--bits", ""], ["bits", "one value"]),
        (["--sparsity", "1"], ["sparsity 1", "[0, 1)"]),
        (["--sparsity", "-0.5"], ["-0.5", "[0, 1)"]),
        (["--bits", "4", "--sparsity", "0.5"], ["features", "none", "--retrain none"]),
        (["--bits", "4", "--sparsity", "0.5", "--retrain", "labels"], ["labels", "--retrain none"]),
        (["--bits", "4", "--retrain", "hope"], ["retrain", "'hope'", "'features'"]),
        (["--bits", "4", "--rounding", "up"], ["rounding", "'up'", "'nearest'"]),
        (["--bits", "4", "--rounding", "calibrated"], ["calibrated", "samples"]),
        (["--bits", "4", "--keep", "*"], ["keep fewer"]),
        (["--bits", "8,4"], ["2 combinations", "--data-root"]),
        (["--bits", "4", "--benchmark", "split-digit"], ["split-digit", "split-digits"]),
    ],
)
def test_mistakes_end_with_exit_2_and_leave_nothing(model, tmp_path, words, said):
    code, _out, wrong = backbone("compress", model, *words, "--out", tmp_path / "out")
    assert code == 2
    assert all(word in wrong for word in said), wrong
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_and_one_class_are_refused(model, tmp_path):
    code, _out, wrong = backbone("compress", model, "--out", tmp_path)
    assert code == 2 and "exists already" in wrong
    (tmp_path / "one.csv").write_text("text,label,split\n" + "a cat runs,cats,train\na cat,cats,test\n" * 5)
    code, _out, wrong = backbone("compress", model, "--data-root", tmp_path / "one.csv", "--out", tmp_path / "out")
    assert code == 2 and "one class, 'cats'" in wrong


def test_texts_for_a_vision_backbone_are_refused(model, tmp_path):
    rows = "".join(
        f"a {n} runs {i},{n}s,{part}\n" for n in ("cat", "dog") for i in range(3) for part in ("train", "test")
    )
    (tmp_path / "two.csv").write_text("text,label,split\n" + rows)
    code, _out, wrong = backbone("compress", model, "--data-root", tmp_path / "two.csv", "--out", tmp_path / "out")
    assert code == 2 and "takes images" in wrong and "holds texts" in wrong


def test_the_installed_command_says_what_it_does():
    done = subprocess.run([installed("backbone"), "compress", "--help"], capture_output=True, text=True, check=True)
    assert "Quantise and prune" in done.stdout


def test_speeds_are_compared_round_by_round():
    calls = []
    found = compare_speed({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3)
    assert "".join(calls) == "ab" * 4
    assert found["a"].ratio == (1.0, 1.0, 1.0) and found["b"].ratio[0] <= found["b"].ratio[1] <= found["b"].ratio[2]


def test_a_plan_and_a_table_without_data():
    frontier = explore(tiny_vit(), Plan(bits=(4,)))
    assert table_of(frontier).header[-1] == "smaller" and frontier.chosen is frontier.points[0]
    with pytest.raises(FrostlineError, match="granularity"):
        Plan.parse({"granularity": "row"}, "compression")
