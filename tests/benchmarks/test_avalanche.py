"""Streams given to Avalanche are the same streams."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.avalanche import TextBatch, to_avalanche, to_tensor
from benchmarks.catalog import BENCHMARKS
from benchmarks.streams import make_stream
from benchmarks.texts import ArrayTexts
from benchmarks.types import Dataset, Stream


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


class Letters(torch.nn.Module):
    """Tells texts apart by how often each of four letters comes; remembers the batches it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)
        self.seen: list[TextBatch] = []

    def forward(self, texts: TextBatch) -> torch.Tensor:
        assert isinstance(texts, TextBatch) and all(isinstance(text, str) for text in texts)
        self.seen.append(texts)
        counts = [[text.count(letter) for letter in "abcd"] for text in texts]
        return self.linear(torch.tensor(counts, dtype=torch.float32, device=self.linear.weight.device))


@pytest.fixture(scope="module")
def texts() -> Stream:
    def part(count: int) -> ArrayTexts:
        return ArrayTexts(
            ["é" + "abcd"[row % 4] * 3 + str(row) for row in range(count)], [row % 4 for row in range(count)]
        )

    return make_stream(Dataset("letters", ("a", "b", "c", "d"), part(80), part(16)), increment=2)


def test_texts_arrive_as_strings_through_the_usual_collation(texts: Stream) -> None:
    from torch.utils.data import DataLoader, default_collate

    own = texts.experiences[1].train
    theirs = to_avalanche(texts).train_stream[1].dataset
    assert [row[0] for row in theirs] == [own[row] for row in range(len(own))]
    plain = next(iter(DataLoader(theirs, batch_size=5, collate_fn=default_collate)))
    batch, labels, tasks = next(iter(DataLoader(theirs, batch_size=5, collate_fn=theirs.collate_fn)))
    assert list(batch) == list(plain[0]) == [own[row] for row in range(5)]
    assert torch.equal(labels, plain[1]) and torch.equal(tasks, plain[2])
    assert batch.to("meta", non_blocking=True) is batch


@pytest.mark.filterwarnings("ignore:No loggers specified")
@pytest.mark.parametrize("replay", [False, True])
def test_a_stock_strategy_trains_and_evaluates_on_texts(texts: Stream, replay: bool) -> None:
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin
    from avalanche.training.supervised import Naive

    torch.manual_seed(0)
    model = Letters()
    strategy = Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.5),
        criterion=torch.nn.CrossEntropyLoss(),
        train_epochs=5,
        train_mb_size=8,
        plugins=[ReplayPlugin(mem_size=20)] if replay else [],
        evaluator=EvaluationPlugin(accuracy_metrics(stream=True), loggers=[]),
    )
    benchmark = to_avalanche(texts)
    for experience in benchmark.train_stream:
        strategy.train(experience)
    last = {text[1] for batch in model.seen[-5:] for text in batch}
    assert last == set("abcd") if replay else last == {texts.class_names[k] for k in texts.experiences[1].classes}
    result = strategy.eval(benchmark.test_stream)
    assert result["Top1_Acc_Stream/eval_phase/test_stream/Task000"] >= (0.9 if replay else 0.5)
