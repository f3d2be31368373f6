"""Tasks on a backbone: a linear head on its features, fitted on frozen ones or trained together with a delta or all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled
from backbones.core.samples import Progress, silent
from backbones.core.seed import torch_generator
from backbones.delta import Delta
from backbones.encoder import Encoder, answered, by_group
from backbones.training.loop import Course, Recipe, Say, mute, train

HEAD_SCALE = 0.02  # standard deviation of a head's first weights


@dataclass(frozen=True)
class Tuned:
    """A head, (width, classes), and how its training went."""

    head: nn.Linear
    course: Course


def fit_linear(features: Tensor, labels: NDArray[np.int64], classes: int, *, l2: float = 1.0) -> nn.Linear:
    """Fit a multinomial logistic regression (scikit-learn) on frozen features.

    Features are standardised; the standardisation is folded into the layer, which takes plain features.

    Args:
        features: float32, shape (n, width).
        labels: int64, shape (n,), of two classes or more.
        classes: outputs of the layer; a class without a sample has a bias of -1e4, so that it never wins.
        l2: strength of the penalty, the reciprocal of scikit-learn's ``C``, for the sum over samples.

    Raises:
        FrostlineError: labels of a single class.
    """
    from sklearn.linear_model import LogisticRegression

    present = np.unique(labels)
    if len(present) < 2:
        raise FrostlineError(f"all {len(labels)} samples are of one class; a classifier needs two or more.")
    rows = features.double().numpy()
    mean, deviation = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    model = LogisticRegression(C=1.0 / l2, max_iter=1000).fit((rows - mean) / deviation, labels)
    weight, bias = model.coef_, model.intercept_
    if len(present) == 2:  # scikit-learn then keeps one row, of the second class against the first
        weight, bias = np.concatenate([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
    weight = weight / deviation
    bias = bias - weight @ mean
    head = _linear(features.shape[1], classes, 0)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(-1e4)
        head.weight[torch.from_numpy(present)] = torch.from_numpy(weight).float()
        head.bias[torch.from_numpy(present)] = torch.from_numpy(bias).float()
    return head.requires_grad_(False)


def finetune(
    backbone: Backbone,
    data: Labelled,
    recipe: Recipe,
    *,
    delta: Delta | None = None,
    full: bool = False,
    head: nn.Linear | None = None,
    head_rate: float = 1.0,
    checkpoint: Path | None = None,
    keep: bool = False,
    progress: Progress = silent,
    say: Say = mute,
    phase: str = "fine-tuning",
) -> Tuned:
    """Train a head, and with it a delta or every weight of the backbone, by cross-entropy.

    Args:
        backbone: changed in place if ``full``, else frozen.
        data: raw inputs and classes.
        recipe: how.
        delta: attached to the backbone; trained too.
        full: train the weights of the backbone too.
        head: to go on from; None for a new one. It is trained in place, on the backbone's device.
        head_rate: factor on the rate of the head.
        checkpoint, keep: see ``train``.
        progress: told of every step.
        say: told the estimate.
        phase: what to call the work.

    Raises:
        FrostlineError: a delta and ``full`` together, a head of another shape, or see ``train``.
    """
    if delta is not None and full:
        raise FrostlineError("a PAT and full fine-tuning were both asked for; choose one of them.")
    head = _head_for(backbone, data, head, recipe.seed)
    params: dict[str, nn.Parameter] = {f"head.{name}": param for name, param in head.named_parameters()}
    modules: list[nn.Module] = [head]
    if full:
        params |= {f"backbone.{name}": param for name, param in backbone.module.named_parameters()}
        modules.append(backbone.module)
    if delta is not None:
        params |= {f"delta.{name}": param for name, param in delta.named_parameters()}
        modules.append(delta)
    targets = torch.tensor(data.labels)

    def loss(rows: list[int], generator: torch.Generator) -> Tensor:
        with torch.set_grad_enabled(full or delta is not None):
            features = grouped_features(backbone, data.raw(rows))
        return cross_entropy(answered(head, features), targets[rows].to(backbone.device))

    course = train(
        params,
        loss,
        len(data),
        recipe,
        modules=modules,
        rates={"head.": head_rate},
        checkpoint=checkpoint,
        keep=keep,
        progress=progress,
        say=say,
        phase=phase,
    )
    return Tuned(head.requires_grad_(False), course)


def _head_for(backbone: Backbone, data: Labelled, head: nn.Linear | None, seed: int) -> nn.Linear:
    """Return ``head``, or a new one, beside the backbone; FrostlineError if its shape is another."""
    wanted = (len(data.classes), backbone.width)
    found = head if head is not None else _linear(backbone.width, len(data.classes), seed)
    if found.weight.shape != wanted:
        raise FrostlineError(
            f"the head has shape {tuple(found.weight.shape)}, but {wanted[0]} classes on features of "
            f"{wanted[1]} need {wanted}; leave the head out for a new one."
        )
    return found.to(backbone.device)


def grouped_features(backbone: Backbone, raw: Sequence[Any]) -> Tensor:
    """Return features of raw inputs in their order, (n, width): inputs of one length go forward together.

    Padding short texts to the longest of a batch would take half as long again.
    """
    groups = by_group(backbone.preprocessing.groups(raw))
    batches = [backbone.preprocessing([raw[row] for row in rows]) for _, rows in groups]
    parts = [backbone.features(batch.to(backbone.device)) for batch in batches]
    order = torch.tensor([row for _, rows in groups for row in rows]).argsort()
    return torch.cat(parts)[order.to(backbone.device)]


def logits_of(
    backbone: Backbone, head: nn.Linear, data: Labelled, delta: Delta | None = None, progress: Progress = silent
) -> Tensor:
    """Return what the head says of each sample: float32 on the CPU, shape (n, classes)."""
    encoder = Encoder(backbone, delta, precision="fp32")
    found: list[Tensor] = []
    block = 64 * encoder.chunk
    for start in range(0, len(data), block):
        rows = range(start, min(start + block, len(data)))
        with torch.no_grad():
            found.append(answered(head, encoder.features(data.raw(rows))).float())
        progress("predicting", rows.stop, len(data))
    return torch.cat(found)


def predict(
    backbone: Backbone, head: nn.Linear, data: Labelled, delta: Delta | None = None, progress: Progress = silent
) -> NDArray[np.int64]:
    """Return the likeliest class of each sample: int64, shape (n,)."""
    found: NDArray[np.int64] = logits_of(backbone, head, data, delta, progress).argmax(dim=1).numpy()
    return found


def accuracy(
    backbone: Backbone, head: nn.Linear, data: Labelled, delta: Delta | None = None, progress: Progress = silent
) -> float:
    """Return the share of samples whose likeliest class is theirs, in [0, 1]."""
    return float((predict(backbone, head, data, delta, progress) == data.labels).mean())


def _linear(width: int, classes: int, seed: int) -> nn.Linear:
    head: nn.Linear = nn.utils.skip_init(nn.Linear, width, classes)  # draws nothing
    with torch.no_grad():
        head.weight.copy_(HEAD_SCALE * torch.randn(head.weight.shape, generator=torch_generator(seed, "head")))
        head.bias.zero_()
    return head
