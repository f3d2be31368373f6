"""Minimum description length: how many bits labels take to send to someone who has the features.

Voita and Titov, "Information-Theoretic Probing with Minimum Description Length", EMNLP 2020, arXiv 2003.12298 (the
online code).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.analysis.probes import fit_probe
from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.core.seed import numpy_generator

PORTIONS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.25, 12.5, 25.0, 50.0, 100.0)  # per cent of the rows
STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # of the penalty of a probe, tried while the portions are small
TRIED = 12.5  # per cent of the rows up to which every strength is fitted; after that, the best and its neighbours

Bits = Callable[[Tensor], Tensor]  # features -> code length of each class in bits, float64, shape (n, classes)
Learner = Callable[[Tensor, NDArray[np.int64], int], Bits]  # features, labels, classes -> Bits


@dataclass(frozen=True)
class Portion:
    """One message of the code.

    Args:
        known: rows that sender and receiver have when it is sent.
        rows: how many it sends.
        bits: its length.
        classes: how many classes the known rows have.
    """

    known: int
    rows: int
    bits: float
    classes: int


@dataclass(frozen=True)
class Code:
    """An online code of all labels.

    Args:
        classes: K.
        portions: the messages; the first is sent without a probe, at log2 K bits a label.
        bits: length of all of them.
        strength: penalty of the probe that did best on the last portion; None with a learner of the caller's.
        notes: what is out of the ordinary, such as portions without rows.
    """

    classes: int
    portions: tuple[Portion, ...]
    bits: float
    strength: float | None
    notes: tuple[str, ...]

    @property
    def rows(self) -> int:
        """How many labels were sent."""
        return sum(portion.rows for portion in self.portions)

    @property
    def uniform_bits(self) -> float:
        """Length without features: n log2 K."""
        return self.rows * math.log2(self.classes)

    @property
    def compression(self) -> float:
        """Uniform length divided by this one; 1 means that the features tell nothing."""
        return self.uniform_bits / self.bits if self.bits else math.inf

    @property
    def kbit(self) -> float:
        """Length in thousands of bits."""
        return self.bits / 1000


def bounds_of(rows: int, portions: Sequence[float] = PORTIONS) -> list[int]:
    """Return how many rows are known after each portion: rising or equal, the last is ``rows``."""
    return [round(rows * share / 100) for share in portions]


def online_code(
    features: Tensor,
    labels: NDArray[np.int64],
    classes: int,
    *,
    learner: Learner | None = None,
    seed: int = 0,
    progress: Progress = silent,
    phase: str = "online code",
) -> Code:
    """Return the online code of labels given features: L = t1 log2 K - sum_i log2 p_i(labels of portion i + 1).

    Rows are put into a random order. The first t1 labels cost log2 K bits each; then a probe is trained on what is
    known and sends the next portion, and so on (portions end at ``PORTIONS`` per cent). Every probe gives all K classes
    a probability, those too that it has not met; what is known of nothing costs log2 K a label. Features are no secret:
    those of all rows standardise them.

    Without ``learner``, probes are multinomial logistic regressions, see ``fit_probe``; the strength of their penalty
    is, at every portion, the one whose probe did best on the portion before, so that the receiver can follow.

    Args:
        features: float32, shape (n, layers, width) or (n, width).
        labels: int64, shape (n,), from 0 to classes - 1.
        classes: K.
        learner: makes a probe from what is known.
        seed: of the order.
        progress: told (phase, portions done, portions in all).
        phase: what to call the work.

    Raises:
        FrostlineError: no rows, or fewer than two classes: their labels take no bits at all.
    """
    if classes < 2 or not len(labels):
        raise FrostlineError(
            f"{len(labels)} labels of {classes} classes cannot be coded; pass one or more labels of two or more."
        )
    order = numpy_generator(seed, "portions").permutation(len(labels))
    rows, wanted = features[torch.from_numpy(order)], labels[order]
    ends = bounds_of(len(labels))
    uniform = math.log2(classes)
    costs = [uniform] * ends[0]
    sent = [Portion(0, ends[0], ends[0] * uniform, 0)]
    chooser = _Chooser() if learner is None else None
    for number, (known, end) in enumerate(pairwise(ends), start=1):
        progress(phase, number - 1, len(ends) - 1)
        if known == end:
            continue
        mine: list[float]
        if not known:
            mine = [uniform] * (end - known)
        else:
            probes = _learn(rows, wanted[:known], classes, learner, chooser, known <= ends[-1] * TRIED / 100)
            mine = _choose(probes, rows[known:end], wanted[known:end], chooser)
        costs += mine
        sent.append(Portion(known, end - known, math.fsum(mine), len(np.unique(wanted[:known]))))
    progress(phase, len(ends) - 1, len(ends) - 1)
    # fsum rounds once: a probe that knows nothing costs n log2 K to the last bit.
    notes = _notes(ends, sent, classes)
    return Code(classes, tuple(sent), math.fsum(costs), chooser.best if chooser is not None else None, notes)


class _Chooser:
    """Which strength did best on the portion that was sent last; what did well on few rows may not do so on many."""

    def __init__(self) -> None:
        self.best = 1.0

    def tried(self, everything: bool) -> tuple[float, ...]:
        place = STRENGTHS.index(self.best)
        return STRENGTHS if everything else STRENGTHS[max(0, place - 1) : place + 2]

    def learn(self, spent: dict[float, float]) -> None:
        """Take in how many bits the portion took with each strength; of equals, the one nearest to the last is kept."""
        self.best = min(spent, key=lambda strength: (spent[strength], abs(math.log10(strength / self.best))))


def _learn(
    rows: Tensor,
    labels: NDArray[np.int64],
    classes: int,
    learner: Learner | None,
    chooser: _Chooser | None,
    everything: bool,
) -> dict[float, Bits]:
    """Return probes by the strength of their penalty; a learner of the caller's has one, 0.

    ``rows`` are all rows, of which the first have the ``labels``: their features are no secret of the sender.
    """
    if chooser is None:
        assert learner is not None
        return {0.0: learner(rows[: len(labels)], labels, classes)}
    return {strength: _regression(rows, labels, classes, strength) for strength in chooser.tried(everything)}


def _regression(rows: Tensor, labels: NDArray[np.int64], classes: int, strength: float) -> Bits:
    probe = fit_probe(rows[: len(labels)], labels, classes, l2=strength, like=rows)

    def bits(features: Tensor) -> Tensor:
        return probe.log_probabilities(features if features.dim() == 3 else features[:, None]).double() / -math.log(2)

    return bits


def _choose(
    probes: dict[float, Bits], rows: Tensor, labels: NDArray[np.int64], chooser: _Chooser | None
) -> list[float]:
    """Return the bits of each label by the probe that is best so far, and remember how all of them did."""
    places = torch.from_numpy(labels)[:, None]
    costs = {strength: bits(rows).gather(1, places)[:, 0].tolist() for strength, bits in probes.items()}
    if chooser is None:
        return costs[0.0]
    used = costs[chooser.best]
    chooser.learn({strength: math.fsum(mine) for strength, mine in costs.items()})
    return used


def _notes(ends: list[int], sent: list[Portion], classes: int) -> tuple[str, ...]:
    notes = []
    empty = len(ends) - sum(1 for portion in sent if portion.rows)
    if empty:
        notes.append(f"{empty} of {len(ends)} portions have no rows: there are only {ends[-1]}")
    if ends[0] == 0:
        first = next(portion.rows for portion in sent if portion.rows)
        notes.append(f"nothing is known before the first portion, whose {first} labels cost log2 K bits each")
    lacking = [portion for portion in sent[1:] if portion.known and portion.classes < classes]
    if lacking:
        notes.append(
            f"{len(lacking)} probes were trained without some of the {classes} classes "
            f"(the largest on {lacking[-1].known} rows of {lacking[-1].classes}); they give them a probability all the "
            "same"
        )
    return tuple(notes)
