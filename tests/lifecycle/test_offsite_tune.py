"""Laws of Offsite-Tuning: the adapter, trained on the emulator and plugged into the full model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler

from backbones.catalog import load_backbone
from backbones.core.artifacts import load_tensors
from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled
from backbones.encoder import Encoder
from backbones.lifecycle.offsite.exported import put_on, read_adapter, read_export
from backbones.lifecycle.offsite.heads import fitted_head, means_head
from backbones.lifecycle.offsite.layout import Layout
from backbones.lifecycle.offsite.lower import Lower
from backbones.lifecycle.offsite.plug import plug
from backbones.lifecycle.offsite.restack import restack
from backbones.lifecycle.offsite.split import emulate, split
from backbones.lifecycle.offsite.tune import adapter_of, train_adapter, tune
from backbones.lifecycle.offsite.ways import DIRECT, PLUGGED, ZERO, Way, interval, recovered
from backbones.pat.sites import fitting
from backbones.testing_models import raw_batch, tiny_bert, tiny_vit
from backbones.training.loop import Recipe
from backbones.training.tasks import finetune

LAYOUT = Layout.of(6, 1, 2, 1)
RECIPE = Recipe(steps=3, batch=8, lr=5e-3)
BOTH = [tiny_vit, tiny_bert]


def deep(make, seed=1):
    """A miniature of six blocks, each with weights of its own."""
    backbone = restack(make(), [0, 1, 2, 0, 1, 2])
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in backbone.module.parameters():
            value.normal_(0.0, 0.2, generator=generator)
    return backbone


def labelled(backbone, count=12):
    labels = np.arange(count, dtype=np.int64) % 3
    return Labelled(raw_batch(backbone, count), labels, ("a", "b", "c"), backbone.modality)


def features(backbone, delta=None):
    return Encoder(backbone, delta, precision="fp32").features(raw_batch(backbone, 5))


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    found = {}
    for make in BOTH:
        full = deep(make)
        split(full, LAYOUT, folder / make.__name__)
        found[make] = (full, folder / make.__name__)
    return found


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("pat", [None, "lora", "adapter", "vpt", "layernorm+prefix"])
def test_only_the_adapter_and_the_head_have_gradients(make, pat, exports, monkeypatch):
    _, folder = exports[make]
    emulator = read_export(folder).emulator
    seen: list[set[int]] = []
    real = torch.nn.utils.clip_grad_norm_

    def spy(params, *rest, **named):
        params = list(params)
        seen.append({id(param) for param in params if param.grad is not None})
        return real(params, *rest, **named)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spy)
    before = {name: value.clone() for name, value in emulator.frozen_state().items()}
    trained = train_adapter(emulator, adapter_of(LAYOUT, pat, {}, None), labelled(emulator), RECIPE)
    own = {id(param) for param in trained.delta.parameters()} | {id(param) for param in trained.head.parameters()}
    assert len(seen) == 3 and all(step == own for step in seen)
    inside = {id(param) for param in trained.delta.parameters()}
    assert all(param.grad is None for param in emulator.module.parameters() if id(param) not in inside)
    trained.delta.detach()
    after = emulator.frozen_state()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("make", [tiny_vit, pytest.param(tiny_bert, marks=pytest.mark.slow)])
def test_every_registered_pat_crosses_to_the_full_model(make, exports, tmp_path):
    full, folder = exports[make]
    plain, export, data = features(full), read_export(folder), labelled(full)
    crossed = []
    for name in fitting(full):
        if name == "frozen":
            continue
        made = tune(export, data, tmp_path / name, RECIPE, pat=name)
        assert made.facts.layers == [0, 4, 5]
        delta = put_on(made.folder, made.facts, full)
        assert delta.parameter_count == made.facts.trained
        on_full = features(full, delta)
        assert not torch.equal(on_full, plain), name
        again = adapter_of(LAYOUT, name, {}, None)
        delta.detach()
        # the same adapter, grown where there is nothing to cross to, has the same tensors
        trained = train_adapter(export.emulator, again, data, RECIPE)
        direct = again.grow(full, RECIPE.seed)
        direct.load_state_dict(trained.delta.state_dict())
        trained.delta.detach()
        assert torch.allclose(features(full, direct.eval()), on_full, atol=1e-6), name
        direct.detach()
        assert torch.equal(features(full), plain), name
        crossed.append(name)
    assert {"lora", "adapter", "prefix", "vpt", "layernorm", "bitfit", "mix"} <= set(crossed)


@pytest.mark.usefixtures("native_bf16")
@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("pat", [None, "lora", "adapter"])
def test_an_untrained_adapter_leaves_the_full_model_as_it_was(make, pat, exports, tmp_path):
    full, folder = exports[make]
    plain = features(full)
    # a step of no size: what is written is what was grown
    made = tune(read_export(folder), labelled(full), tmp_path / "a", Recipe(steps=1, lr=1e-30, weight_decay=0), pat=pat)
    delta = put_on(made.folder, made.facts, full)
    assert torch.allclose(features(full, delta), plain, atol=1e-12)
    delta.detach()
    fresh = adapter_of(LAYOUT, pat, {}, None).grow(full, 0)
    assert torch.equal(features(full, fresh), plain)
    fresh.detach()


@pytest.mark.usefixtures("native_bf16")
@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("pat", [None, "lora"])
def test_a_mergeable_adapter_becomes_an_ordinary_folder(make, pat, exports, tmp_path):
    full, folder = exports[make]
    before, data = full.fingerprint(), labelled(full)
    made = tune(read_export(folder), data, tmp_path / "adapter", RECIPE, pat=pat, test=data)
    assert set(made.facts.figures) == {"emulator, zero-shot", "emulator, tuned"}
    delta = put_on(made.folder, made.facts, full)
    wanted = features(full, delta)
    delta.detach()
    found = plug(full, made.folder, tmp_path / "out", test=data)
    assert found.merged and full.fingerprint() == before and 0 <= found.figures["plug-in"] <= 1
    plugged = load_backbone(str(tmp_path / "out" / "model"))
    assert plugged.depth == 6
    assert torch.allclose(features(plugged), wanted, atol=1e-5)
    kept = load_tensors(found.folder / "head.safetensors")[0]
    assert torch.equal(kept["weight"], read_adapter(made.folder)[1].weight)
    names = {
        name for name, value in plugged.frozen_state().items() if not torch.equal(value, full.frozen_state()[name])
    }
    assert {int(next(word for word in name.split(".") if word.isdigit())) for name in names} == {0, 4, 5}


def test_an_adapter_that_cannot_be_folded_stays_beside_the_base(exports, tmp_path):
    full, folder = exports[tiny_vit]
    made = tune(read_export(folder), labelled(full), tmp_path / "adapter", RECIPE, pat="adapter")
    found = plug(full, made.folder, tmp_path / "out", head="refit", data=labelled(full))
    assert not found.merged and "load_delta" in found.usage and not (tmp_path / "out" / "model").exists()
    assert json.loads((tmp_path / "out" / "delta" / "pat_config.json").read_text())["fingerprint"] == full.fingerprint()
    delta = put_on(made.folder, made.facts, full)
    wanted = fitted_head(full, labelled(full), delta)
    delta.detach()
    assert torch.equal(load_tensors(found.folder / "head.safetensors")[0]["weight"], wanted.weight)


def test_an_adapter_is_refused_by_another_model_with_both_fingerprints(exports, tmp_path):
    full, folder = exports[tiny_vit]
    for pat in (None, "lora"):
        made = tune(read_export(folder), labelled(full), tmp_path / f"{pat}", RECIPE, pat=pat)
        for other in (deep(tiny_vit, seed=2), emulate(full, LAYOUT), deep(tiny_bert)):
            with pytest.raises(FrostlineError, match=f"{full.fingerprint()[:16]}.*{other.fingerprint()[:16]}"):
                plug(other, made.folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_adapters_in_the_middle_are_refused_by_block():
    for pat, values, layers in (("lora", {}, "3"), ("lora", {"layers": "all"}, None), (None, {"layers": "1"}, None)):
        with pytest.raises(FrostlineError, match="stays with the owner"):
            adapter_of(LAYOUT, pat, values, layers)
    with pytest.raises(FrostlineError, match=r"block 2 lies in the middle \(blocks 1 to 3\)"):
        adapter_of(LAYOUT, "lora+bitfit", {"bitfit.layers": "2,4"}, None)
    with pytest.raises(FrostlineError, match=r"loora.*lora"):
        adapter_of(LAYOUT, "loora", {}, None)
    assert adapter_of(LAYOUT, "lora", {"r": 2}, "4-5").layers == "4,5"


def test_bad_input_of_the_tuner(exports, tmp_path):
    full, folder = exports[tiny_vit]
    data, export = labelled(full), read_export(folder)
    with pytest.raises(FrostlineError, match="exists"):
        tune(export, data, tmp_path, RECIPE)
    with pytest.raises(FrostlineError, match=r"'text'.*images"):
        tune(export, labelled(deep(tiny_bert)), tmp_path / "a", RECIPE)
    with pytest.raises(FrostlineError, match="one class"):
        tune(export, data.take([0, 3, 6]), tmp_path / "a", RECIPE)
    with pytest.raises(FrostlineError, match="is no adapter"):
        plug(full, folder, tmp_path / "out")
    made = tune(export, data, tmp_path / "a", RECIPE)
    with pytest.raises(FrostlineError, match="needs labelled data"):
        plug(full, made.folder, tmp_path / "out", head="refit")
    other = Labelled(data.samples, data.labels, ("x", "y", "z"), "image")
    with pytest.raises(FrostlineError, match=r"3 classes \(x, y"):
        plug(full, made.folder, tmp_path / "out", test=other)
    with pytest.raises(FrostlineError, match="exists"):
        plug(full, made.folder, tmp_path)
    (made.folder / "adapter.json").write_text("{")
    with pytest.raises(FrostlineError, match="not readable as JSON"):
        plug(full, made.folder, tmp_path / "out")
    assert sorted(Path(each).name for each in tmp_path.iterdir()) == ["a"]


def test_the_first_head_is_the_nearest_centroid_of_scikit_learn():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 10)) * rng.uniform(0.1, 3, 10) + rng.normal(size=10)
    labels = rng.integers(0, 5, 60)
    labels[labels == 3] = 4  # a class without a sample
    queries = rng.normal(size=(200, 10)) * 2
    head = means_head(torch.tensor(features, dtype=torch.float32), labels, 5)
    found = head(torch.tensor(queries, dtype=torch.float32)).argmax(dim=1).numpy()
    scaler = StandardScaler().fit(features)
    wanted = NearestCentroid().fit(scaler.transform(features), labels).predict(scaler.transform(queries))
    assert (found == wanted).all()
    with pytest.raises(FrostlineError, match="one class"):
        means_head(torch.randn(4, 3), np.zeros(4, dtype=np.int64), 2)


@pytest.mark.parametrize("make", BOTH)
def test_blocks_below_an_adapter_run_once_and_change_nothing(make, exports):
    full, _ = exports[make]
    data = labelled(full)
    lower = Lower(4)
    found = lower.features(full, data, None, "features")
    assert torch.equal(found, Encoder(full, precision="fp32").features(data.raw(range(len(data)))))
    adapter = adapter_of(LAYOUT, "lora", {"r": 2}, "4-5")
    runs = []
    handle = full.module.get_submodule(full.sites("qkv", 3)[0].path).register_forward_hook(
        lambda *_: runs.append(1) or None
    )
    recipe = RECIPE.model_copy(update={"precision": "fp32"})  # what lies below is computed so, whatever is above
    trained = train_adapter(full, adapter, data, recipe, lower=lower)
    handle.remove()
    assert len(runs) == 0  # all that lies below was known
    trained.delta.detach()
    head, delta = fitted_head(full, data), adapter.grow(full, RECIPE.seed)
    finetune(full, data, recipe, delta=delta, head=head)
    delta.detach()
    assert torch.allclose(head.weight, trained.head.weight, atol=1e-4)
    other = trained.delta.state_dict()
    assert all(torch.allclose(value, other[name], atol=1e-4) for name, value in delta.state_dict().items())


def test_what_is_recovered_and_how_surely():
    rng = np.random.default_rng(0)

    def way(name, share):
        hits = rng.random((2, 4000)) < share
        return Way(name, float(hits[0].mean()), float(hits[1].mean()), hits=hits)

    ways = {name: way(name, share) for name, share in ((ZERO, 0.4), (PLUGGED, 0.58), (DIRECT, 0.6))}
    share = recovered(ways)
    assert share == (ways[PLUGGED].kept - ways[ZERO].kept) / (ways[DIRECT].kept - ways[ZERO].kept)
    low, high = interval(ways)
    assert low < share < high and low > 0.7 and high < 1.1
    assert np.isnan(recovered({**ways, DIRECT: ways[ZERO]}))
