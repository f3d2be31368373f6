"""The online code: exact where nothing is known, short where all is, and only ever made from what went before."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.analysis import mdl
from backbones.analysis.mdl import PORTIONS, STRENGTHS, bounds_of, online_code
from backbones.analysis.probes import fit_probe
from backbones.core.errors import FrostlineError


def nothing_known(features, labels, classes):
    return lambda rows: torch.full((len(rows), classes), math.log2(classes), dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3000), st.integers(2, 150))
def test_a_uniform_probe_costs_exactly_n_log2_k(rows: int, classes: int) -> None:
    labels = np.random.default_rng(rows).integers(0, classes, rows)
    code = online_code(torch.zeros(rows, 1), labels, classes, learner=nothing_known)
    assert code.bits == rows * math.log2(classes)
    assert code.rows == rows and code.compression == 1.0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5000))
def test_portions_cover_all_rows_once(rows: int) -> None:
    ends = bounds_of(rows)
    assert ends == sorted(ends) and ends[-1] == rows and len(ends) == len(PORTIONS) == 11
    assert bounds_of(16000) == [16, 32, 64, 128, 256, 512, 1000, 2000, 4000, 8000, 16000]


def test_a_perfect_probe_costs_the_first_portion_alone() -> None:
    labels = np.random.default_rng(0).integers(0, 4, 2000)
    shown = torch.from_numpy(labels).float()[:, None]

    def knows(features, known, classes):
        return lambda rows: torch.where(torch.nn.functional.one_hot(rows[:, 0].long(), classes) > 0, 0.0, 50.0).double()

    code = online_code(shown, labels, 4, learner=knows)
    assert code.bits == 2 * 2.0  # 0.1 % of 2000 rows at log2 4 bits
    assert code.compression == 1000.0 and code.kbit == 0.004
    assert [portion.bits for portion in code.portions] == [4.0] + [0.0] * 10


def test_it_is_the_sum_of_the_definition() -> None:
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 3, 1000)
    features = torch.from_numpy(np.eye(3)[labels] + 0.5 * generator.normal(size=(1000, 3))).float()
    seen = []

    def learner(rows, known, classes):
        seen.append(len(rows))
        probe = fit_probe(rows, known, classes)
        return lambda new: probe.log_probabilities(new[:, None]).double() / -math.log(2)

    code = online_code(features, labels, 3, learner=learner, seed=5)
    order = mdl.numpy_generator(5, "portions").permutation(1000)
    wanted = 1 * math.log2(3)
    ends = [1, 2, 4, 8, 16, 32, 62, 125, 250, 500, 1000]
    for low, high in pairwise(ends):
        probe = fit_probe(features[order[:low]], labels[order[:low]], 3)
        nats = probe.log_probabilities(features[order[low:high]][:, None])
        wanted -= float(nats[range(high - low), labels[order[low:high]]].double().sum()) / math.log(2)
    assert seen == ends[:-1]
    assert code.bits == pytest.approx(wanted, rel=1e-6)
    assert code.compression > 1.5 and math.fsum(p.bits for p in code.portions) == pytest.approx(code.bits)


def test_a_message_depends_on_nothing_that_comes_later() -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 400)
    features = torch.from_numpy(generator.normal(size=(400, 4))).float()
    first = online_code(features, labels, 3)
    order = mdl.numpy_generator(0, "portions").permutation(400)
    other = labels.copy()
    other[order[200:]] = 0  # the last portion says something else
    second = online_code(features, other, 3)
    assert second.portions[:-1] == first.portions[:-1]
    assert second.portions[-1].known == 200 and second.portions[-1].bits != first.portions[-1].bits


def test_noise_is_penalised_and_signal_is_not() -> None:
    generator = np.random.default_rng(2)
    labels = generator.integers(0, 4, 800)
    noise = torch.from_numpy(generator.normal(size=(800, 60))).float()
    code = online_code(noise, labels, 4)
    assert code.strength == max(STRENGTHS)
    assert 0.85 < code.compression < 1.0  # it cannot be better than uniform by more than luck
    signal = noise.clone()
    signal[:, :4] += 6 * torch.eye(4)[torch.from_numpy(labels)]
    told = online_code(signal, labels, 4)
    assert told.strength < max(STRENGTHS) and told.compression > 5
    assert told.notes == () or "without some" in told.notes[0]


def test_little_data_is_coded_as_defined_and_said() -> None:
    labels = np.arange(20) % 10
    features = torch.eye(10)[torch.from_numpy(labels)]
    code = online_code(features, labels, 10)
    assert code.rows == 20 and math.isfinite(code.bits)
    assert code.portions[0].rows == 0 and code.portions[1].bits == pytest.approx(code.portions[1].rows * math.log2(10))
    said = " ".join(code.notes)
    assert "portions have no rows" in said and "nothing is known" in said and "without some of the 10 classes" in said


def test_few_rows_that_are_nearly_alike_do_not_blow_the_code_up() -> None:
    labels = np.random.default_rng(6).integers(0, 10, 2000)
    order = mdl.numpy_generator(0, "portions").permutation(2000)
    features = torch.from_numpy(np.random.default_rng(7).normal(size=(2000, 4))).float()
    features[order[:2]] = features[order[0]] + 1e-7 * torch.arange(2)[:, None]  # all that the first probe has seen
    code = online_code(features, labels, 10)
    assert max(portion.bits / portion.rows for portion in code.portions) < 12


def test_layers_are_coded_by_their_mean() -> None:
    generator = np.random.default_rng(4)
    labels = generator.integers(0, 3, 300)
    knows = torch.from_numpy(np.eye(3)[labels] * 4 + generator.normal(size=(300, 3))).float()
    noise = torch.from_numpy(generator.normal(size=(300, 3))).float()
    both = online_code(torch.stack([noise, knows], dim=1), labels, 3)
    assert online_code(knows, labels, 3).bits < both.bits < online_code(noise, labels, 3).bits


@pytest.mark.parametrize(("rows", "classes"), [(0, 3), (5, 1)])
def test_what_has_no_code_is_named(rows: int, classes: int) -> None:
    with pytest.raises(FrostlineError, match=f"{rows} labels of {classes} classes cannot be coded"):
        online_code(torch.zeros(rows, 2), np.zeros(rows, dtype=np.int64), classes)
