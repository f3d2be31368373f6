"""Files of differences: ours, those of the published library, damaged ones and those that are not for reading."""

import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from compose_makers import FC1, SHAPES, copied, made, on, same, state_of
from torch import nn

from backbones.compose import (
    Difference,
    combined,
    composed,
    read_any,
    read_difference,
    read_legacy,
    save_difference,
)
from backbones.compose.difference import weights_digest
from backbones.core.artifacts import load_tensors, save_tensors
from backbones.core.errors import FrostlineError
from backbones.core.seed import torch_generator
from backbones.deltas import save_delta
from backbones.testing import tiny_bert, tiny_vit


def test_files_round_trip(tmp_path):
    backbone = tiny_bert()
    path = tmp_path / "a.safetensors"
    difference = made(backbone, 3)
    save_difference(path, difference)
    again = read_difference(path)
    assert torch.equal(again.indices, difference.indices) and torch.equal(again.values, difference.values)
    assert (again.tensors, again.base, again.base_name) == (difference.tensors, difference.base, "tiny-bert")
    assert dict(again.settings) == dict(difference.settings) and again.settings["k"] == 40
    assert again.digest == difference.digest != made(backbone, 4).digest
    tensors, said = load_tensors(path)
    assert tensors["indices"].dtype == torch.int64 and tensors["values"].dtype == torch.float32
    assert said["format"] == "frostline-difference" and json.loads(said["tensors"])[0][0] in backbone.frozen_state()


def test_the_folder_of_a_trained_delta_is_a_difference_too(tmp_path):
    backbone = tiny_vit()
    delta = on(backbone, 5)
    save_delta(delta, tmp_path / "delta")
    delta.detach()
    found = read_any(tmp_path / "delta", backbone)
    assert found.digest == made(backbone, 5).digest
    assert [name for name, _ in backbone.module.named_modules() if "parametriz" in name] == []
    with pytest.raises(FrostlineError) as error:
        read_any(tmp_path / "delta", tiny_vit(seed=1))
    fingerprints = [tiny_vit(seed=seed).fingerprint()[:16] for seed in (0, 1)]
    assert all(each in str(error.value) for each in fingerprints) and "another base" in str(error.value)


def test_refuses_another_base_and_shows_both_fingerprints():
    one, other = tiny_vit(), tiny_vit(seed=1)
    difference, before = made(one, 1), copied(other)
    with pytest.raises(FrostlineError) as error, composed(other, [difference]):
        pass
    digests = [weights_digest(each.frozen_state())[:16] for each in (one, other)]
    assert all(each in str(error.value) for each in digests) and digests[0] != digests[1]
    assert same(copied(other), before)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (
            (("blocks.1.mlp.fc9.weight", (96, 24)),),
            ["'blocks.1.mlp.fc9.weight'", "tiny-vit", "nearest", "blocks.1.mlp.fc"],
        ),
        (((FC1, (24, 96)),), [FC1, "(24, 96)", "(96, 24)"]),
    ],
)
def test_refuses_missing_tensors_and_other_shapes(tensors, words):
    backbone = tiny_vit()
    state = backbone.frozen_state()
    difference = Difference(torch.tensor([3]), torch.tensor([1.0]), tensors, weights_digest(state), label="mine")
    with pytest.raises(FrostlineError) as error, composed(backbone, [difference]):
        pass
    assert all(word in str(error.value) for word in [*words, "mine"]), str(error.value)


@pytest.mark.parametrize(
    ("indices", "values", "words"),
    [
        ([0, 0], [1.0, 1.0], "occurs twice"),
        ([2, 1], [1.0, 1.0], "not ascending"),
        ([0, 40], [1.0, 1.0], "from 0 to 40, its tensors have 36"),
        ([-1, 4], [1.0, 1.0], "from -1"),
        ([0, 1], [1.0, float("nan")], "not finite"),
        ([0, 1], [1.0], "shape"),
        ([0, 1], [1, 1], "not int64 and float32"),
    ],
)
def test_damaged_vectors_are_refused(tmp_path, indices, values, words):
    shapes = json.dumps([[name, shape] for name, shape in SHAPES.items()])
    said = {"format": "frostline-difference", "version": "1", "base": "x", "base_name": "", "tensors": shapes}
    path = tmp_path / "bad.safetensors"
    save_tensors(path, {"indices": torch.tensor(indices), "values": torch.tensor(values)}, {**said, "settings": "{}"})
    with pytest.raises(FrostlineError) as error:
        read_difference(path)
    assert words in str(error.value) and "bad.safetensors" in str(error.value)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "holds no difference"),
        ({"format": "frostline-difference", "version": "2"}, "version '2'"),
        ({"format": "frostline-difference", "version": "1"}, "metadata"),
        ({"format": "frostline-difference", "version": "1", "tensors": "[3]"}, "metadata"),
    ],
)
def test_other_files_are_refused(tmp_path, said, words):
    path = tmp_path / "bad.safetensors"
    save_tensors(path, {"indices": torch.tensor([0]), "values": torch.tensor([1.0])}, said)
    with pytest.raises(FrostlineError, match=words):
        read_difference(path)


# The older format.


def changes_of(kind, state, prefix=""):
    """One file of every accepted kind with the same content."""
    dense = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    dense["a.weight"][1, 2], dense["a.weight"][3, 0], dense["b.weight"][2, 1, 0] = 0.5, -2.0, 0.25
    flat = {name: tensor.flatten().nonzero().squeeze(1) for name, tensor in dense.items()}
    pairs = {name: {"idx": flat[name].flip(0), "values": dense[name].flatten()[flat[name]].flip(0)} for name in dense}
    many = {
        name: {"indices": dense[name].nonzero().T.int(), "values": entry[entry != 0], "size": SHAPES[name]}
        for name, entry in dense.items()
    }
    sparse = {name: tensor.to_sparse() for name, tensor in dense.items()}
    absolute = {name: state[name] + dense[name] for name in ("a.weight", "b.weight")}
    heads = {"classifier.weight": torch.ones(2, 3)}
    return {
        "dense": dense,
        "sparse": sparse,
        "half": {name: tensor.half() for name, tensor in dense.items()},
        "flat": pairs,
        "many": many,
        "diffs": {"diffs": sparse, "abs": heads},
        "abs": {"diffs": {}, "abs": {**absolute, **heads}},
        "prefixed": {f"bert.{name}": tensor for name, tensor in dense.items()},
    }[kind]


@pytest.mark.parametrize("kind", ["dense", "sparse", "half", "flat", "many", "diffs", "abs", "prefixed"])
def test_reads_files_of_the_published_library(tmp_path, kind):
    state = {name: tensor.round() for name, tensor in state_of().items()}  # so that base + change - base is exact
    path = tmp_path / "pytorch_diff.bin"
    torch.save(changes_of(kind, state), path)
    found = read_legacy(path, state)
    after = {**state, **combined(state, [found])}
    wanted = {name: state[name] + tensor for name, tensor in changes_of("dense", state).items()}
    assert same(after, wanted) and found.k == 3 and found.base == ""
    assert any("classifier.weight" in note for note in found.notes) == (kind in ("diffs", "abs"))


def test_a_folder_with_the_older_file_is_read_and_the_unknown_base_remarked(tmp_path):
    from backbones.compose.adding import check_base

    backbone = tiny_vit()
    change = torch.zeros(96, 24)
    change[3, 4] = 1.5
    torch.save({FC1: change}, tmp_path / "pytorch_diff.bin")
    found = read_any(tmp_path, backbone)
    assert found.k == 1 and "does not say which base" in check_base(backbone.frozen_state(), [found], "it")[0]


class Evil:
    def __reduce__(self):
        return (open, ("/nonexistent/should-not-run", "w"))


@pytest.mark.parametrize("protocol", ["torch", "pickle"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, protocol):
    path = tmp_path / "pytorch_diff.bin"
    if protocol == "torch":
        torch.save({"a.weight": Evil()}, path)
    else:
        path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(FrostlineError, match="never unpickled"):
        read_legacy(path, state_of())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.ones(3)], ["no dictionary"]),
        ({1: torch.ones(4)}, ["no dictionary"]),
        ({"a.wieght": torch.ones(4, 5)}, ["'a.wieght'", "nearest", "a.weight"]),
        ({"a.bias": torch.ones(5)}, ["'a.bias'", "(5,)", "(4,)"]),
        ({"a.bias": 3}, ["'a.bias'", "int", "accepted are"]),
        ({"a.bias": {"indices": torch.tensor([0])}}, ["'a.bias'", "accepted are"]),
        ({"a.bias": {"indices": torch.tensor([4]), "values": torch.ones(1)}}, ["do not lie in"]),
        ({"a.bias": {"indices": torch.tensor([0.0]), "values": torch.ones(1)}}, ["indices", "float32"]),
        ({"a.bias": {"indices": torch.tensor([0, 1]), "values": torch.ones(1)}}, ["2 indices and 1 values"]),
        ({"a.bias": {"indices": torch.tensor([1, 1]), "values": torch.ones(2)}}, ["occurs twice"]),
        ({"a.bias": {"indices": torch.tensor([1]), "values": torch.ones(1), "size": [5]}}, ["(5,)", "(4,)"]),
        ({"a.bias": {"indices": torch.tensor([1]), "values": torch.ones(1), "size": 5}}, ["size"]),
        ({"a.bias": torch.ones(4), "x.a.bias": torch.ones(4)}, ["twice"]),
        ({"diffs": {}, "abs": {"a.bias": torch.ones(5)}}, ["'abs'", "(4,)"]),
        ({"diffs": {}, "config": {}}, ["config"]),
        ({"diffs": {}}, ["changes no tensor"]),
        ({"a.bias": torch.full((4,), float("nan"))}, ["not finite"]),
    ],
    ids=str,
)
def test_what_the_older_format_refuses(tmp_path, content, words):
    path = tmp_path / "pytorch_diff.bin"
    torch.save(content, path)
    with pytest.raises(FrostlineError) as error:
        read_legacy(path, state_of())
    assert all(word in str(error.value) for word in [*words, str(path)]), str(error.value)


def test_damaged_older_files_are_refused(tmp_path):
    path = tmp_path / "pytorch_diff.bin"
    torch.save({"a.bias": torch.ones(4)}, path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FrostlineError, match=r"pytorch_diff\.bin"):
        read_legacy(path, state_of())


def test_missing_files_say_what_to_pass(tmp_path):
    with pytest.raises(FrostlineError, match="does not exist"):
        read_any(tmp_path / "no.safetensors", tiny_vit())
    with pytest.raises(FrostlineError, match="does not exist"):
        read_legacy(tmp_path / "no.bin", state_of())


# Files as the published library writes them, put together here from its format.


def published(change):
    """One entry of ``diffs``: sorted places with the first dimension fastest, as steps; the first one of numpy."""
    sparse = change.to_sparse().coalesce()
    strides = np.cumprod([1, *change.shape[:-1]])
    places = (sparse.indices().numpy() * strides[:, None]).sum(0)
    order = places.argsort()
    steps = np.diff(places[order]).tolist()
    steps = [places[order][0], *steps] if len(places) else []  # of type numpy.int64, as the library leaves it
    return {"size": change.size(), "index_steps": steps, "values": sparse.values()[order]}


def renamed(path):
    """Name numpy's maker of scalars as numpy 1 did."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))


@pytest.mark.parametrize("old", [False, True], ids=["numpy 2", "numpy 1"])
@pytest.mark.parametrize("names", [("diffs", "abs"), ("body", "head")])
def test_a_published_file_loads_and_gives_what_its_library_gives(tmp_path, names, old):
    backbone = tiny_bert()
    state = backbone.frozen_state()
    generator = torch_generator(0, "published")
    changes = {}
    for name in (
        "encoder.layer.0.output.dense.weight",
        "encoder.layer.1.output.dense.bias",
        "embeddings.LayerNorm.bias",
    ):
        noise = torch.randn(state[name].shape, generator=generator)
        changes[name] = noise * (torch.rand(noise.shape, generator=generator) < 0.1)
    changes["encoder.layer.2.output.dense.weight"] = torch.zeros(24, 48)  # every tensor that was open has an entry
    whole = torch.randn(24, generator=generator)
    content = {
        names[0]: {f"bert.{name}": published(change) for name, change in changes.items()},
        names[1]: {
            "bert.encoder.layer.2.output.LayerNorm.bias": nn.Parameter(whole),
            "cls.predictions.bias": torch.ones(25),
            "parser.biaffine.U": torch.ones(3),
        },
    }
    assert type(content[names[0]]["bert.encoder.layer.0.output.dense.weight"]["index_steps"][0]) is np.int64
    torch.save(content, tmp_path / "pytorch_diff.bin")
    if old:
        renamed(tmp_path / "pytorch_diff.bin")
    found = read_any(str(tmp_path), backbone)
    after = {**state, **combined(state, [found])}
    for name, change in changes.items():
        torch.testing.assert_close(after[name], state[name] + change, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(after["encoder.layer.2.output.LayerNorm.bias"], whole, atol=1e-6, rtol=1e-6)
    touched = {*changes, "encoder.layer.2.output.LayerNorm.bias"}
    assert all(torch.equal(after[name], state[name]) for name in state if name not in touched)
    assert "cls.predictions.bias" in found.notes[0] and "parser.biaffine.U" in found.notes[0]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"index_steps": [0, 9], "size": torch.Size([2, 3])}, "in the base is (4, 5)"),
        ({"index_steps": [3, 17]}, "do not lie in"),
        ({"index_steps": [3, -4]}, "do not lie in"),
        ({"index_steps": [3, 2**70]}, "lead out of"),
        ({"index_steps": [3, 0]}, "occurs twice"),
        ({"index_steps": [3, 1, 1]}, "3 indices and 2 values"),
        ({"index_steps": ["3", 1]}, "no list of integers"),
        ({"index_steps": [np.float64(3), 1]}, "holds more than tensors"),
    ],
    ids=str,
)
def test_published_files_that_are_wrong(tmp_path, entry, words):
    change = {"size": torch.Size([4, 5]), "values": torch.ones(2), **entry}
    torch.save({"diffs": {"a.weight": change}, "abs": {}}, tmp_path / "pytorch_diff.bin")
    with pytest.raises(FrostlineError) as error:
        read_legacy(tmp_path / "pytorch_diff.bin", state_of())
    assert words in str(error.value), str(error.value)
