"""Metrics against Avalanche's EvaluationPlugin, fed the same predictions by a model that only recites them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from continual import metrics
from continual.figures_summary import summarise

pytestmark = pytest.mark.filterwarnings("ignore:No loggers specified")

CLASSES = [[3, 0], [6], [2, 5, 1], [4, 7]]
SIZES = np.array([5, 9, 4, 7, 6, 3, 8, 5])  # test samples of classes 0..7: experiences of different sizes


class Recital(nn.Module):
    """Returns the predictions of one row for the samples whose index is the only feature."""

    def __init__(self, predictions: np.ndarray) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.predictions = torch.from_numpy(predictions)
        self.row = 0

    def forward(self, x: Tensor) -> Tensor:
        wanted = self.predictions[self.row][x[:, 0].long()]
        return nn.functional.one_hot(wanted, int(SIZES.size)).float() * self.scale


def recorded(seed: int, *, unseen: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return predictions (before learning, then after each step) and labels; ``unseen`` classes may be predicted."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(SIZES)), SIZES)
    rows = []
    for step in range(-1, len(CLASSES)):
        known = np.arange(len(SIZES)) if unseen or step < 0 else np.concatenate(CLASSES[: step + 1])
        guess = random.choice(known, len(labels))
        able = np.isin(labels, known) & (random.random(len(labels)) < random.uniform(0.3, 0.9))
        rows.append(np.where(able, labels, guess))
    return np.stack(rows).astype(np.int64), labels.astype(np.int64)


def avalanche_figures(predictions: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """Return what the plugin reports after each step, on the whole test stream."""
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import as_classification_dataset
    from avalanche.evaluation import metrics as theirs
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import Naive

    where = metrics.experience_of(labels, CLASSES)
    parts = []
    for index in range(len(CLASSES)):
        rows = np.flatnonzero(where == index)
        data = TensorDataset(torch.from_numpy(rows).float()[:, None], torch.from_numpy(labels[rows]))
        data.targets = labels[rows].tolist()  # type: ignore[attr-defined]
        parts.append(as_classification_dataset(data))
    benchmark = benchmark_from_datasets(train=parts, test=parts)
    plugin = EvaluationPlugin(
        theirs.accuracy_metrics(experience=True, stream=True, trained_experience=True),
        theirs.forgetting_metrics(experience=True, stream=True),
        theirs.bwt_metrics(experience=True, stream=True),
        theirs.forward_transfer_metrics(experience=True, stream=True),
        loggers=[],
    )
    model = Recital(predictions)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    strategy = Naive(
        model=model,
        optimizer=optimizer,
        criterion=nn.CrossEntropyLoss(),
        train_epochs=1,
        evaluator=plugin,
        device="cpu",
        eval_every=0,
    )
    strategy.eval(benchmark.test_stream)
    found = []
    for step, experience in enumerate(benchmark.train_stream):
        strategy.train(experience, eval_streams=[], num_workers=0)
        model.row = step + 1
        found.append(dict(strategy.eval(benchmark.test_stream)))
    return found


def pick(figures: dict[str, Any], *words: str) -> float:
    names = [name for name in figures if all(word in name for word in words)]
    assert len(names) == 1, (words, sorted(figures))
    return float(figures[names[0]])


@pytest.mark.parametrize("unseen", [False, True])
def test_figures_are_those_of_avalanche(unseen: bool) -> None:
    predictions, labels = recorded(7, unseen=unseen)
    figures = avalanche_figures(predictions, labels)
    where = metrics.experience_of(labels, CLASSES)
    before = metrics.accuracy_matrix(predictions[:1], labels, where)[0]
    matrix = metrics.accuracy_matrix(predictions[1:], labels, where)
    last = len(CLASSES) - 1
    for step, theirs in enumerate(figures):
        for index in range(len(CLASSES)):
            assert matrix[step, index] == pytest.approx(pick(theirs, "Top1_Acc_Exp/", f"Exp{index:03d}"))
    seen_accuracy = metrics.a_t_sample(matrix, metrics.counts(predictions[1:], labels, where))
    theirs_seen = [pick(theirs, "Accuracy_On_Trained_Experiences") for theirs in figures]
    assert seen_accuracy == pytest.approx(theirs_seen)
    assert metrics.bwt(matrix) == pytest.approx(pick(figures[last], "StreamBWT"))
    assert metrics.bwt(matrix) == pytest.approx(-pick(figures[last], "StreamForgetting"))
    for index in range(last):
        assert matrix[last, index] - matrix[index, index] == pytest.approx(
            pick(figures[last], "ExperienceBWT", f"Exp{index:03d}")
        )
    assert metrics.fwt(matrix, before) == pytest.approx(pick(figures[last], "StreamForwardTransfer"))
    if not unseen:
        summary = summarise(predictions[1:], labels, CLASSES)
        assert summary.a_t_sample == pytest.approx(theirs_seen)
        assert summary.bwt == pytest.approx(pick(figures[last], "StreamBWT"))
        assert summary.a_last_sample == pytest.approx(pick(figures[last], "Top1_Acc_Stream"))


def test_forgetting_is_that_of_avalanche_where_accuracy_only_falls() -> None:
    labels = np.repeat(np.arange(len(SIZES)), SIZES).astype(np.int64)
    where = metrics.experience_of(labels, CLASSES)
    lost = np.random.default_rng(3).integers(0, 6, len(labels)) + where  # the step from which a sample is wrong
    rows = [np.where((step <= lost) & (where <= step), labels, CLASSES[0][0]) for step in range(len(CLASSES))]
    predictions = np.stack([rows[0], *rows]).astype(np.int64)
    figures = avalanche_figures(predictions, labels)[-1]
    matrix = metrics.accuracy_matrix(predictions[1:], labels, where)
    assert metrics.forgetting(matrix) == pytest.approx(pick(figures, "StreamForgetting"))
    for index, value in enumerate(metrics.forgetting_per_experience(matrix)):
        assert value == pytest.approx(pick(figures, "ExperienceForgetting", f"Exp{index:03d}"))
    assert metrics.forgetting(matrix) > 0
