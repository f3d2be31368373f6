"""Heads on backbones: fitted on frozen features, trained with a delta or with everything."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled, Task, check_task
from backbones.encoder import Encoder, answered
from backbones.pat import PATS
from backbones.testing_models import tiny_bert, tiny_vit
from backbones.training.loop import Recipe
from backbones.training.tasks import accuracy, finetune, fit_linear, logits_of

pytestmark = pytest.mark.usefixtures("native_bf16")

WORDS = ["a", "the", "dog", "cat", "red", "blue"]
TEXTS = [
    f"{text} {word} {other}" for word in WORDS for other in WORDS[:2] for text in ("where is my card", "book flight")
]


def texts():
    return Labelled(TEXTS, np.arange(len(TEXTS)) % 2, ("bank", "music"))


def images():
    generator = np.random.default_rng(0)
    labels = np.arange(24) % 2
    rows = [generator.integers(0, 90, (16, 16, 3), dtype=np.uint8) + np.uint8(150 * label) for label in labels]
    return Labelled(rows, labels, ("dark", "light"), "image")


@pytest.mark.parametrize("classes", [2, 4])
def test_the_fitted_head_is_scikit_learns(classes):
    generator = np.random.default_rng(1)
    labels = np.arange(60) % classes
    features = generator.normal(size=(60, 7)) * 5 + 3 + labels[:, None] * generator.normal(size=7)
    head = fit_linear(torch.tensor(features, dtype=torch.float32), labels, classes + 1)
    scaled = (features - features.mean(0)) / features.std(0)
    wanted = LogisticRegression(C=1.0, max_iter=1000).fit(scaled, labels).predict_proba(scaled)
    found = head(torch.tensor(features, dtype=torch.float32)).softmax(1).detach().numpy()
    np.testing.assert_allclose(found[:, :classes], wanted, atol=1e-3)
    assert found[:, classes].max() == 0  # nothing was seen of it
    with pytest.raises(FrostlineError, match="all 60 samples are of one class"):
        fit_linear(torch.tensor(features, dtype=torch.float32), np.zeros(60, dtype=np.int64), 2)


@pytest.mark.parametrize("make, data", [(tiny_vit, images), (tiny_bert, texts)], ids=["images", "texts"])
@pytest.mark.parametrize("how", ["head", "delta", "full"])
def test_what_is_asked_for_is_trained_and_nothing_else(make, data, how):
    backbone = make()
    before = {name: tensor.clone() for name, tensor in backbone.frozen_state().items()}
    delta = PATS.load("lora")().grow(backbone, 0) if how == "delta" else None
    start = {name: tensor.clone() for name, tensor in delta.state_dict().items()} if delta is not None else {}
    tuned = finetune(backbone, data(), Recipe(steps=30, batch=8, lr=3e-3), delta=delta, full=how == "full", head_rate=5)
    changed = [name for name, tensor in backbone.frozen_state().items() if not torch.equal(tensor, before[name])]
    assert bool(changed) == (how == "full")
    if delta is not None:
        assert any(not torch.equal(tensor, start[name]) for name, tensor in delta.state_dict().items())
    losses = tuned.course.curve()[1]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    found = logits_of(backbone, tuned.head, data(), delta)
    wanted = tuned.head(Encoder(backbone, delta, precision="fp32").features(data().raw(range(24)))).detach()
    assert torch.equal(found, wanted)
    share = float((wanted.argmax(1).numpy() == data().labels).mean())
    assert accuracy(backbone, tuned.head, data(), delta) == share
    if how == "full" and backbone.modality == "image":  # to the miniature of a text encoder, texts hardly differ
        assert share > 0.9


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("full", [False, True])
def test_a_head_in_float64_is_trained_and_asked_as_one_in_float32_is(precision, full):
    found = []
    for kind in (torch.float32, torch.float64):
        head = torch.nn.Linear(24, 2).requires_grad_(False)
        torch.nn.init.eye_(head.weight), torch.nn.init.zeros_(head.bias)
        backbone = tiny_vit()
        recipe = Recipe(steps=3, batch=8, lr=1e-3, precision=precision)
        tuned = finetune(backbone, images(), recipe, full=full, head=head.to(kind))
        assert tuned.head is head and head.weight.dtype == kind
        logits = logits_of(backbone, head, images())
        assert logits.dtype == torch.float32 and logits.isfinite().all()
        assert 0 <= accuracy(backbone, head, images()) <= 1
        found.append(logits)
    if not full:  # what both heads were trained on is the same to the bit
        torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("inside", [False, True])
def test_a_head_answers_in_its_own_precision_and_stays_where_it_is(kind, inside, monkeypatch):
    head = torch.nn.Linear(6, 3).to(kind)
    features = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    wanted = head(features.to(kind))

    def moved(*_):
        raise AssertionError("the head was moved")

    monkeypatch.setattr(torch.nn.Module, "_apply", moved)
    with torch.autocast("cpu", torch.bfloat16, enabled=inside):
        found = answered(head, features)
    assert found.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
    assert torch.equal(found, wanted.to(found.dtype))
    assert torch.equal(answered(torch.nn.Flatten(), features), features)


def test_wrong_heads_and_two_ways_at_once_are_refused():
    backbone = tiny_bert()
    with pytest.raises(FrostlineError, match=r"the head has shape \(3, 5\), but 2 classes on features of 24"):
        finetune(backbone, texts(), Recipe(steps=1), head=torch.nn.Linear(5, 3))
    with pytest.raises(FrostlineError, match="a PAT and full fine-tuning were both asked for"):
        finetune(backbone, texts(), Recipe(steps=1), delta=PATS.load("lora")().grow(backbone, 0), full=True)


def test_labelled_data_are_divided_class_by_class():
    data = Labelled([str(n) for n in range(30)], np.arange(30) % 3, ("a", "b", "c"))
    few = data.few(4, seed=0)
    assert np.bincount(few.labels).tolist() == [4, 4, 4] and list(few.samples) == sorted(few.samples, key=int)
    rest, held = data.split(0.2, seed=0)
    assert np.bincount(held.labels).tolist() == [2, 2, 2]
    assert sorted([*rest.samples, *held.samples], key=int) == list(data.samples)
    twice = data.take([5, 4, 3]).take([2, 0])
    assert list(twice.samples) == ["3", "5"] and twice.labels.tolist() == [0, 2]
    assert list(data.samples[1:3]) == ["1", "2"] and data.few(None, 0) is data


def test_data_without_sense_are_refused():
    with pytest.raises(FrostlineError, match="2 samples have 1 labels"):
        Labelled(["a", "b"], np.array([0]), ("x",))
    with pytest.raises(FrostlineError, match="there is no sample"):
        Labelled([], np.array([], dtype=np.int64), ("x",))
    with pytest.raises(FrostlineError, match="labels run from 0 to 3, but there are 2 classes"):
        Labelled(["a", "b"], np.array([0, 3]), ("x", "y"))
    one = Labelled(["a", "b"], np.array([1, 1]), ("x", "y"))
    with pytest.raises(FrostlineError, match="all 2 training samples of trial are of one class, 'y'"):
        check_task(Task("trial", one, one))
    with pytest.raises(FrostlineError, match="a share of 2 cannot be held out"):
        one.split(2, 0)
    with pytest.raises(FrostlineError, match="0 samples a class"):
        one.few(0, 0)
    with pytest.raises(FrostlineError, match="no class has two samples"):
        Labelled(["a", "b"], np.array([0, 1]), ("x", "y")).split(0.5, 0)
