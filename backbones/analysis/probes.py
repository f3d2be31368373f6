"""Classifier probes on frozen features: one layer, or a learned mean over layers.

Edge probing: Tenney et al., "What do you learn from context?", ICLR 2019, arXiv 1905.06316; the scalar mix: Peters et
al., "Deep contextualized word representations", NAACL 2018, arXiv 1802.05365.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, normalize

from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent

ROUNDS = 200  # of L-BFGS at most
BLOCK = 4096  # rows scored at a time


@dataclass(frozen=True)
class Probe:
    """A multinomial logistic regression on (a mean over layers of) standardised features.

    Args:
        shares: float32, shape (layers,), of each layer in the mean; they sum to 1.
        mean, scale: float32, shape (layers, width): features are shifted and divided by these first.
        weight: float32, shape (classes, width).
        bias: float32, shape (classes,).
    """

    shares: Tensor
    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """Return float32 logits of shape (n, classes) for features of shape (n, layers, width)."""
        found = []
        for start in range(0, len(features), BLOCK):
            part = (features[start : start + BLOCK] - self.mean) / self.scale
            found.append(torch.einsum("l,nlw->nw", self.shares, part) @ self.weight.T + self.bias)
        return torch.cat(found) if found else torch.empty(0, len(self.bias))

    def log_probabilities(self, features: Tensor) -> Tensor:
        """Return float32 natural logarithms of shape (n, classes); no class has probability 0."""
        return log_softmax(self.logits(features), dim=1)

    def predict(self, features: Tensor) -> NDArray[np.int64]:
        """Return the likeliest class of each row: int64, shape (n,)."""
        found: NDArray[np.int64] = self.logits(features).argmax(dim=1).numpy()
        return found

    def accuracy(self, features: Tensor, labels: NDArray[np.int64]) -> float:
        """Return the share of rows whose likeliest class is theirs, in [0, 1]."""
        return float((self.predict(features) == labels).mean())


def fit_probe(
    features: Tensor,
    labels: NDArray[np.int64],
    classes: int,
    *,
    l2: float = 1.0,
    like: Tensor | None = None,
    start: Probe | None = None,
    progress: Progress = silent,
    phase: str = "probe",
) -> Probe:
    """Fit a probe by L-BFGS: cross-entropy summed over rows, plus l2/2 times the squared weights and biases.

    With several layers, what is classified is sum_l softmax(s)_l h_l of the standardised layers, and s is learned with
    the classifier. The penalty covers the bias, so that a class without a row keeps a probability.

    Args:
        features: float32, shape (n, layers, width) or (n, width).
        labels: int64, shape (n,).
        classes: outputs; some may have no row.
        l2: strength of the penalty.
        like: features, with classes or without, whose mean and deviation standardise; None for ``features``. Of a
            handful of rows the deviation may be next to nothing, and anything else then lies far outside.
        start: go on from this probe, which gives the same optimum sooner.
        progress: told of every round of the optimizer.
        phase: what to call the work.

    Raises:
        FrostlineError: no rows, or features that are not finite.
    """
    from scipy.optimize import minimize

    rows = features[:, None] if features.dim() == 2 else features
    if not len(rows):
        raise FrostlineError("a probe needs at least one sample to learn from; there is none.")
    if not bool(torch.isfinite(rows).all()):
        raise FrostlineError("some features are not finite; look at the weights of the backbone.")
    layers, width = rows.shape[1:]
    every = rows if like is None else like.reshape(len(like), *rows.shape[1:])
    mean, scale = every.mean(dim=0), every.std(dim=0, correction=0) + 1e-6
    ready, rounds = (rows - mean) / scale, count(1)
    begin = torch.zeros(layers + classes * (width + 1)) if start is None else _packed(start, mean, scale)
    # A mean of one layer has nothing to learn: its slope is 0 and L-BFGS leaves it alone.
    found = minimize(
        partial(_objective, ready, torch.from_numpy(labels), classes, l2),
        begin.double().numpy(),
        jac=True,
        method="L-BFGS-B",
        callback=lambda _: progress(phase, next(rounds), ROUNDS),
        options={"maxiter": ROUNDS, "ftol": 1e-6, "gtol": 1e-5, "maxcor": 10},
    )
    mix, weight, bias = _parts(torch.from_numpy(found.x).float(), layers, classes, width)
    return Probe(torch.softmax(mix, 0), mean, scale, weight.clone(), bias.clone())


def _objective(
    ready: Tensor, targets: Tensor, classes: int, l2: float, flat: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Return the mean loss over the standardised rows ``ready``, with its penalty, and its slope at ``flat``."""
    rows, layers, width = ready.shape
    point = torch.from_numpy(flat).float().requires_grad_()
    mix, weight, bias = _parts(point, layers, classes, width)
    mixed = ready[:, 0] if layers == 1 else torch.einsum("l,nlw->nw", torch.softmax(mix, 0), ready)
    loss = cross_entropy(mixed @ weight.T + bias, targets)
    total = loss + (weight.square().sum() + bias.square().sum()) * (0.5 * l2 / rows)
    (slope,) = torch.autograd.grad(total, point)
    return float(total.detach()), slope.double().numpy()


def _parts(flat: Tensor, layers: int, classes: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    mix, weight, bias = flat.split([layers, classes * width, classes])
    return mix, weight.view(classes, width), bias


def _packed(probe: Probe, mean: Tensor, scale: Tensor) -> Tensor:
    """Return the point at which the probe would be on features standardised by ``mean`` and ``scale`` (one layer)."""
    if len(probe.shares) > 1:  # the scales of several layers cannot be moved into one weight
        return torch.cat([probe.shares.clamp_min(1e-12).log(), probe.weight.flatten(), probe.bias])
    weight = probe.weight * (scale / probe.scale)
    bias = probe.bias + ((mean - probe.mean) / probe.scale)[0] @ probe.weight.T
    return torch.cat([torch.zeros(1), weight.flatten(), bias])


def class_means_accuracy(
    train: Tensor, labels: NDArray[np.int64], test: Tensor, wanted: NDArray[np.int64], classes: int
) -> float:
    """Return the share of ``test`` rows whose nearest class mean by cosine is theirs, in [0, 1].

    The head ``ncm`` of ``cil-run`` predicts the same.

    Args:
        train: float32, shape (n, width).
        labels: int64, shape (n,).
        test: float32, shape (m, width).
        wanted: int64, shape (m,).
        classes: how many there are; one without a training row is never predicted.
    """
    present = np.unique(labels)
    rows = torch.from_numpy(labels)
    sums = torch.zeros(classes, train.shape[1], dtype=torch.float64).index_add_(0, rows, train.double())
    means = normalize(sums[torch.from_numpy(present)], dim=1)
    picks: NDArray[np.int64] = present[(normalize(test.double(), dim=1) @ means.T).argmax(dim=1).numpy()]
    return float((picks == wanted).mean())
