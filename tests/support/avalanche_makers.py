"""A small stream, strategies of Avalanche and engines, for the tests of the plugins."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.optim import SGD

from backbones.base import Backbone
from backbones.core.seed import derive
from backbones.pat.stack import make_pat
from benchmarks.images import ArrayImages
from benchmarks.streams import make_stream
from benchmarks.types import Dataset, Stream
from continual.engine import HEAD, Engine
from continual.engine import test_labels as labels_of
from continual.heads import HEADS
from continual.settings import Tuning

TUNING = Tuning(epochs=2, batch=8, lr=0.02)


A_T = "Accuracy_On_Trained_Experiences/eval_phase/test_stream/Task000"


STREAM = "Top1_Acc_Stream/eval_phase/test_stream/Task000"


def images(count: int, seed: int, classes: int = 6, side: int = 20) -> ArrayImages:
    """Noise on a faint colour of the class: neither easy nor hopeless for a random backbone."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    colours = np.random.default_rng(7).integers(90, 160, (classes, 1, 1, 3))
    return ArrayImages(
        np.clip(colours[labels] + generator.normal(0, 90, (count, side, side, 3)), 0, 255).astype(np.uint8), labels
    )


def colours() -> Stream:
    """Six classes of noisy colours, two an experience."""
    torch.set_num_threads(1)
    data = Dataset("colours", tuple("abcdef"), images(72, 1), images(48, 2))
    return make_stream(data, increment=2, seed=3)


def strategy_of(model: nn.Module, plugins: list, kind: str = "Naive", optimizer=None, loggers=(), **values):
    from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
    from avalanche.training import supervised
    from avalanche.training.plugins import EvaluationPlugin

    judge = EvaluationPlugin(
        accuracy_metrics(stream=True, experience=True, trained_experience=True),
        loss_metrics(stream=True),
        loggers=list(loggers),
    )
    given = {"model": model, "criterion": nn.CrossEntropyLoss(), "train_mb_size": 8, "eval_mb_size": 16}
    optimizer = optimizer or SGD(model.parameters(), lr=0.05, momentum=0.9)
    return getattr(supervised, kind)(**given, optimizer=optimizer, plugins=plugins, evaluator=judge, **values)


def learn(strategy, benchmark) -> list[dict]:
    torch.manual_seed(0)
    found = []
    for experience in benchmark.train_stream:
        strategy.train(experience)
        found.append(strategy.eval(benchmark.test_stream))
    return found


def accuracies(engine: Engine, stream: Stream) -> list[float]:
    """A_t of an engine, weighted by samples."""
    labels, found = labels_of(stream), []
    for step in engine.run(stream):
        seen = sum(len(experience.test) for experience in stream.experiences[: step.index + 1])
        found.append(float((step.predictions[HEAD] == labels)[:seen].mean()))
    return found


def engine_of(backbone: Backbone, pat: str, head: str = "ipt", seed: int = 5, **values) -> Engine:
    made = HEADS.load(head)().build(derive(seed, "head"))
    return Engine(backbone, make_pat(pat, {}), made, seed=seed, tuning=TUNING, **values)


class Spy:
    """Notes what an optimizer holds and in which mode the backbone is, in every iteration of every experience."""

    def __new__(cls):
        from avalanche.core import SupervisedPlugin

        class Seen(SupervisedPlugin):
            held: list[list[set[str]]]
            deltas: list[dict]
            rows: list[int]

            def before_training_exp(self, strategy, **_):
                self.held.append([])
                self.rows.append(0)

            def after_update(self, strategy, **_):
                names = {id(value): name for name, value in strategy.model.named_parameters()}
                groups = strategy.optimizer.param_groups
                ids = [id(value) for group in groups for value in group["params"]]
                assert len(ids) == len(set(ids)) and set(map(id, strategy.optimizer.state)) <= set(ids)
                self.held[-1].append({names[key] for key in ids})
                self.rows[-1] += len(strategy.mb_y)
                trainable = {name for name, value in strategy.model.named_parameters() if value.requires_grad}
                assert self.held[-1][-1] == trainable
                assert not strategy.model.source.module.training

            def after_training_exp(self, strategy, **_):
                delta = strategy.model.delta
                state = delta.state_dict() if delta is not None else {}
                self.deltas.append({name: value.clone() for name, value in state.items()})

        made = Seen()
        made.held, made.deltas, made.rows = [], [], []
        return made
