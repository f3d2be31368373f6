"""Exports of miniatures: run, equal, small; what is refused."""

import io
import json
import zipfile
from importlib.util import find_spec

import pytest
import torch
from command_lines import backbone as command

from backbones.core.errors import FrostlineError
from backbones.lifecycle.export.artefact import export, features_of, load_exported
from backbones.lifecycle.export.graph import check_extra
from backbones.testing_models import raw_batch, tiny_bert, tiny_vit
from backbones.training.saving import save_backbone

needs_onnx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="pip install 'frostline[export]'",
)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A tiny text encoder as a program, made once."""
    folder = tmp_path_factory.mktemp("export") / "out"
    backbone = tiny_bert()
    return backbone, export(backbone, "torch-export", folder, raw_batch(backbone, 4))


def assert_same(backbone, folder):
    samples = raw_batch(backbone, 9, seed=1)  # other texts, of other lengths, in other batches
    found = features_of(load_exported(folder), backbone, samples)
    with torch.no_grad():
        for sample, row in zip(samples, found, strict=True):
            wanted = backbone.features(backbone.preprocessing([sample]))[0]
            assert torch.allclose(row, wanted, rtol=1e-5, atol=1e-5)


def test_a_program_gives_the_features(program):
    backbone, found = program
    assert found.difference <= 1e-5 and found.size == (found.folder / "model.pt2").stat().st_size
    assert_same(backbone, found.folder)
    manifest = json.loads((found.folder / "export.json").read_text())
    assert manifest["fingerprint"] == backbone.fingerprint() and manifest["output"]["width"] == 24
    assert (found.folder / "tokenizer.json").exists()


@needs_onnx
def test_onnx_gives_the_features(tmp_path):
    backbone = tiny_vit()
    found = export(backbone, "onnx", tmp_path / "out", raw_batch(backbone, 3))
    assert found.difference <= 1e-5
    assert_same(backbone, found.folder)


@needs_onnx
def test_int8_gives_nearly_the_features_in_fewer_bytes(tmp_path):
    backbone = tiny_vit()
    found = export(backbone, "int8", tmp_path / "out", raw_batch(backbone, 3))
    assert found.cosine > 0.99
    assert {path.name for path in found.folder.iterdir()} == {"model.onnx", "export.json"}
    import onnx

    operations = {node.op_type for node in onnx.load(found.folder / "model.onnx").graph.node}
    assert "MatMulInteger" in operations


def test_what_would_be_unpickled_is_refused(program, tmp_path):
    _backbone, found = program

    class Evil:
        def __reduce__(self):
            return print, ("run",)

    evil = io.BytesIO()
    torch.save({"x": Evil()}, evil)
    changes = {
        "sample_inputs": ("sample_inputs/model.pt", evil.getvalue()),
        "legacy": ("data/weights/model.pt", evil.getvalue()),
    }
    for name, (place, content) in changes.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "export.json").write_bytes((found.folder / "export.json").read_bytes())
        with zipfile.ZipFile(found.folder / "model.pt2") as old, zipfile.ZipFile(folder / "model.pt2", "w") as new:
            for item in old.namelist():
                if not item.endswith(place):
                    new.writestr(item, old.read(item))
            new.writestr(f"model/data/{place.removeprefix('data/')}", content)
        with pytest.raises(FrostlineError, match="pickled objects"):
            load_exported(folder)
    folder = tmp_path / "marked"
    folder.mkdir()
    (folder / "export.json").write_bytes((found.folder / "export.json").read_bytes())
    with zipfile.ZipFile(found.folder / "model.pt2") as old, zipfile.ZipFile(folder / "model.pt2", "w") as new:
        for item in old.namelist():
            content = old.read(item)
            marked = content.replace(b'"use_pickle": false', b'"use_pickle": true')
            new.writestr(item, marked if item.endswith("_config.json") else content)
    with pytest.raises(FrostlineError, match="pickled objects"):
        load_exported(folder)


def test_mistakes_are_named(tmp_path, program):
    backbone = tiny_vit()
    samples = raw_batch(backbone, 3)
    with pytest.raises(FrostlineError, match=r"unknown format 'onx'.*'onnx'"):
        export(backbone, "onx", tmp_path / "a", samples)
    with pytest.raises(FrostlineError, match="exists already"):
        export(backbone, "torch-export", tmp_path, samples)
    with pytest.raises(FrostlineError, match="1 samples"):
        export(backbone, "torch-export", tmp_path / "a", samples[:1])
    with pytest.raises(FrostlineError, match=r"no exported backbone.*export\.json"):
        load_exported(tmp_path)
    (tmp_path / "export.json").write_bytes((program[1].folder / "export.json").read_bytes())
    with pytest.raises(FrostlineError, match=r"model\.pt2 cannot be loaded"):
        load_exported(tmp_path)
    (tmp_path / "model.pt2").write_bytes(b"no archive")
    with pytest.raises(FrostlineError, match=r"model\.pt2 cannot be loaded"):
        load_exported(tmp_path)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("backbones.lifecycle.export.formats.find_spec", lambda name: None)
    with pytest.raises(FrostlineError, match=r"onnxruntime.*frostline\[export\].*torch-export"):
        check_extra("int8")


def test_the_command(tmp_path):
    save_backbone(tiny_vit(), tmp_path / "tiny", {})
    words = ("export", tmp_path / "tiny", "--format", "torch-export", "--batch", 2, "--rounds", 2)
    data = ("--benchmark", "split-digits", "--train", 3, "--test", 3)
    code, said, wrong = command(*words, *data, "--out", tmp_path / "out")
    assert code == 0, wrong
    assert "about" in said and "torch-export" in said
    facts = json.loads((tmp_path / "out" / "report.json").read_text())
    assert facts["facts"]["difference"] <= 1e-5 and facts["tables"][1]["rows"][1][-1] == "100.0%"
    code, _said, wrong = command(*words, "--out", tmp_path / "out")
    assert code == 2 and "exists already" in wrong
    code, _said, wrong = command("export", tmp_path / "tiny", "--format", "tflite", "--out", tmp_path / "new")
    assert code == 2 and "'tflite'" in wrong and "onnx" in wrong
