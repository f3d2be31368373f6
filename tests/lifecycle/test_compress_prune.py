"""Pruning: exact counts, nested masks, torch's own choice, vectors and embeddings left alone, masks in force."""

import copy

import pytest
import torch
from torch.nn.utils import prune

from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled
from backbones.lifecycle.compress.layers import linear_layers, quantised_layers
from backbones.lifecycle.compress.prune import prune_more, schedule, zeros
from backbones.lifecycle.compress.retrain import Retrainer, prune_iteratively
from backbones.testing_models import raw_batch, tiny_bert, tiny_vit
from backbones.training.loop import Recipe

RECIPE = Recipe(steps=3, batch=4, lr=1e-2)


def weights(backbone, layers):
    return {path: backbone.module.get_submodule(path).weight.detach().clone() for path in layers}


@pytest.mark.parametrize("make", [tiny_vit, tiny_bert])
def test_counts_are_exact_and_the_choice_is_that_of_torch(make):
    backbone = make()
    layers = linear_layers(backbone)
    total = sum(weight.numel() for weight in weights(backbone, layers).values())
    theirs = copy.deepcopy(backbone.module)
    pairs = [(theirs.get_submodule(path), "weight") for path in layers]
    prune.global_unstructured(pairs, prune.L1Unstructured, amount=round(0.37 * total))
    masks = prune_more(backbone, layers, 0.37, {})
    found = weights(backbone, layers)
    assert zeros(masks) == round(0.37 * total) == sum(int((weight == 0).sum()) for weight in found.values())
    assert all(torch.equal(masks[path], theirs.get_submodule(path).weight_mask.bool()) for path in layers)


def test_only_weights_of_linear_layers_change():
    backbone, before = tiny_vit(), tiny_vit().frozen_state()
    layers = linear_layers(backbone)
    prune_more(backbone, layers, 0.5, {})
    for name, tensor in backbone.frozen_state().items():
        assert torch.equal(tensor, before[name]) == (name.removesuffix(".weight") not in layers), name


@pytest.mark.usefixtures("native_bf16")
@pytest.mark.parametrize("way", ["features", "labels", "none"])
def test_rounds_nest_and_masks_hold_while_weights_are_trained(way):
    backbone = tiny_vit()
    samples = raw_batch(backbone, 8)
    layers, order = linear_layers(backbone), list(backbone.frozen_state())
    data = Labelled(samples, torch.arange(8).numpy() % 2, ("a", "b"), "image")
    retrainer = (
        Retrainer.towards(tiny_vit(), samples, RECIPE) if way == "features" else Retrainer(way, RECIPE, labelled=data)
    )
    first = prune_iteratively(backbone, layers, 0.4, 2, retrainer)
    trained = weights(backbone, layers)
    second = prune_iteratively(backbone, layers, 0.8, 2, retrainer, masks=first)
    total = sum(mask.numel() for mask in second.values())
    assert zeros(second) == round(0.8 * total)
    assert all((second[path] <= first[path]).all() for path in layers)
    assert all((backbone.module.get_submodule(path).weight[~second[path]] == 0).all() for path in layers)
    assert all((trained[path][~first[path]] == 0).all() for path in layers)
    moved = not torch.equal(backbone.module.blocks[0].norm1.weight, tiny_vit().module.blocks[0].norm1.weight)
    assert moved == (way != "none")
    assert list(backbone.frozen_state()) == order
    assert not any(param.requires_grad for param in backbone.module.parameters())


def test_retraining_towards_features_comes_closer_to_them():
    dense = tiny_vit()
    samples = raw_batch(dense, 24)
    backbone, errors = tiny_vit(), []
    retrainer = Retrainer.towards(dense, samples, Recipe(steps=30, batch=8, lr=2e-3))
    layers = linear_layers(backbone)
    masks = prune_more(backbone, layers, 0.5, {})
    for _ in range(2):
        batch = dense.preprocessing(samples)
        with torch.no_grad():
            errors.append(float((backbone.features(batch) - dense.features(batch)).square().mean()))
        retrainer.round(backbone, masks, "test", lambda *a: None, lambda text: None)
    assert errors[1] < 0.7 * errors[0]


def test_schedule_ends_where_it_should():
    assert schedule(0.75, 2) == [0.5, 0.75]
    assert schedule(0.0, 3) == []
    assert schedule(0.75, 1, 0.5) == [0.75]
    assert schedule(0.875, 2, 0.5) == [0.75, 0.875]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda b: prune_more(b, linear_layers(b), 1.0, {}), ["sparsity 1", "[0, 1)"]),
        (lambda b: prune_more(b, linear_layers(b), -0.1, {}), ["sparsity -0.1", "[0, 1)"]),
        (lambda b: prune_more(b, linear_layers(b), 0.1, prune_more(b, linear_layers(b), 0.5, {})), ["0.1", "0.5"]),
        (lambda b: schedule(0.5, 0), ["0 rounds", "1 or more"]),
        (lambda b: schedule(0.5, 1, 0.6), ["0.5", "0.6"]),
        (lambda b: Retrainer("labels", RECIPE), ["labels", "--retrain none"]),
        (lambda b: Retrainer.towards(b, [], RECIPE), ["features", "without labels"]),
        (lambda b: linear_layers(b, ["*"]), ["tiny-vit", "keep fewer"]),
    ],
)
def test_mistakes_are_named(call, words):
    with pytest.raises(FrostlineError) as error:
        call(tiny_vit())
    assert all(word in str(error.value) for word in words), error.value


def test_layers_of_unknown_kinds_are_named_with_what_is_supported():
    backbone = tiny_vit()
    backbone.module.add_module("odd", torch.nn.Bilinear(2, 2, 2))
    with pytest.raises(FrostlineError, match=r"'odd'.*Bilinear.*Supported: Linear, Conv2d.*--keep 'odd'"):
        quantised_layers(backbone)
    assert "odd" not in quantised_layers(backbone, ["odd"])
    backbone.module.odd = torch.nn.Conv2d(4, 4, 3, groups=2)
    with pytest.raises(FrostlineError, match="Conv2d"):
        quantised_layers(backbone)


def test_embeddings_are_quantised_when_asked_for():
    backbone = tiny_bert()
    table = "embeddings.word_embeddings"
    assert table not in quantised_layers(backbone) and table in quantised_layers(backbone, embeddings=True)
