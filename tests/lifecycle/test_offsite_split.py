"""Laws of Offsite-Tuning: what the owner hands over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.catalog import load_backbone
from backbones.core.artifacts import load_tensors, save_tensors
from backbones.core.errors import FrostlineError
from backbones.encoder import Encoder
from backbones.lifecycle.offsite.exported import read_export
from backbones.lifecycle.offsite.layout import Layout, kept_layers
from backbones.lifecycle.offsite.middle import Distilling, distance
from backbones.lifecycle.offsite.restack import restack
from backbones.lifecycle.offsite.split import emulate, split
from backbones.lifecycle.offsite.withheld import check_file, search, withheld_tensors
from backbones.testing_models import (
    raw_batch,
    tiny_bert,
    tiny_clip,
    tiny_distilbert,
    tiny_roberta,
    tiny_transformers_vit,
    tiny_vit,
)

MINIATURES = [tiny_vit, tiny_transformers_vit, tiny_clip, tiny_bert, tiny_roberta, tiny_distilbert]
BOTH = [tiny_vit, tiny_bert]


def deep(make):
    """A miniature of six blocks, each with weights of its own."""
    backbone = restack(make(), [0, 1, 2, 0, 1, 2])
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in backbone.module.parameters():
            value.normal_(0.0, 0.2, generator=generator)
    return backbone


def features(backbone, count=5):
    return Encoder(backbone, precision="fp32").features(raw_batch(backbone, count))


@given(st.integers(1, 60).flatmap(lambda middle: st.tuples(st.just(middle), st.integers(1, middle))))
def test_kept_layers_follow_the_formula(pair):
    middle, keep = pair
    kept = kept_layers(middle, keep)
    if keep == 1:
        assert kept == [round((middle - 1) / 2)]
    else:
        assert kept == [round(i * (middle - 1) / (keep - 1)) for i in range(keep)]
        assert kept[0] == 0 and kept[-1] == middle - 1
    assert kept == sorted(set(kept)) and len(kept) == keep and set(kept) <= set(range(middle))


def test_a_layout_divides_the_blocks():
    layout = Layout.of(12, 2, 2, 4)
    assert layout.kept == [2, 4, 7, 9]  # 0, 2.33, 4.67, 7 rounded, above two bottom blocks
    assert layout.adapter == [0, 1, 10, 11]
    assert layout.given == [0, 1, 2, 4, 7, 9, 10, 11]
    assert layout.withheld == [3, 5, 6, 8]


@given(st.integers(1, 30), st.integers(0, 30), st.integers(0, 30), st.integers(1, 30))
def test_layouts_that_fit_are_partitions_and_others_are_refused(depth, bottom, top, keep):
    if bottom + top >= depth or keep > depth - bottom - top:
        with pytest.raises(FrostlineError, match="middle"):
            Layout.of(depth, bottom, top, keep)
        return
    layout = Layout.of(depth, bottom, top, keep)
    assert sorted(layout.given + layout.withheld) == list(range(depth))
    assert len(layout.given) == bottom + keep + top


@pytest.mark.parametrize("make", MINIATURES)
def test_an_emulator_that_keeps_all_is_the_full_model_to_the_bit(make):
    full = make()
    emulator = emulate(full, Layout.of(3, 1, 1, 1))
    assert emulator.fingerprint() == full.fingerprint()
    assert torch.equal(features(emulator), features(full))
    assert not {p.data_ptr() for p in emulator.module.parameters()} & {p.data_ptr() for p in full.module.parameters()}


@pytest.mark.parametrize("make", MINIATURES)
def test_shells_leave_hidden_states_alone(make):
    full = deep(make)
    layout = Layout.of(6, 1, 2, 1)
    emulator = emulate(full, layout)
    assert emulator.depth == 6 and not list(
        emulator.module.get_submodule(emulator.sites("block", 1)[0].path).children()
    )
    assert torch.equal(features(emulator), features(restack(full, layout.given)))
    assert not torch.equal(features(emulator), features(full))
    assert emulator.sites("qkv")[0].layer == 0
    with pytest.raises(FrostlineError, match="layer 1"):
        emulator.sites("qkv", 1)


@pytest.mark.usefixtures("native_bf16")
@pytest.mark.parametrize("make", [tiny_vit, tiny_transformers_vit, tiny_bert, tiny_distilbert])
def test_an_export_is_an_ordinary_folder_and_holds_nothing_withheld(make, tmp_path):
    full = deep(make)
    before = full.fingerprint()
    layout = Layout.of(6, 1, 1, 2)
    found = split(full, layout, tmp_path / "out")
    assert full.fingerprint() == before == found.fingerprint
    plain = load_backbone(str(found.folder))
    assert plain.depth == 4
    # texts of a loaded tokenizer are padded to other lengths than those of a miniature, which rounds otherwise
    assert torch.allclose(features(plain), features(emulate(full, layout)), atol=1e-5)
    held = load_tensors(found.folder / "model.safetensors")[0]
    for name, value in withheld_tensors(full, layout).items():
        assert not any(value.shape == other.shape and torch.equal(value, other) for other in held.values()), name
    assert len(withheld_tensors(full, layout)) == found.search.withheld > 0
    assert not found.search.leaks and found.search.alike < 0.99
    facts = json.loads((found.folder / "offsite.json").read_text())
    assert facts["withheld"] == [2, 3] and facts["given"] == [0, 1, 4, 5]
    assert facts["file_bytes"] == (found.folder / "model.safetensors").stat().st_size < facts["full_bytes"]
    export = read_export(found.folder)
    assert torch.equal(features(export.emulator), features(plain))
    state = emulate(full, layout).frozen_state()
    assert all(torch.equal(value, state[name]) for name, value in export.emulator.frozen_state().items())


LEAKS = {
    "equal": lambda w: w.clone(),
    "half": lambda w: w.half().float(),
    "bf16": lambda w: w.bfloat16().float(),
    "slice of rows": lambda w: w[3:5].clone(),
    "slice of columns": lambda w: w[:, 2:20].clone(),
    "flat": lambda w: w.reshape(-1).clone(),
    "hidden in another": lambda w: torch.cat([torch.randn(7, w.shape[1]), w]),
    "transposed": lambda w: w.T.contiguous(),
    "rescaled": lambda w: 3.7 * w,
    "negated and shifted": lambda w: 0.5 - 2.0 * w,
    "rescaled and transposed": lambda w: (0.1 * w).T.contiguous(),
    "rescaled by row": lambda w: w * torch.linspace(0.5, 2.0, len(w))[:, None],
    "permuted and rescaled": lambda w: 1.3 * w[torch.arange(len(w)).flip(0)],
    "eight bits": lambda w: (w / w.abs().max() * 127).round().to(torch.int8),
    "with a little noise": lambda w: w + 0.02 * w.std() * torch.randn(w.shape),
}


@pytest.mark.parametrize("how", LEAKS)
def test_copies_of_any_kind_are_found(how):
    torch.manual_seed(0)
    secret = torch.randn(24, 48)
    others = {"a": torch.randn(24, 48), "b": torch.randn(48, 24), "c": torch.randn(48)}
    assert not search({"w": secret}, others).leaks
    (leak,) = search({"w": secret}, {**others, "leaked": LEAKS[how](secret)}).leaks
    assert leak.withheld == "w" and leak.found == "leaked"


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 23), st.integers(0, 27), st.integers(19, 21))
def test_any_nineteen_neighbours_are_found(row, start, length):
    generator = torch.Generator().manual_seed(3)
    secret = torch.randn(24, 48, generator=generator)
    stolen = secret[row, start : start + length]
    file = {"x": torch.cat([torch.randn(40, generator=generator), stolen, torch.randn(9, generator=generator)])}
    assert search({"w": secret}, file).leaks


def test_constant_tensors_say_nothing():
    found = search({"bias": torch.zeros(24), "gain": torch.ones(24)}, {"other": torch.zeros(24), "one": torch.ones(24)})
    assert not found.leaks and found.constant == found.withheld == 2


def test_a_file_with_a_withheld_block_is_refused_by_name(tmp_path):
    full = deep(tiny_vit)
    layout = Layout.of(6, 1, 1, 2)
    held = {"mine": torch.randn(24, 24), "odd name": 2.0 * full.frozen_state()["blocks.2.attn.proj.weight"]}
    save_tensors(tmp_path / "x.safetensors", held)
    with pytest.raises(FrostlineError, match=r"odd name in the file .* blocks\.2\.attn\.proj\.weight"):
        check_file(full, layout, tmp_path / "x.safetensors")
    save_tensors(tmp_path / "y.safetensors", {"mine": held["mine"]})
    assert check_file(full, layout, tmp_path / "y.safetensors").tensors == 1


def test_a_model_whose_blocks_are_equal_cannot_be_withheld(tmp_path):
    full = restack(tiny_vit(), [0, 1, 1, 2])
    with pytest.raises(FrostlineError, match=r"blocks\.2"):
        split(full, Layout.of(4, 1, 1, 1), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_distance_is_the_normalised_mean_square():
    teacher, student = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    rows = [(0, 0), (0, 1), (0, 2), (1, 0)]
    t = torch.stack([teacher[i, j] for i, j in rows])
    s = torch.stack([student[i, j] for i, j in rows])
    rms = (t**2).mean(dim=1, keepdim=True).sqrt()
    assert torch.allclose(distance(teacher, student, mask), (((t - s) / rms) ** 2).mean())
    assert distance(teacher, teacher, mask) == 0


def test_a_token_of_a_great_norm_counts_like_any_other():
    teacher, student, mask = torch.randn(1, 3, 4), torch.randn(1, 3, 4), torch.ones(1, 3, dtype=torch.bool)
    scale = torch.tensor([1.0, 1000.0, 0.01])[None, :, None]
    assert torch.allclose(distance(teacher * scale, student * scale, mask), distance(teacher, student, mask))


@pytest.mark.usefixtures("native_bf16")
@pytest.mark.parametrize("make", BOTH)
def test_distilling_brings_the_emulator_closer_and_leaves_the_rest(make, tmp_path):
    full = deep(make)
    before = full.fingerprint()
    layout = Layout.of(6, 1, 1, 2)
    data = raw_batch(full, 24)
    found = split(full, layout, tmp_path / "out", data=data, recipe=Distilling(epochs=8, batch=8, lr=3e-3))
    assert full.fingerprint() == before
    assert found.distilled.after < 0.8 * found.distilled.before
    emulator, plain = read_export(found.folder).emulator, emulate(full, layout)
    trained = {f"{emulator.sites('block', layer)[0].path}." for layer in layout.kept}
    state = plain.frozen_state()
    for name, value in emulator.frozen_state().items():
        inside = any(name.startswith(root) for root in trained)
        assert inside or torch.equal(value, state[name]), name


@pytest.mark.parametrize("make", BOTH)
def test_nothing_is_left_to_distil_where_all_is_kept(make, tmp_path):
    full = make()
    recipe = Distilling(steps=1, epochs=None, batch=4)
    found = split(full, Layout.of(3, 1, 1, 1), tmp_path / "out", data=raw_batch(full, 8), recipe=recipe)
    assert found.distilled.before == 0.0
    assert found.search.withheld == 0


def test_bad_input_of_the_owner(tmp_path):
    full = tiny_vit()
    with pytest.raises(FrostlineError, match="exists"):
        split(full, Layout.of(3, 1, 1, 1), tmp_path)
    with pytest.raises(FrostlineError, match="5 blocks, but backbone 'tiny-vit' has 3"):
        split(full, Layout.of(5, 1, 1, 1), tmp_path / "a")
    with pytest.raises(FrostlineError, match="nothing to distil"):
        split(full, Layout.of(3, 1, 1, 1), tmp_path / "a", data=[])
    with pytest.raises(FrostlineError, match="is no export"):
        read_export(tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_export_whose_weights_were_changed_is_refused(tmp_path):
    found = split(tiny_vit(), Layout.of(3, 1, 1, 1), tmp_path / "out")
    tensors, facts = load_tensors(found.folder / "model.safetensors")
    tensors["norm.bias"] += 1
    save_tensors(found.folder / "model.safetensors", tensors, facts)
    with pytest.raises(FrostlineError, match="digest"):
        read_export(Path(found.folder))
