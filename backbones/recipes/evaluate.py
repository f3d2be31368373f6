"""Figures of frozen features: a linear probe and nearest class means."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer

from backbones.core.samples import Progress, silent
from backbones.recipes.images import to_unit


def features(
    model: VisionTransformer,
    images: NDArray[np.uint8],
    device: torch.device,
    batch: int = 100,
    workers: int = 1,
    progress: Progress = silent,
) -> NDArray[np.float32]:
    """Return what ``model`` says of each image with its pooling and without a classifier.

    Args:
        model: a ViT with ``num_classes=0``.
        images: uint8, shape (n, s, s, 3), of the model's size.
        device: where.
        batch: images per forward.
        workers: threads that take batches in turn.
        progress: told of every batch.

    Returns:
        float32, shape (n, width).
    """
    home = next(model.parameters()).device
    model.to(device).eval()

    def encode(start: int) -> NDArray[np.float32]:
        with torch.inference_mode():
            found: NDArray[np.float32] = model(to_unit(images[start : start + batch], device)).float().cpu().numpy()
        return found

    found = []
    with ThreadPoolExecutor(workers) as pool:
        for part in pool.map(encode, range(0, len(images), batch)):
            found.append(part)
            progress("features", min(len(found) * batch, len(images)), len(images))
    model.to(home)
    return np.concatenate(found)


def class_means(train: NDArray[np.float32], labels: NDArray[np.int64], test: NDArray[np.float32]) -> NDArray[np.int64]:
    """Predict the class whose mean of unit-length features has the largest cosine with each row of ``test``."""
    unit = train / np.linalg.norm(train, axis=1, keepdims=True)
    known = np.unique(labels)
    means = np.stack([unit[labels == label].mean(0) for label in known])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    picks: NDArray[np.int64] = known[np.argmax(test @ means.T, axis=1)]
    return picks


def linear_probe(
    train: NDArray[np.float32], labels: NDArray[np.int64], test: NDArray[np.float32], c: float = 0.1
) -> NDArray[np.int64]:
    """Predict with multinomial logistic regression (scikit-learn, L-BFGS) on features standardised by ``train``.

    Args:
        train: shape (n, width).
        labels: shape (n,).
        test: shape (m, width).
        c: inverse strength of the L2 penalty, scikit-learn's ``C``.
    """
    from sklearn.linear_model import LogisticRegression

    mean, deviation = train.mean(0), train.std(0) + 1e-6
    probe = LogisticRegression(C=c, max_iter=300).fit((train - mean) / deviation, labels)
    picks: NDArray[np.int64] = probe.predict((test - mean) / deviation)
    return picks
