"""Probes on frozen features, against scikit-learn and planted data."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from backbones.analysis.probes import class_means_accuracy, fit_probe
from backbones.core.errors import FrostlineError
from continual.heads.ncm import Ncm


def planted(rows: int = 240, width: int = 8, classes: int = 3, noise: float = 1.0, seed: int = 0):
    """Return features around one random centre for each class, and the classes."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, rows)
    labels[:classes] = np.arange(classes)
    centres = generator.normal(0, 2, (classes, width))
    features = centres[labels] + noise * generator.normal(size=(rows, width))
    return torch.from_numpy(features).float(), labels


@pytest.mark.parametrize("l2", [0.5, 5.0])
def test_the_optimum_is_that_of_scikit_learn(l2: float) -> None:
    features, labels = planted(noise=2.0)
    rows = features.double().numpy()
    ready = (rows - rows.mean(0)) / (rows.std(0) + 1e-6)
    with_one = np.concatenate([ready, np.ones((len(ready), 1))], axis=1)  # so that the bias is penalised too
    wanted = LogisticRegression(C=1 / l2, fit_intercept=False, tol=1e-8, max_iter=5000).fit(with_one, labels)
    found = fit_probe(features, labels, 3, l2=l2).log_probabilities(features[:, None]).exp()
    assert np.abs(found.numpy() - wanted.predict_proba(with_one)).max() < 2e-3


def test_a_start_leads_to_the_same_optimum_sooner() -> None:
    features, labels = planted(noise=2.0)
    rounds: list[list[int]] = [[], []]
    first = fit_probe(features[:200], labels[:200], 3, progress=lambda _, done, __: rounds[0].append(done))
    again = fit_probe(features, labels, 3, start=first, progress=lambda _, done, __: rounds[1].append(done))
    cold = fit_probe(features, labels, 3)
    assert torch.allclose(
        again.log_probabilities(features[:, None]), cold.log_probabilities(features[:, None]), atol=0.02
    )
    assert len(rounds[1]) < len(rounds[0])


def test_the_mean_over_layers_finds_the_layer_that_knows() -> None:
    features, labels = planted()
    noise = torch.randn(len(labels), 3, 8, generator=torch.Generator().manual_seed(1))
    stacked = torch.stack([noise[:, 0], noise[:, 1], features, noise[:, 2]], dim=1)
    probe = fit_probe(stacked[:160], labels[:160], 3)
    assert probe.shares.argmax() == 2 and probe.shares[2] > 0.6
    assert probe.shares.sum() == pytest.approx(1.0, abs=1e-6)
    alone = fit_probe(noise[:160, 0], labels[:160], 3).accuracy(noise[160:, :1], labels[160:])
    assert probe.accuracy(stacked[160:], labels[160:]) > alone + 0.3


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 12), st.integers(2, 6), st.integers(0, 10))
def test_every_class_keeps_a_probability(rows: int, classes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    features = torch.from_numpy(generator.normal(size=(rows, 4))).float()
    labels = generator.integers(0, max(1, classes - 1), rows)  # the last class has no row
    found = fit_probe(features, labels, classes).log_probabilities(features[:, None])
    assert torch.isfinite(found).all()
    assert torch.allclose(found.exp().sum(1), torch.ones(rows), atol=1e-5)


def test_constant_features_and_one_class_are_no_trouble() -> None:
    features = torch.ones(6, 3)
    probe = fit_probe(features, np.array([0, 0, 0, 1, 1, 1]), 2)
    assert torch.allclose(probe.log_probabilities(features[:, None]).exp(), torch.full((6, 2), 0.5), atol=1e-3)
    assert fit_probe(features, np.zeros(6, dtype=np.int64), 2).accuracy(features[:, None], np.zeros(6)) == 1.0


def test_nearest_means_are_those_of_the_head() -> None:
    features, labels = planted(noise=3.0)
    head = Ncm().build(0).partial_fit(features[:150], torch.from_numpy(labels[:150]))
    wanted = float((head.predict(features[150:]).numpy() == labels[150:]).mean())
    found = class_means_accuracy(features[:150], labels[:150], features[150:], labels[150:], 5)
    assert found == wanted and 0.4 < found < 1


def test_what_cannot_be_probed_is_named() -> None:
    with pytest.raises(FrostlineError, match="at least one sample"):
        fit_probe(torch.empty(0, 3), np.empty(0, dtype=np.int64), 2)
    with pytest.raises(FrostlineError, match="not finite"):
        fit_probe(torch.full((2, 3), torch.nan), np.array([0, 1]), 2)
