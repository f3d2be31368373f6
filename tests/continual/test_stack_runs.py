"""Whole runs with stacks of PATs: settings, layers, the artefact, and stacks that are refused before data is read."""

import json

import pytest
from command_lines import cil
from tiny_runs import write_image_folders, write_tiny_backbone

from benchmarks.images import decode_image
from continual.artefact import read_artefact
from continual.figures_files import read_predictions
from continual.report import read_report


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("stacks")
    write_image_folders(root / "data")
    write_tiny_backbone(root / "vit")
    return root


def test_a_stack_is_trained_reported_and_read_again(place, tmp_path):
    out = tmp_path / "run"
    code, _, err = cil(
        *("--benchmark", "folder", "--data-root", place / "data", "--backbone", place / "vit", "--increment", "2"),
        *("--pat", "layernorm+prefix+adapter", "--pat-layers", "1-2", "--pat-set", "prefix.length=3"),
        *("--pat-set", "adapter.where=proj", "--tune-set", "epochs=1", "--out", out, "--store", place / "store"),
    )
    assert code == 0, err
    artefact = next(out.glob("**/artefact"))
    settings = json.loads(next(artefact.glob("*.json")).read_text())["settings"]
    assert settings["pat"] == "layernorm+prefix+adapter"
    chosen = settings["pat_settings"]
    assert chosen["prefix"]["length"] == 3 and chosen["adapter"]["where"] == ["proj"]
    assert {member["layers"] for member in chosen.values()} == {"1-2"}
    classifier = read_artefact(out)
    delta = classifier.encoder.delta
    assert list(delta.parts) == ["layernorm", "prefix", "adapter"] and delta.first_layer == 1
    assert delta.parts["adapter"].ups[0].weight.abs().sum() > 0  # trained: it starts at zero
    report = read_report(out / "report.json")
    names = report.stream.class_names
    files = [path for c in report.stream.class_order for path in sorted((place / "data" / "test" / names[c]).glob("*"))]
    found = [best[0][0] for best in classifier.predict([decode_image(path) for path in files])]
    kept = read_predictions(next(out.glob("**/predictions.safetensors"))).predictions[-1]
    assert sorted(found) == sorted(names[i] for i in kept)


def test_an_overlap_is_refused_before_data_is_looked_for(place, tmp_path):
    code, _, err = cil(
        *("--benchmark", "folder", "--data-root", tmp_path / "absent", "--backbone", place / "vit"),
        *("--pat", "layernorm+bitfit", "--out", tmp_path / "run"),
    )
    assert code == 2 and "stack 'layernorm+bitfit', at 'bitfit'" in err and "overlap" in err
    assert "norm" in err and not (tmp_path / "run").exists()
