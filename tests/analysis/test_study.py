"""Ranking and advice on planted backbones, curves over examples, and what a study refuses before any work."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch

from backbones.analysis.advice import advise
from backbones.analysis.cloze import Cloze
from backbones.analysis.curves import Point, frozen_curve, nested, sizes, tuned_curve
from backbones.analysis.layers import layer_features
from backbones.analysis.mdl import Code, Portion
from backbones.analysis.ranking import (
    Layer,
    Probed,
    check_modality,
    divide,
    estimate,
    pick_strength,
    probe_model,
    ranked,
    spelled,
    standard_error,
)
from backbones.analysis.spans import Edges
from backbones.analysis.study import Finding, Subject, Wanted, run_study
from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled
from backbones.testing_models import tiny_bert, tiny_vit
from backbones.training.loop import Recipe


def colours(classes: int = 3, each: int = 12, seed: int = 0) -> Labelled:
    """Return small images whose classes differ in colour."""
    generator = np.random.default_rng(seed)
    tones = generator.integers(40, 216, (classes, 3))
    labels = np.repeat(np.arange(classes), each)
    images = [
        (tones[label] + generator.integers(-30, 30, (16, 16, 3))).clip(0, 255).astype(np.uint8) for label in labels
    ]
    return Labelled(images, labels, tuple(f"colour {n}" for n in range(classes)), "image")


def row(model: str, layer: str, linear: float, means: float | None = 0.5) -> Layer:
    return Layer(model, layer, means, linear, None, 1.0, 0.1)


def model(name: str, parameters: int = 10_000_000, **linear: float) -> Probed:
    """Return figures of a backbone of 3 blocks: ``e`` for the embeddings, ``b0`` to ``b2``, ``mix``."""
    names = {"e": "embeddings", "b0": "0", "b1": "1", "b2": "2", "mix": "mix"}
    layers = tuple(row(name, names[key], value, None if key == "mix" else 0.5) for key, value in linear.items())
    return Probed(name, parameters, 3, 8, layers, 1.0, 100, (torch.empty(0), torch.empty(0)))


def test_every_layer_of_a_backbone_is_probed() -> None:
    known, held = divide(colours(), 0.25)
    said: list[str] = []
    found = probe_model(tiny_vit(), known, held, say=said.append)
    assert [layer.layer for layer in found.layers] == ["embeddings", "0", "1", "2", "mix"]
    assert found.last.layer == "2" and found.mix is not None and found.mix.means is None
    assert sum(found.mix.shares) == pytest.approx(1.0, abs=1e-5) and len(found.mix.shares) == 3
    assert found.best.layer in ("0", "1", "2") and found.best.linear >= found.last.linear > 0.5
    assert all(layer.code is not None and layer.code.rows == len(known) for layer in found.layers)
    assert found.layers[0].means == pytest.approx(1 / 3)  # the class token alone enters the blocks: all alike
    assert torch.equal(found.features[1], layer_features(tiny_vit(), held.samples)[:, -1])
    assert len(said) == 1 and said[0].startswith("tiny-vit: about ")


def test_a_probe_without_codes_picks_its_penalty_on_its_own_rows() -> None:
    known, held = divide(colours(), 0.25)
    found = probe_model(tiny_vit(), known, held, mdl=False)
    assert all(layer.code is None for layer in found.layers)
    features = layer_features(tiny_vit(), known.samples)[:, [3]]
    assert found.last.strength == pick_strength(features, known.labels, 3)


def test_a_time_is_told_before() -> None:
    known, held = divide(colours(), 0.25)
    assert 0 < estimate(tiny_vit(), known, held) < 60
    assert [spelled(s) for s in (0.2, 40, 89, 200, 6000)] == ["1 s", "40 s", "89 s", "3 min", "1.7 h"]


def test_ranks_go_by_the_probe_then_by_means() -> None:
    rows = [row("a", "0", 0.5, 0.4), row("a", "1", 0.9, 0.1), row("b", "0", 0.5, 0.6), row("b", "mix", 0.5, None)]
    assert [(each.model, each.layer) for each in ranked(rows)] == [("a", "1"), ("b", "0"), ("a", "0"), ("b", "mix")]


def test_codes_decide_the_ranks_where_all_rows_have_one() -> None:
    def coded(layer: str, linear: float, bits: float) -> Layer:
        code = Code(4, (Portion(0, 100, bits, 0),), bits, 1.0, ())
        return replace(row("a", layer, linear), code=code)

    rows = [coded("0", 0.9, 100.0), coded("1", 0.89, 50.0), coded("2", 0.95, 200.0)]
    assert [layer.layer for layer in ranked(rows)] == ["1", "0", "2"]
    assert [layer.layer for layer in ranked([*rows, row("a", "mix", 0.93)])] == ["2", "mix", "0", "1"]
    assert rows[0].summary()["mdl"]["portions, as labels known:sent:bits:classes known"] == "0:100:100:0"


def test_the_backbone_with_the_best_last_layer_is_advised() -> None:
    models = [model("a", b0=0.99, b1=0.5, b2=0.6, mix=0.6), model("b", b0=0.2, b1=0.5, b2=0.8, mix=0.8)]
    advice = advise(models, 400)
    assert (advice.backbone, advice.options) == ("b", ())
    assert advice.reasons[0].startswith("the last layer of b reaches 80.0 ± 2.0 %")


def test_a_mean_over_blocks_is_advised_where_it_helps() -> None:
    advice = advise([model("a", b0=0.5, b1=0.9, b2=0.6, mix=0.88)], 400)
    assert advice.options == ("--pat", "mix")
    assert "layer 1 of 0-2 is better than the last layer: 90.0 against 60.0 %; --pat mix learns" in advice.reasons[1]
    alone = advise([model("a", b0=0.5, b1=0.9, b2=0.6, mix=0.61)], 400)
    assert alone.options == () and "--pat mix is not advised" in alone.reasons[1]
    best = model("a", b0=0.5, b1=0.9, b2=0.6, mix=0.88)
    bits = {"2": 50.0, "mix": 60.0}  # few rows are coded better by the last layer
    coded = [replace(each, code=Code(4, (), bits.get(each.layer, 70.0), 1.0, ())) for each in best.layers]
    assert advise([replace(best, layers=tuple(coded))], 400).options == ()
    within = advise([model("a", b0=0.5, b1=0.61, b2=0.6, mix=0.61)], 400)
    assert within.options == () and len(within.reasons) == 1


def test_a_smaller_backbone_that_is_as_good_is_named() -> None:
    models = [model("large", 90_000_000, b2=0.80), model("small", 5_000_000, b2=0.79), model("weak", 1, b2=0.5)]
    advice = advise(models, 400)
    assert advice.backbone == "large"
    assert advice.reasons[1:] == ("small (5.0 M parameters, smaller) is within one standard error: 79.0 %",)


def test_standard_errors_are_above_zero() -> None:
    assert standard_error(0.5, 10_000) == pytest.approx(0.005, rel=1e-2)
    assert standard_error(1.0, 50) > 0 and standard_error(0.0, 50) == pytest.approx(standard_error(1.0, 50))


def test_samples_of_a_curve_are_nested() -> None:
    labels = np.repeat([0, 1, 2], [3, 40, 120])
    assert sizes(labels) == [1, 2, 5, 10, 20, 50, 100, 120]
    chosen = [set(nested(labels, size, 0).tolist()) for size in sizes(labels)]
    assert all(a < b for a, b in pairwise(chosen)) and len(chosen[-1]) == 163
    assert [len(rows) for rows in chosen[:3]] == [3, 6, 13]


def test_more_examples_make_a_better_head() -> None:
    generator = np.random.default_rng(0)
    labels = np.tile(np.arange(4), 150)
    features = torch.from_numpy(np.eye(4)[labels] * 1.5 + generator.normal(size=(600, 4))).float()
    known, held = (features[:400], labels[:400]), (features[400:], labels[400:])
    points = frozen_curve(known, held, 4)
    assert [point.samples for point in points] == [4, 8, 20, 40, 80, 200, 400]
    assert points[-1].accuracy > points[0].accuracy + 0.05


def test_fine_tuning_starts_afresh_at_every_point() -> None:
    known, held = divide(colours(), 0.25)
    made = []

    def make():
        made.append(tiny_vit())
        return made[-1]

    points = tuned_curve(make, known, held, Recipe(steps=15, lr=2e-3, batch=8), per_class=[1, 8])
    assert [point.samples for point in points] == [3, 24] and len(made) == 2
    assert points[1].accuracy > 0.6
    assert made[0].fingerprint() != tiny_vit().fingerprint() != made[1].fingerprint()


def test_a_study_of_checkpoints_has_curves() -> None:
    known, held = divide(colours(), 0.25)
    subjects = [Subject(f"seed {n}", partial(tiny_vit, seed=n), 10.0**n) for n in range(1, 4)]
    said: list[str] = []
    study = run_study(subjects, Wanted(known, held, mdl=False, curve=True), say=said.append)
    assert said == [said[0]] and said[0].startswith("about ") and said[0].endswith("for 3 backbones")
    assert {curve.name for curve in study.curves} == {
        "linear probe of the last layer, %", "linear probe of the best layer, %"
    }  # fmt: skip
    assert all(curve.fit is None and "3 different x" in curve.reason for curve in study.curves)
    assert all(finding.frozen[-1].samples == len(known) for finding in study.findings)
    assert study.advice is not None


def test_figures_of_a_finding_make_curves() -> None:
    found = Finding("a", 1.0, tuned=[Point(3, 0.4), Point(9, 0.8)], probed=model("a", b0=0.7, b2=0.6))
    assert found.figures() == {
        "linear probe of the last layer, %": 60.0,
        "linear probe of the best layer, %": 70.0,
        "fine-tuned on all samples, %": 80.0,
    }


def test_what_does_not_fit_is_refused_before_any_work() -> None:
    data = colours()
    known, held = divide(data, 0.25)
    made: list[str] = []
    subjects = [
        Subject("vit", lambda: (made.append("vit"), tiny_vit())[1]),
        Subject("bert", lambda: (made.append("bert"), tiny_bert())[1]),
    ]
    with pytest.raises(FrostlineError, match="'tiny-bert' takes texts, but the data are images"):
        run_study(subjects, Wanted(known, held), say=lambda text: made.append(text))
    assert made == ["vit", "bert"], "the second was refused before the first was probed"
    with pytest.raises(FrostlineError, match="a backbone for texts, such as minilm"):
        check_modality(tiny_vit(), replace(data, modality="text"))
    edges = Edges(("a b", "c d"), ((0, ((0, 1),)), (1, ((0, 1),))), np.array([0, 1]), ("x", "y"))
    with pytest.raises(FrostlineError, match="'vit' takes images, which have no spans of words"):
        run_study(subjects, Wanted(edges=edges))
    with pytest.raises(FrostlineError, match="language model 'vit/vit/vit'"):
        run_study([Subject("vit/vit/vit", tiny_vit)], Wanted(cloze=[Cloze("a [MASK]", "b")]))


def test_data_of_one_class_are_refused() -> None:
    data = colours(2)
    single = data.take(np.flatnonzero(data.labels == 1))
    with pytest.raises(FrostlineError, match="all 12 samples are of one class, 'colour 1'"):
        divide(single)
