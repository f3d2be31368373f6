"""Files are whole or absent, safetensors only; digests follow names, types, shapes and bytes."""

import errno
import json
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.core.artifacts import (
    digest_json,
    digest_tensors,
    load_checked,
    load_tensors,
    save_checked,
    save_tensors,
    write_bytes,
    write_json,
)
from backbones.core.errors import FrostlineError


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_a_file_is_written_whole_and_replaced(tmp_path):
    path = tmp_path / "deep" / "er" / "a.bin"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(path.parent) == ["a.bin"]
    assert path.stat().st_mode & 0o444 == 0o444


@pytest.mark.parametrize("call", ["fsync", "replace", "fdopen"])
def test_a_full_disk_keeps_the_old_file_and_leaves_no_litter(tmp_path, monkeypatch, call):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"backbones.core.artifacts.os.{call}", full)
    with pytest.raises(FrostlineError, match=r"cannot write .*a\.bin: No space left on device.*Free some space"):
        write_bytes(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_an_interrupt_while_writing_leaves_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")

    def interrupt(_handle):
        raise KeyboardInterrupt

    monkeypatch.setattr("backbones.core.artifacts.os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FrostlineError, match=r"cannot write .*file.a\.bin.*another folder"):
        write_bytes(tmp_path / "file" / "a.bin", b"x")
    with pytest.raises(FrostlineError, match="cannot write"):
        write_bytes(tmp_path, b"x")
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(FrostlineError, match="Permission denied"):
        write_bytes(tmp_path / "a.bin", b"x")
    tmp_path.chmod(0o700)


def test_json_is_readable_and_refuses_nan_before_the_old_file_is_touched(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, None], "a": "ä"})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, None], "a": "ä"}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"b": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text())["a"] == "ä"


def test_tensors_survive_whatever_their_type_layout_and_sharing(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "turned": base.T,
        "row": base[1],
        "whole": base,
        "scalar": torch.tensor(3, dtype=torch.int64),
        "half": base.bfloat16(),
        "flags": base > 3,
        "empty": torch.empty(0, 5),
        "learnt": torch.nn.Parameter(base.clone()),
    }
    save_tensors(tmp_path / "a.safetensors", tensors, {"kind": "test"})
    read, metadata = load_tensors(tmp_path / "a.safetensors")
    assert metadata == {"kind": "test"}
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor)
    assert digest_tensors(read) == digest_tensors(tensors)


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-1], lambda b: b[:4], lambda b: b"", lambda b: b"\xff" * 8 + b[8:], lambda b: b"hello"],
)
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"a": torch.ones(3)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FrostlineError, match=r"a\.safetensors is not a readable safetensors file.*half-written"):
        load_tensors(path)


def test_a_missing_file_or_a_folder_is_named(tmp_path):
    with pytest.raises(FrostlineError, match=r"none\.safetensors does not exist"):
        load_tensors(tmp_path / "none.safetensors")
    with pytest.raises(FrostlineError, match="not a readable safetensors file"):
        load_tensors(tmp_path)


TYPES = st.sampled_from([torch.float32, torch.float16, torch.int32, torch.uint8, torch.bool])
SHAPES = st.lists(st.integers(1, 3), max_size=3).map(tuple)


@st.composite
def named_tensors(draw):
    named = {}
    for name in draw(st.lists(st.text(alphabet="abc.", min_size=1, max_size=4), min_size=1, max_size=4, unique=True)):
        shape, kind = draw(SHAPES), draw(TYPES)
        values = draw(st.lists(st.integers(0, 1), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        named[name] = torch.tensor(values).reshape(shape).to(kind)
    return named


@settings(max_examples=60, deadline=None)
@given(named_tensors(), st.randoms(use_true_random=False))
def test_the_order_and_layout_of_tensors_do_not_matter(named, shuffler):
    items = list(named.items())
    shuffler.shuffle(items)
    strided = {name: torch.stack([t, t], dim=-1)[..., 0] for name, t in items}
    assert digest_tensors(dict(items)) == digest_tensors(named) == digest_tensors(strided)


@settings(max_examples=60, deadline=None)
@given(named_tensors(), st.data())
def test_any_change_of_name_type_shape_or_bytes_changes_the_digest(named, data):
    name = data.draw(st.sampled_from(sorted(named)))
    tensor = named[name]
    rest = {key: value for key, value in named.items() if key != name}
    flipped = tensor.clone().reshape(-1)
    flipped[-1] = 1 - flipped[-1].to(torch.int32)
    other = torch.uint8 if tensor.dtype == torch.bool else torch.bool
    changed = [
        {**rest, name + "!": tensor},
        {**named, name: flipped.reshape(tensor.shape)},
        {**named, name: tensor[None]},
        {**named, name: tensor.to(other)},
        rest,
        {**named, "another": tensor},
    ]
    digests = [digest_tensors(each) for each in [named, *changed]]
    assert len(set(digests)) == len(digests)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=4), VALUES)
def test_json_digests_ignore_the_order_of_keys_alone(value, other):
    assert digest_json(dict(reversed(value.items()))) == digest_json(value)
    same = json.dumps(value, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest_json(value) == digest_json(other)) == same


def test_what_is_checked_is_held_to_its_digest_facts_and_all(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"x": torch.arange(3.0)}
    save_checked(path, tensors, {"run": "mine", "steps": "3"})
    found, facts = load_checked(path)
    assert torch.equal(found["x"], tensors["x"]) and facts == {"run": "mine", "steps": "3"}
    _, held = load_tensors(path)
    for changed, said in (({"x": torch.ones(3)}, held), (tensors, {**held, "steps": "9"})):
        save_tensors(path, changed, said)
        with pytest.raises(FrostlineError, match=r"a\.safetensors was damaged or changed after it was written"):
            load_checked(path)
    save_tensors(path, tensors, {"steps": "3", "digest": digest_tensors(tensors)})  # as files of before
    assert load_checked(path)[1] == {"steps": "3"}
    save_tensors(path, tensors, {"steps": "3"})
    assert load_checked(path)[1] == {"steps": "3"}
