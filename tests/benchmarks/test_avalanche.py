"""Streams given to Avalanche are the same streams."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.avalanche import to_avalanche, to_tensor
from benchmarks.catalog import BENCHMARKS
from benchmarks.streams import make_stream
from benchmarks.types import Stream


@pytest.fixture(scope="module")
def stream() -> Stream:
    torch.set_num_threads(1)
    return make_stream(BENCHMARKS.load("split-digits").load(), init_classes=4, increment=4, shots=20)


def test_experiences_samples_and_timeline_are_the_same(stream: Stream) -> None:
    state = torch.random.get_rng_state()
    benchmark = to_avalanche(stream)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name in ("train", "test"):
        theirs = getattr(benchmark, f"{name}_stream")
        assert len(theirs) == len(stream.experiences) == 3
        seen: set[int] = set()
        for ours, other in zip(stream.experiences, theirs, strict=True):
            own = getattr(ours, name)
            assert other.current_experience == ours.index
            assert other.classes_in_this_experience == set(ours.classes)
            assert other.previous_classes == seen
            seen |= set(ours.classes)
            assert other.classes_seen_so_far == seen
            assert other.future_classes == set(stream.class_order) - seen
            assert other.task_label == 0
            assert list(other.dataset.targets) == own.labels.tolist()
            image, label, task = other.dataset[len(own) - 1]
            assert (label, task) == (own.labels[-1], 0)
            assert torch.equal(image, to_tensor(own[len(own) - 1]))


def test_it_is_the_benchmark_that_avalanche_itself_makes_in_this_order() -> None:
    from avalanche.benchmarks import nc_benchmark
    from torch.utils.data import TensorDataset

    stream = make_stream(BENCHMARKS.load("split-digits").load(), increment=2, shots=5)

    def whole(name: str) -> TensorDataset:
        parts = [getattr(experience, name) for experience in stream.experiences]
        inputs = torch.stack([to_tensor(part[row]) for part in parts for row in range(len(part))])
        data = TensorDataset(inputs, torch.from_numpy(np.concatenate([part.labels for part in parts])))
        data.targets = data.tensors[1]  # type: ignore[attr-defined]
        return data

    order = list(stream.class_order)
    theirs = nc_benchmark(whole("train"), whole("test"), n_experiences=5, task_labels=False, fixed_class_order=order)
    ours = to_avalanche(stream)
    for name in ("train_stream", "test_stream"):
        for one, other in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert one.classes_in_this_experience == set(other.classes_in_this_experience)
            assert len(one.dataset) == len(other.dataset)


@pytest.mark.filterwarnings("ignore:No loggers specified")
def test_a_strategy_trains_and_evaluates_on_it(stream: Stream) -> None:
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import Naive

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    judge = EvaluationPlugin(accuracy_metrics(experience=True), loggers=[])
    strategy = Naive(
        model=model, optimizer=optimizer, criterion=torch.nn.CrossEntropyLoss(), train_epochs=8, evaluator=judge
    )
    benchmark = to_avalanche(stream)
    strategy.train(benchmark.train_stream[0])
    result = strategy.eval(benchmark.test_stream[:1])
    assert result["Top1_Acc_Exp/eval_phase/test_stream/Task000/Exp000"] > 0.6


def test_a_transform_of_one_s_own_is_used(stream: Stream) -> None:
    benchmark = to_avalanche(stream, transform=lambda raw: int(raw.sum()))
    part = stream.experiences[0].train
    assert benchmark.train_stream[0].dataset[3][0] == int(part[3].sum())
    assert to_tensor("a text") == "a text"
