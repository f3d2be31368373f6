"""From a data set to a stream: class order, sizes of experiences, shots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from backbones.core.errors import FrostlineError, unknown
from backbones.core.seed import numpy_generator
from benchmarks.types import Dataset, Experience, LabelledSamples, Stream, Subset

__all__ = ["Protocol", "class_order", "experience_sizes", "make_stream"]

ORDERS = ("seed", "alphabetical")


@dataclass(frozen=True)
class Protocol:
    """How many classes come when.

    Attributes:
        name: such as ``"B50-Inc5"``.
        sizes: classes of each experience.
    """

    name: str
    sizes: tuple[int, ...]


def make_stream(
    dataset: Dataset,
    *,
    init_classes: int | None = None,
    increment: int | None = None,
    increments: Sequence[int] | None = None,
    order: str | Sequence[int] | Sequence[str] = "seed",
    seed: int = 1993,
    shots: int | None = None,
) -> Stream:
    """Divide a data set into experiences with disjoint classes.

    Labels stay what they are in the data set, indices into its ``class_names``; only the order of arrival changes. The
    rows of an experience are ascending, and its ``test`` holds the samples of its own classes alone.

    Args:
        dataset: training and test samples.
        init_classes: classes of the first experience; None or 0 = as many as ``increment``.
        increment: classes of each later experience; None = a tenth of the classes, rounded up. If the classes run out,
            the last experience is smaller, as in the code of peers.
        increments: the sizes of all experiences one by one, instead of the two above.
        order: ``"seed"``, ``"alphabetical"`` (by class name), or all classes in the order wanted, as indices or names.
        seed: seed of the class order and of the shots.
        shots: keep this many training samples of each class, drawn at random; None = all.

    Raises:
        FrostlineError: sizes that do not fit, an order that is no permutation, a class without samples or with fewer
            than ``shots``.
    """
    count = len(dataset.class_names)
    protocol = experience_sizes(count, init_classes, increment, increments)
    arrival = class_order(dataset.class_names, order, seed)
    train = _rows_by_class(dataset, dataset.train, "training")
    test = _rows_by_class(dataset, dataset.test, "test")
    if shots is not None:
        train = _few(dataset, train, shots, seed)
    bounds = np.cumsum([0, *protocol.sizes])
    experiences = tuple(
        _experience(dataset, index, arrival[start:stop], train, test)
        for index, (start, stop) in enumerate(pairwise(bounds))
    )
    few = f", {shots} shots" if shots is not None else ""
    return Stream(f"{dataset.name} {protocol.name}{few}", dataset.class_names, arrival, experiences)


def experience_sizes(
    classes: int,
    init_classes: int | None = None,
    increment: int | None = None,
    increments: Sequence[int] | None = None,
) -> Protocol:
    """Return the sizes of the experiences over ``classes`` classes (arguments as in ``make_stream``).

    Raises:
        FrostlineError: a size below 1 or above the number of classes, or a sum that is not that number.
    """
    if increments is not None:
        return _explicit(classes, init_classes, increment, increments)
    step = max(1, math.ceil(classes / 10)) if increment is None else increment
    if not 1 <= step <= classes:
        raise FrostlineError(f"increment = {step}: there are {classes} classes; give a number from 1 to {classes}.")
    begin = init_classes or 0
    if not 0 <= begin <= classes:
        raise FrostlineError(
            f"init_classes = {begin}: there are {classes} classes; give 0 (as the increment) to {classes}."
        )
    first = begin or step
    whole, rest = divmod(classes - first, step)
    return Protocol(f"B{begin}-Inc{step}", (first, *([step] * whole), *([rest] if rest else [])))


def _explicit(classes: int, init_classes: int | None, increment: int | None, increments: Sequence[int]) -> Protocol:
    sizes = tuple(int(size) for size in increments)
    shown = "-".join(map(str, sizes))
    if init_classes is not None or increment is not None:
        raise FrostlineError(
            f"increments = {list(sizes)} already says every size; leave init_classes and increment out."
        )
    if not sizes or min(sizes) < 1:
        raise FrostlineError(f"increments = {list(sizes)}: every experience needs at least 1 class.")
    if sum(sizes) != classes:
        raise FrostlineError(
            f"increments = {list(sizes)} add up to {sum(sizes)} but there are {classes} classes; "
            f"{'add' if sum(sizes) < classes else 'take away'} {abs(classes - sum(sizes))}."
        )
    return Protocol(shown, sizes)


def class_order(
    class_names: Sequence[str], order: str | Sequence[int] | Sequence[str] = "seed", seed: int = 1993
) -> tuple[int, ...]:
    """Return the order of arrival as indices into ``class_names``.

    ``"seed"`` is the permutation of numpy's legacy generator, ``RandomState(seed).permutation(n)``: with alphabetical
    class names and seed 1993 it is the order of LAMDA-PILOT and its relatives, which seed numpy's global generator and
    permute the classes (here the global generator is not touched).

    Raises:
        FrostlineError: an unknown word, a seed outside 0..2^32-1, an explicit order that is no permutation.
    """
    count = len(class_names)
    if isinstance(order, str):
        if order not in ORDERS:
            raise unknown("class order", order, ORDERS)
        if order == "alphabetical":
            return tuple(sorted(range(count), key=lambda index: class_names[index]))
        if not 0 <= seed < 2**32:
            raise FrostlineError(f"seed = {seed}: a class order needs a seed from 0 to {2**32 - 1}.")
        return tuple(int(index) for index in np.random.RandomState(seed).permutation(count))
    indices = [_index(item, class_names) for item in order]
    missing = [class_names[index] for index in range(count) if index not in set(indices)]
    if missing or len(indices) != count:
        again = sorted({class_names[index] for index in indices if indices.count(index) > 1})
        wrong = f"{missing[0]!r} is missing" if missing else f"{again[0]!r} comes twice"
        raise FrostlineError(
            f"the class order names {len(indices)} classes of {count}: {wrong}; every class must come exactly once."
        )
    return tuple(indices)


def _index(item: int | str, class_names: Sequence[str]) -> int:
    if isinstance(item, str):
        if item not in class_names:
            raise unknown("class", item, class_names)
        return class_names.index(item)
    if not 0 <= item < len(class_names):
        raise FrostlineError(f"class {item} of the order does not exist; indices run from 0 to {len(class_names) - 1}.")
    return int(item)


def _rows_by_class(dataset: Dataset, samples: LabelledSamples, kind: str) -> list[NDArray[np.int64]]:
    """Rows of each class, ascending; one stable sort however many classes there are."""
    labels, count = samples.labels, len(dataset.class_names)
    if len(labels) and not 0 <= labels.min() <= labels.max() < count:
        raise FrostlineError(
            f"{dataset.name}: {kind} labels run from {labels.min()} to {labels.max()} for {count} class names."
        )
    ordered = np.argsort(labels, kind="stable").astype(np.int64)
    sizes = np.bincount(labels, minlength=count)
    if (sizes == 0).any():
        name = dataset.class_names[int(np.flatnonzero(sizes == 0)[0])]
        raise FrostlineError(f"{dataset.name}: class {name!r} has no {kind} samples; add some or leave the class out.")
    return np.split(ordered, np.cumsum(sizes)[:-1])


def _few(dataset: Dataset, rows: list[NDArray[np.int64]], shots: int, seed: int) -> list[NDArray[np.int64]]:
    """Draw ``shots`` rows of each class; what a class gets depends on seed and class, not on the order of arrival."""
    if shots < 1:
        raise FrostlineError(f"shots = {shots}: keep at least 1 training sample of each class, or leave shots out.")
    for label, own in enumerate(rows):
        if len(own) < shots:
            raise FrostlineError(
                f"shots = {shots} but class {dataset.class_names[label]!r} of {dataset.name} has {len(own)} training "
                f"samples; the most that every class has is {min(map(len, rows))}."
            )
    return [np.sort(numpy_generator(seed, "shots", label).permutation(own)[:shots]) for label, own in enumerate(rows)]


def _experience(
    dataset: Dataset,
    index: int,
    classes: tuple[int, ...],
    train: list[NDArray[np.int64]],
    test: list[NDArray[np.int64]],
) -> Experience:
    def rows(of: list[NDArray[np.int64]]) -> NDArray[np.int64]:
        return np.sort(np.concatenate([of[label] for label in classes]))

    return Experience(index, classes, Subset(dataset.train, rows(train)), Subset(dataset.test, rows(test)))
