"""The laws of adding differences: any order, no trace, no other base."""

import sys

import pytest
import torch
from compose_makers import copied, made, on, random_difference, same, state_of
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.catalog import LoadOptions, load_backbone
from backbones.cli import main
from backbones.compose import (
    combined,
    compose,
    composed,
    difference_of,
    export_difference,
    extract_difference,
    overlaps,
    read_difference,
    save_difference,
)
from backbones.compose.difference import weights_digest
from backbones.core.errors import FrostlineError
from backbones.encoder import Encoder
from backbones.pat.sparse import Sparse
from backbones.pat.stack import make_pat
from backbones.testing import raw_batch, tiny_bert, tiny_vit


@given(st.lists(st.integers(0, 50), min_size=2, max_size=4, unique=True), st.randoms(), st.sampled_from([1, 1e-4, 1e6]))
@settings(max_examples=40, deadline=None)
def test_composition_commutes_bit_for_bit(seeds, random, scale):
    state = state_of()
    differences = [random_difference(state, 20, seed, scale if seed % 2 else 1.0) for seed in seeds]
    once = combined(state, differences)
    random.shuffle(differences)
    assert same(once, combined(state, differences))


@given(st.integers(1, 36), st.integers(1, 36))
@settings(max_examples=20, deadline=None)
def test_what_no_difference_names_keeps_its_bits(first, second):
    state = state_of()
    a, b = random_difference(state, first, 1), random_difference(state, second, 2)
    flat = torch.cat([tensor.flatten() for tensor in state.values()])
    after = torch.cat([tensor.flatten() for tensor in {**state, **combined(state, [a, b])}.values()])
    touched = torch.zeros(len(flat), dtype=torch.bool)
    touched[torch.cat([a.indices, b.indices])] = True
    assert torch.equal(after[~touched], flat[~touched])
    wanted = flat.double().index_add(0, a.indices, a.values.double()).index_add(0, b.indices, b.values.double())
    torch.testing.assert_close(after.double(), wanted, rtol=1e-7, atol=1e-7)
    places = [set(each.indices.tolist()) for each in (a, b)]
    assert overlaps([a, b]) == [[first, len(places[0] & places[1])], [len(places[0] & places[1]), second]]


def test_one_difference_is_what_the_delta_does_bit_for_bit():
    backbone = tiny_bert()
    raw = raw_batch(backbone)
    delta = on(backbone, 1)
    wanted, merged = Encoder(backbone, delta, precision="fp32").features(raw), delta.merged()
    delta.detach()
    difference = made(backbone, 1)
    assert same({**copied(backbone), **combined(backbone.frozen_state(), [difference])}, merged)
    with composed(backbone, [difference]):
        assert torch.equal(Encoder(backbone, precision="fp32").features(raw), wanted)


def test_taking_differences_off_restores_every_bit():
    backbone = tiny_vit()
    before, raw = copied(backbone), raw_batch(backbone)
    base = Encoder(backbone, precision="fp32").features(raw)
    with pytest.raises(KeyError), composed(backbone, [made(backbone, 1), made(backbone, 2)]):
        assert not same(copied(backbone), before)
        assert not torch.equal(Encoder(backbone, precision="fp32").features(raw), base)
        raise KeyError
    assert same(copied(backbone), before)
    assert torch.equal(Encoder(backbone, precision="fp32").features(raw), base)


def test_differences_go_under_a_delta_that_is_on_the_backbone():
    backbone = tiny_vit()
    difference, before = made(backbone, 1), copied(backbone)
    delta = make_pat("lora", {}).grow(backbone, 0)
    with composed(backbone, [difference]):
        assert same(copied(backbone), {**before, **combined(before, [difference])})
    delta.detach()
    assert same(copied(backbone), before)


@given(st.integers(1, 36))
@settings(max_examples=15, deadline=None)
def test_extracts_the_k_largest_and_all_of_them_give_the_tuned_weights(k):
    base, tuned = state_of(0), state_of(1)
    tuned["a.bias"] = base["a.bias"] + torch.tensor([9.0, -9.0, 9.0, 0.0])  # ties above all others
    found = extract_difference(base, tuned, k)
    assert found.k == k and found.base == weights_digest(base)
    moved = torch.cat([(tuned[name].double() - base[name].double()).flatten() for name in base])
    assert torch.equal(found.values.abs().sort().values, moved.abs().sort().values[-k:])
    everything = extract_difference(base, tuned)
    assert everything.k == int((moved != 0).sum())
    assert same({**base, **combined(base, [everything])}, tuned)


def test_any_mergeable_delta_becomes_a_difference():
    backbone = tiny_bert()
    delta = make_pat("lora", {}).grow(backbone, 0)
    with torch.no_grad():
        for parameter in delta.parameters():
            parameter.add_(0.1)
    merged = delta.merged()
    difference = difference_of(delta)
    delta.detach()
    state = copied(backbone)
    assert same({**state, **combined(state, [difference])}, merged)
    vpt = make_pat("vpt", {}).grow(tiny_vit(), 0)
    with pytest.raises(FrostlineError, match="cannot be folded"):
        difference_of(vpt)


def test_no_difference_in_the_middle_of_training():
    delta = Sparse(k=3).grow(tiny_vit(), 0)
    delta.enter(0, 0)
    with pytest.raises(FrostlineError, match="finish its training"):
        difference_of(delta, "half")


@pytest.mark.parametrize(
    ("change", "k", "words"),
    [
        (lambda tuned: tuned.pop("a.bias"), None, ["'a.bias'", "absent"]),
        (lambda tuned: tuned.update({"a.bias": torch.ones(7)}), None, ["(7,)", "(4,)"]),
        (lambda tuned: None, 37, ["k = 37", "36 weights"]),
        (lambda tuned: None, 0, ["k = 0"]),
    ],
)
def test_extracting_refuses_other_models_and_too_many(change, k, words):
    tuned = state_of(1)
    change(tuned)
    with pytest.raises(FrostlineError) as error:
        extract_difference(state_of(), tuned, k)
    assert all(word in str(error.value) for word in words)


# The command line, in this process, which has imported torch already.


TEXTS = ["Where is my new card?", "Please book a flight to Rome for tomorrow morning."]


@pytest.fixture
def here(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["backbone", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code or 0, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def text_base(tmp_path_factory):
    """A folder with a small text encoder, as transformers writes it."""
    folder = tmp_path_factory.mktemp("base")
    backbone = tiny_bert()
    backbone.module.save_pretrained(folder)
    backbone.preprocessing.tokenizer.save_pretrained(folder)
    return folder


def test_composes_a_text_encoder_that_transformers_loads_and_both_orders_are_the_same_file(text_base, here, tmp_path):
    from transformers import AutoModel, AutoTokenizer

    backbone = load_backbone(str(text_base))
    differences = [made(backbone, seed) for seed in (1, 2)]
    paths = [tmp_path / f"{each.label}.safetensors" for each in differences]
    for path, each in zip(paths, differences, strict=True):
        save_difference(path, each)
    code, out, error = here("compose", text_base, *paths, "--out", tmp_path / "sum")
    assert code == 0, error
    shared = overlaps(differences)[0][1]
    assert "d1.safetensors" in out and "also in 2" in out and f" {shared} " in out and "cil-run --backbone" in out
    with composed(backbone, differences):
        wanted = Encoder(backbone, precision="fp32").features(TEXTS)
        weights = copied(backbone)
    again = load_backbone(str(tmp_path / "sum"))
    assert same(again.frozen_state(), weights)
    assert torch.equal(Encoder(again, precision="fp32").features(TEXTS), wanted)
    plain = AutoModel.from_pretrained(tmp_path / "sum")
    assert all(torch.equal(plain.state_dict()[name], tensor) for name, tensor in weights.items())
    assert AutoTokenizer.from_pretrained(tmp_path / "sum").cls_token == "[CLS]"
    compose(str(text_base), paths[::-1], tmp_path / "reversed")
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("sum", "reversed")]
    assert files[0] == files[1]


def test_composes_a_vision_transformer_into_weights_that_cil_run_takes(tmp_path):
    base = "bundled:vit-micro"
    backbone = load_backbone(base)
    difference = made(backbone, 1, k=500)
    save_difference(tmp_path / "a.safetensors", difference)
    found = compose(base, [tmp_path / "a.safetensors"], tmp_path / "sum")
    again = load_backbone(base, LoadOptions(weights=tmp_path / "sum" / "model.safetensors"))
    state = backbone.frozen_state()
    assert same(again.frozen_state(), {**state, **combined(state, [difference])})
    assert "--weights" in found.usage and found.weights == backbone.parameter_count


def test_exports_differences_of_tuned_weights_and_of_the_older_format(text_base, tmp_path, here):
    backbone = load_backbone(str(text_base))
    state = copied(backbone)
    difference = made(backbone, 7)
    with composed(backbone, [difference]):
        backbone.module.save_pretrained(tmp_path / "tuned")
        backbone.preprocessing.tokenizer.save_pretrained(tmp_path / "tuned")
        tuned = copied(backbone)
    code, out, error = here("difference", text_base, tmp_path / "tuned", "--out", tmp_path / "d.safetensors")
    assert code == 0 and f"{difference.k} weights" in out, error
    found = read_difference(tmp_path / "d.safetensors")
    assert same({**state, **combined(state, [found])}, tuned)
    torch.save(
        {name: tuned[name] - state[name] for name in state if state[name].is_floating_point()}, tmp_path / "p.bin"
    )
    few = export_difference(str(text_base), tmp_path / "p.bin", tmp_path / "few.safetensors", 5)
    assert few.k == 5 and few.base == difference.base and any("does not say" in note for note in few.notes)
    assert set(few.values.abs().tolist()) <= set((tuned_flat(tuned, state)).abs().topk(6).values.tolist())
    with pytest.raises(FrostlineError, match="k = 41, but it changes 40"):
        export_difference(str(text_base), tmp_path / "d.safetensors", tmp_path / "x.safetensors", 41)


def tuned_flat(tuned, state):
    return torch.cat([(tuned[n] - state[n]).flatten() for n in state if state[n].is_floating_point()]).double()


def test_command_refuses_in_one_sentence_and_writes_nothing(text_base, tmp_path, here):
    other = made(tiny_bert(seed=3), 1)
    path = tmp_path / "other.safetensors"
    save_difference(path, other)
    code, out, error = here("compose", text_base, path, "--out", tmp_path / "sum")
    own = weights_digest(load_backbone(str(text_base)).frozen_state())
    assert code == 2 and not out and not (tmp_path / "sum").exists()
    assert "another base" in error and other.base[:16] in error and own[:16] in error
    for sources, words in (([path, path], "given twice"), ([tmp_path / "none.safetensors"], "does not exist")):
        with pytest.raises(FrostlineError, match=words):
            compose(str(text_base), sources, tmp_path / "sum")
    (tmp_path / "sum").mkdir()
    with pytest.raises(FrostlineError, match="exists already"):
        compose(str(text_base), [path], tmp_path / "sum")
