"""Packed files: the size formula is the size of what is written, and loading gives back every bit."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.catalog import load_backbone
from backbones.core.artifacts import digest_tensors
from backbones.core.errors import FrostlineError
from backbones.lifecycle.compress.files import load_packed
from backbones.lifecycle.compress.frontier import explore
from backbones.lifecycle.compress.packed import pack_weights, unpack_weights
from backbones.lifecycle.compress.packing import gaps, mask_of, pack, packed_bytes, unpack
from backbones.lifecycle.compress.plan import Plan
from backbones.lifecycle.compress.run import compress
from backbones.testing_models import raw_batch, tiny_bert, tiny_vit
from backbones.training.loop import Recipe

NONE = Recipe(steps=1, batch=4)


@given(bits=st.integers(1, 32), seed=st.integers(0, 999), count=st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_numbers_of_any_width_come_back(bits, seed, count):
    values = np.random.default_rng(seed).integers(0, 2**bits, count)
    packed = pack(values, bits)
    assert len(packed) == packed_bytes(count, bits) == -(-count * bits // 8)
    assert (unpack(packed, bits, count) == values).all()


@given(seed=st.integers(0, 999), share=st.sampled_from([0.0, 0.02, 0.5, 1.0]), count=st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_masks_come_back_from_gaps(seed, share, count):
    mask = np.random.default_rng(seed).random(count) < share
    found, width = gaps(mask)
    assert (found < 2**width).all() and (mask_of(found, count) == mask).all()


@pytest.mark.parametrize("bits", [32, 8, 4, 3])
@pytest.mark.parametrize(("sparsity", "coding"), [(0.0, "all"), (0.6, "bitmap"), (0.985, "gaps")])
def test_the_formula_is_the_bytes_of_the_file_and_every_bit_comes_back(bits, sparsity, coding):
    found = explore(tiny_vit(), Plan(bits=(bits,), sparsity=(sparsity,), retrain="none", rounds=1))
    point = found.points[0] if found.points else found.dense
    tensors = point.packed.tensors
    assert point.formula == sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    header = point.file - point.formula
    assert 0 < header < 200 * len(tensors)
    codings = {entry.coding for entry in point.packed.entries.values()}
    assert coding in codings or (bits == 32 and sparsity == 0)
    again = unpack_weights(tensors, point.packed.entries)
    assert digest_tensors(again) == digest_tensors(point.state)
    linear = {name: t for name, t in point.state.items() if name.startswith("blocks") and t.ndim == 2}
    total = sum(tensor.numel() for tensor in linear.values())
    assert point.zeros == round(sparsity * total)
    assert sum(int((tensor == 0).sum()) for tensor in linear.values()) >= point.zeros


def test_the_formula_by_hand():
    backbone = tiny_vit(depth=1)
    sizes = {name: tensor.numel() for name, tensor in backbone.frozen_state().items()}
    names = ["patch_embed.proj", "blocks.0.attn.qkv", "blocks.0.attn.proj", "blocks.0.mlp.fc1", "blocks.0.mlp.fc2"]
    weights = {f"{name}.weight" for name in names}
    channels = sum(len(backbone.frozen_state()[name]) for name in weights)
    wanted = sum(sizes[name] * 4 // 8 for name in weights) + 2 * channels
    wanted += 4 * sum(count for name, count in sizes.items() if name not in weights)
    assert explore(backbone, Plan(bits=(4,))).points[0].formula == wanted


@pytest.mark.parametrize("make", [tiny_vit, tiny_bert])
def test_a_packed_folder_is_a_backbone_with_the_bits_of_the_plain_one(make, tmp_path):
    dense = make()
    before = dense.fingerprint()
    samples = raw_batch(dense, 8)
    plan = Plan(bits=(3,), sparsity=(0.5,), embeddings=True, recipe=NONE, rounds=1, recover=2)
    found = compress(dense, tmp_path / "out", plan, samples=samples)
    assert dense.fingerprint() == before
    plain, packed = load_backbone(str(tmp_path / "out" / "model")), load_packed(tmp_path / "out" / "packed")
    assert digest_tensors(plain.frozen_state()) == digest_tensors(packed.frozen_state())
    batch = plain.preprocessing(samples)
    with torch.no_grad():
        assert torch.equal(plain.features(batch), packed.features(packed.preprocessing(samples)))
    file = tmp_path / "out" / "packed" / "packed.safetensors"
    assert file.stat().st_size == found.packed_bytes == found.frontier.chosen.file
    for name, tensor in plain.frozen_state().items():
        if name.startswith("blocks") and tensor.ndim == 2:
            assert all(len(row.unique()) <= 8 for row in tensor)
    with pytest.raises(FrostlineError, match="exists already"):
        compress(dense, tmp_path / "out", plan, samples=samples)
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(FrostlineError, match=r"packed\.safetensors"):
        load_packed(tmp_path / "out" / "packed")
    (tmp_path / "out" / "packed" / "packed.json").write_text('{"format": "other"}')
    with pytest.raises(FrostlineError, match="'other'"):
        load_packed(tmp_path / "out" / "packed")
    with pytest.raises(FrostlineError, match=r"no packed backbone.*packed\.json"):
        load_packed(tmp_path)


def test_masks_that_save_nothing_are_not_written():
    found = explore(tiny_vit(), Plan(bits=(3,), sparsity=(0.1,), retrain="none", rounds=1)).points[0]
    assert {entry.coding for entry in found.packed.entries.values()} == {"all"}
    assert pack_weights(copy.deepcopy(_weights(found))).formula == found.formula


def _weights(point):
    from backbones.lifecycle.compress.packed import Weights

    return Weights({}, {}, point.packed.tensors)
