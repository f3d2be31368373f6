"""The 2-D map of test features with category and example prototypes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backbones.core.errors import FrostlineError
from backbones.core.seed import numpy_generator
from backbones.plots import label as label_of
from continual.metrics import Ints
from continual.plots import _figure, _png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = NDArray[np.floating]
MAX_POINTS = 2000
ALL_COLOURED_UP_TO = 20
COLOURED_OF_MORE = 10
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8B4513")
SHAPES = ("o", "s", "^")
KINDS = {"category": ("*", 210), "example": ("X", 60)}
OTHER = ("P", 60)


def feature_map(
    features: Points,
    labels: Ints,
    prototypes: Mapping[str, tuple[Points, Ints]],
    class_names: Sequence[str],
) -> bytes:
    """Draw the first two principal components of test features, and prototypes in the same plane, as PNG.

    At most 2000 points are fitted and shown, chosen by a fixed seed. Up to 20 classes have a colour and shape of their
    own; of more, 10 spaced evenly in class order have, and the others are grey.

    Args:
        features: shape (n, width), n >= 2, finite.
        labels: int64, shape (n,), indices into ``class_names``.
        prototypes: kind (``"category"`` stars, ``"example"`` crosses) -> points (m, width) in the space of
            ``features`` and their classes int64 (m,).
        class_names: the name of every class.

    Raises:
        FrostlineError: shapes that do not fit, fewer than two samples or dimensions, values that are not finite.
    """
    from sklearn.decomposition import PCA

    _check(features, labels, prototypes, len(class_names))
    rows = np.arange(len(features))
    if len(rows) > MAX_POINTS:
        rows = np.sort(numpy_generator(0, "feature map").choice(len(rows), MAX_POINTS, replace=False))
    shown, classes = np.asarray(features[rows], dtype=np.float64), labels[rows]
    plane = PCA(n_components=2, svd_solver="full").fit(shown)
    looks = _looks(np.unique(classes))
    figure, axes = _figure(8.4 if looks else 6.4, 5.6)
    _samples(axes, plane.transform(shown), classes, looks, class_names)
    for kind, (points, owners) in prototypes.items():
        if len(points):
            _prototypes(axes, kind, plane.transform(np.asarray(points, dtype=np.float64)), owners, looks)
    share = 100 * plane.explained_variance_ratio_
    axes.set(
        xlabel=f"first principal component ({share[0]:.0f} % of variance)",
        ylabel=f"second principal component ({share[1]:.0f} % of variance)",
        title="Test features and prototypes",
    )
    hidden = len(np.unique(classes)) - len(looks)
    title = f"{len(looks)} of {len(looks) + hidden} classes, others grey" if hidden else None
    figure.legend(loc="outside right upper", frameon=False, fontsize=8, title=title, title_fontsize=8, markerscale=1.0)
    return _png(figure)


def _looks(present: Ints) -> dict[int, tuple[str, str]]:
    """Give all classes, or some of many, a colour and a shape."""
    chosen = present
    if len(present) > ALL_COLOURED_UP_TO:
        chosen = present[np.linspace(0, len(present) - 1, COLOURED_OF_MORE).round().astype(int)]
    size = len(COLOURS)
    return {int(label): (COLOURS[i % size], SHAPES[i // size]) for i, label in enumerate(chosen)}


def _samples(axes: Axes, points: Points, classes: Ints, looks: Mapping[int, Any], names: Sequence[str]) -> None:
    rest = points[~np.isin(classes, list(looks))]
    if len(rest):
        axes.scatter(rest[:, 0], rest[:, 1], s=7, color="0.82", linewidths=0, zorder=1)
    for label, (colour, shape) in looks.items():
        own = points[classes == label]
        name = names[label] if len(names[label]) <= 24 else names[label][:23] + "…"
        axes.scatter(
            own[:, 0], own[:, 1], s=14, color=colour, marker=shape, alpha=0.45, linewidths=0, label=label_of(name)
        )


def _prototypes(axes: Axes, kind: str, points: Points, owners: Ints, looks: Mapping[int, Any]) -> None:
    marker, size = KINDS.get(kind, OTHER)
    coloured = np.isin(owners, list(looks))
    shrink = 1.0 if len(owners) <= 10 else 0.6
    rest, own = points[~coloured], points[coloured]
    if len(rest) and len(rest) <= 10 * COLOURED_OF_MORE:
        axes.scatter(rest[:, 0], rest[:, 1], s=size / 5, color="0.55", marker=marker, linewidths=0, zorder=3)
    colours = [looks[int(owner)][0] for owner in owners[coloured]]
    black: dict[str, Any] = {"edgecolors": "black", "linewidths": 0.6}
    order = 5 if kind == "category" else 4
    axes.scatter(own[:, 0], own[:, 1], s=shrink * size, c=colours, marker=marker, zorder=order, **black)
    axes.scatter([], [], s=size / 2, c="white", marker=marker, label=f"{kind} prototypes", **black)


def _check(features: Points, labels: Ints, prototypes: Mapping[str, tuple[Points, Ints]], classes: int) -> None:
    if features.ndim != 2 or min(features.shape) < 2 or len(features) != len(labels):
        raise FrostlineError(
            f"a map of features of shape {features.shape} with {len(labels)} labels; it needs (n, width) and (n,) with "
            "n and width of 2 or more."
        )
    for name, (points, owners) in {"feature": (features, labels), **prototypes}.items():
        if points.ndim != 2 or points.shape[1] != features.shape[1] or len(points) != len(owners):
            raise FrostlineError(
                f"{name} prototypes of shape {points.shape} with {len(owners)} classes; the map needs (m, "
                f"{features.shape[1]}) and (m,)."
            )
        if not np.isfinite(points).all():
            raise FrostlineError(f"the map: {name} points are not finite; leave them out or mend the backbone.")
        if len(owners) and not 0 <= owners.min() <= owners.max() < classes:
            raise FrostlineError(f"the map: {name} points of classes outside the {classes} class names.")
