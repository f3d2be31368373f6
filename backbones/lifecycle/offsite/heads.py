"""The head that needs no training: nearest class means, as a linear layer that training can go on from."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled
from backbones.core.samples import Progress, silent
from backbones.delta import Delta
from backbones.lifecycle.offsite.lower import Lower

NEVER = -1e4  # bias of a class without a sample
SCALES = [2.0 ** (power / 2) for power in range(-16, 13)]


def means_head(features: Tensor, labels: NDArray[np.int64], classes: int) -> nn.Linear:
    """Return nearest class means over standardised features as a linear layer on plain ones.

    Squared distances to the means differ between classes by a linear function of the feature; it is scaled so that
    its cross-entropy on these samples is least, which changes no decision and lets training begin from it.

    Args:
        features: float32, shape (n, width).
        labels: int64, shape (n,), of two classes or more.
        classes: outputs of the layer; one without a sample never wins.

    Raises:
        FrostlineError: labels of a single class.
    """
    present = np.unique(labels)
    if len(present) < 2:
        raise FrostlineError(f"all {len(labels)} samples are of one class; a classifier needs two or more.")
    rows, targets = features.double(), torch.from_numpy(labels.copy())
    mean, deviation = rows.mean(dim=0), rows.std(dim=0, correction=0) + 1e-6
    rows = (rows - mean) / deviation
    means = torch.zeros(classes, rows.shape[1], dtype=rows.dtype)
    means.index_add_(0, targets, rows)
    means /= torch.bincount(targets, minlength=classes).clamp(min=1)[:, None]
    bias = -0.5 * means.square().sum(dim=1)
    absent = torch.ones(classes, dtype=torch.bool)
    absent[torch.from_numpy(present)] = False
    bias[absent] = -torch.inf
    logits = rows @ means.T + bias
    losses = [float(cross_entropy(scale * logits, targets)) for scale in SCALES]
    scale = SCALES[int(np.argmin(losses))]
    head: nn.Linear = nn.utils.skip_init(nn.Linear, features.shape[1], classes)
    with torch.no_grad():
        head.weight.copy_(scale * means / deviation)
        head.bias.copy_(scale * (bias - (means / deviation) @ mean))
        head.bias[absent] = NEVER
    return head.requires_grad_(False)


def fitted_head(
    backbone: Backbone,
    data: Labelled,
    delta: Delta | None = None,
    progress: Progress = silent,
    lower: Lower | None = None,
) -> nn.Linear:
    """Return ``means_head`` over the features of labelled data.

    Args:
        backbone: whose features; with what is on it.
        data: raw inputs and classes.
        delta: on the backbone.
        progress: told of the samples encoded.
        lower: remembers what lies below; None: nothing does.
    """
    found = (lower or Lower()).features(backbone, data, delta, "class means", progress)
    return means_head(found, data.labels, len(data.classes))
