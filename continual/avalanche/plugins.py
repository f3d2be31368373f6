"""Plugins for Avalanche's supervised strategies: a PAT on the frozen backbone, a head in place of the classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn
from torch.optim import Optimizer

from backbones.core.errors import FrostlineError, unknown
from backbones.core.seed import derive
from backbones.delta import Delta
from backbones.pat.stack import make_pat
from continual.avalanche.classifier import UNSEEN
from continual.avalanche.model import BackboneClassifier
from continual.drift import compensation
from continual.heads import HEADS
from continual.heads.base import Head
from continual.settings import Tuning
from continual.training import tune

Schedule = Literal["first", "every"]
Recipe = Literal["engine", "strategy"]


class _Plugin(SupervisedPlugin):  # type: ignore[misc]
    """What both plugins do: know the model, and keep what is frozen out of the optimizer."""

    def model_of(self, strategy: Any) -> BackboneClassifier:
        """Return the model of ``strategy``; raises FrostlineError if it is none of ours."""
        if isinstance(strategy.model, BackboneClassifier):
            return strategy.model
        raise FrostlineError(
            f"{type(self).__name__} needs a backbone with sites, but the model of the strategy is a "
            f"{type(strategy.model).__name__}; make it by as_model, such as as_model('bundled:vit-micro')."
        )

    def before_training(self, strategy: Any, **_: Any) -> None:
        """Refuse a model that is none of ours."""
        self.model_of(strategy)

    def before_training_exp(self, strategy: Any, **_: Any) -> None:
        """Leave only trainable parameters in the optimizer: strategies put all of the model's into it each time."""
        keep_trainable(strategy.optimizer)


class PatPlugin(_Plugin):
    """Puts a PAT, or a stack of them, on the frozen backbone of the model, and trains it.

    The delta is attached before the first experience and learns there alone, or on every experience. With the recipe
    ``"engine"`` it is trained before the epochs of the strategy, on the data of the experience alone and exactly as
    ``continual.Engine`` does it (warm-up, cosine of the rate, clipping, a classifier of its own): the same seed gives
    the same delta as ``cil-run`` (to rounding, where the engine trains on stored activations). The strategy then trains
    the classifier of the model. With the recipe ``"strategy"`` the strategy trains the delta as any parameter of the
    model: its optimizer, loss, epochs and data, replayed samples included.

    Args:
        name: registered name, or several joined by ``+``.
        settings: its settings; of a stack, name of a member -> settings.
        layers: layers that it may touch, such as ``"6-11"``.
        schedule: train on the ``"first"`` experience only, or on ``"every"`` one.
        seed: of the delta, and of its training by the recipe ``"engine"``; what ``cil-run --seeds`` takes.
        recipe: ``"engine"`` or ``"strategy"``.
        tuning: epochs, rates and batch of the recipe ``"engine"``.

    Attributes:
        delta: what is on the backbone; None before the first experience and after ``close``.

    Raises:
        FrostlineError: an unknown name (the nearest offered), wrong settings.
    """

    def __init__(
        self,
        name: str = "vpt",
        settings: Mapping[str, Any] | None = None,
        *,
        layers: str | None = None,
        schedule: Schedule = "first",
        seed: int = 1993,
        recipe: Recipe = "engine",
        tuning: Tuning | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        for kind, value, known in (("schedule", schedule, Schedule), ("recipe", recipe, Recipe)):
            if value not in get_args(known):
                raise unknown(f"{kind} of PatPlugin", value, get_args(known))
        if tuning is not None and recipe == "strategy":
            raise FrostlineError(
                "tuning is for recipe='engine'; with recipe='strategy' epochs, batch and rate are those of the "
                "strategy and its optimizer."
            )
        self.name = name
        self.pat = make_pat(name, settings or {}, layers)
        self.schedule, self.seed, self.recipe = schedule, seed, recipe
        self.tuning = tuning if isinstance(tuning, Tuning) else Tuning.parse(tuning or {}, "PatPlugin's tuning")
        self.delta: Delta | None = None
        self.learned = 0
        self._model: BackboneClassifier | None = None
        self._trainable: list[nn.Parameter] = []

    def before_train_dataset_adaptation(self, strategy: Any, **_: Any) -> None:
        """Attach the delta, and make it trainable if it is to learn now."""
        model = self.model_of(strategy)
        if self.delta is None:
            self._model = model
            self.delta = model.attach(self.pat, derive(self.seed, "pat"), self.schedule)
        elif model is not self._model:
            raise FrostlineError(
                "this PatPlugin works on another model already; give each strategy a PatPlugin of its own, or call "
                "close() first."
            )
        if not self._due():
            return
        for parameter in self._trainable:
            parameter.requires_grad_()
        if self.recipe == "strategy":
            self._enter(strategy, self.delta)
            model.train(model.training)

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Train by the recipe ``"engine"``; then see to the optimizer."""
        if self.recipe == "engine" and self._due():
            self._tune(strategy)
            self._freeze()
        super().before_training_exp(strategy, **kwargs)

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        """Freeze the delta until it is to learn again."""
        if self._due() and self.recipe == "strategy":
            self._freeze()
        self.learned += 1

    def close(self) -> None:
        """Take the delta off: the backbone is what it was, bit for bit. The plugin may then be used afresh."""
        if self._model is not None and self._model.delta is self.delta:
            self._model.detach()
        self.delta = self._model = None
        self.learned, self._trainable = 0, []

    def _due(self) -> bool:
        return self.learned == 0 or self.schedule == "every"

    def _enter(self, strategy: Any, delta: Delta) -> None:
        stages = delta.stages(self.learned)
        if stages > 1:
            self.close()
            raise FrostlineError(
                f"PAT {self.name!r} learns in {stages} stages with an optimizer each, which a strategy does not do; "
                f"use PatPlugin({self.name!r}, recipe='engine')."
            )
        before = list(delta.parameters())
        delta.enter(self.learned, 0)
        now = {id(parameter) for parameter in delta.parameters()}
        for parameter in before:
            if id(parameter) not in now:  # exchanged: it must leave the optimizer too
                parameter.requires_grad_(False)

    def _tune(self, strategy: Any) -> None:
        model = self.model_of(strategy)
        if model.delta is None or not model.delta.parameter_count:
            return
        inputs, labels = evaluation_data(strategy.experience)
        seed = derive(self.seed, "tune", self.learned)
        tune(
            model.encoder,
            lambda rows: model.batch([inputs[row] for row in rows]),
            model.source.features,
            labels,
            self.tuning,
            seed,
            experience=self.learned,
        )

    def _freeze(self) -> None:
        assert self.delta is not None and self._model is not None
        self._trainable = [parameter for parameter in self.delta.parameters() if parameter.requires_grad]
        for parameter in self._trainable:
            parameter.requires_grad_(False)
        self.delta.eval()


class HeadPlugin(_Plugin):
    """Fits a head on the features of each experience; in evaluation, its scores take the place of the model's output.

    The head learns the data of the *new* experience only, un-augmented and in order, whatever a strategy or another
    plugin trains on: replayed samples and those that ``Cumulative`` keeps do not reach it. It learns after the epochs
    of the strategy, so an evaluation in the middle of an experience sees it as it was before. Stock metrics and losses
    see logits whose columns are class ids; classes not met yet have -1000, as in Avalanche's own growing classifier.

    Args:
        name: registered name, see ``cil-run --list heads``.
        settings: of the head.
        sigma: width of the window of semantic-drift compensation (``continual.drift.sdc``), which carries prototypes
            over where a ``PatPlugin`` learns on every experience; None to find one.
        seed: of the head; what ``cil-run --seeds`` takes.

    Attributes:
        head: the fitted head.

    Raises:
        FrostlineError: an unknown name or wrong settings (the nearest offered).
    """

    def __init__(
        self,
        name: str,
        settings: Mapping[str, Any] | None = None,
        *,
        sigma: float | None = None,
        seed: int = 1993,
    ) -> None:
        super().__init__()
        made = HEADS.load(name).parse(settings or {}, f"head {name!r}")
        self.head: Head = made.build(derive(seed, "head"))
        self.sigma = sigma
        self._old: Tensor | None = None

    def before_train_dataset_adaptation(self, strategy: Any, **_: Any) -> None:
        """Note where the samples of the experience lie before features move."""
        model = self.model_of(strategy)
        self._old = None
        if model.drifts and len(self.head.classes_):
            self._old = model.encode_all(evaluation_data(strategy.experience)[0])

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        """Carry stored points over to where features are now; learn the experience."""
        inputs, labels = evaluation_data(strategy.experience)
        features = self.model_of(strategy).encode_all(inputs)
        if self._old is not None:
            self.head.translate(compensation(self._old, features, self.sigma))
            self._old = None
        self.head.partial_fit(features, labels)

    def after_eval_forward(self, strategy: Any, **_: Any) -> None:
        """Put the head's scores in the place of the model's output."""
        classes = self.head.classes_
        if not len(classes):
            return  # nothing learned yet: the model speaks for itself
        scores = self.head.scores(self.model_of(strategy).encode(strategy.mb_x))
        columns = max(strategy.mb_output.shape[1], int(classes.max()) + 1)
        logits = torch.full((len(scores), columns), UNSEEN)
        logits[:, classes] = scores
        strategy.mb_output = logits.to(strategy.mb_output.device)


class IptPlugin(HeadPlugin):
    """Incremental prototype tuning on the features of each experience; see ``HeadPlugin``.

    Args:
        sigma: see ``HeadPlugin``.
        seed: see ``HeadPlugin``.
        settings: of IPT, see ``continual.heads.ipt.Ipt``.

    Raises:
        FrostlineError: wrong settings (the nearest offered).
    """

    def __init__(self, *, sigma: float | None = None, seed: int = 1993, **settings: Any) -> None:
        super().__init__("ipt", settings, sigma=sigma, seed=seed)


class _Inputs:
    """The inputs of an Avalanche data set, read when they are asked for."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._dataset[index][0]


def evaluation_data(experience: Any) -> tuple[Any, Tensor]:
    """Return the inputs of an experience in order, with the transforms of evaluation, and its labels: int64, (n,)."""
    dataset = experience.dataset.eval()
    return _Inputs(dataset), torch.tensor([int(label) for label in dataset.targets], dtype=torch.int64)


def keep_trainable(optimizer: Optimizer) -> None:
    """Take every parameter that does not require a gradient out of an optimizer, with its state."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if not parameter.requires_grad:
                optimizer.state.pop(parameter, None)
        group["params"] = [parameter for parameter in group["params"] if parameter.requires_grad]
