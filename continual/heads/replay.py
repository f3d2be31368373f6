"""Replay: example prototypes that stand for a class once its samples are gone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from continual.heads.rows import class_means, copy_state, unit
from continual.heads.tuning import winning

Draw = Callable[[int, float, torch.Generator, Callable[[Tensor], Tensor]], tuple[Tensor, Tensor]]
_NAMES = ("points", "owners", "shares", "spreads")


class Bank:
    """Frozen example prototypes of all seen classes.

    Attributes:
        points: float32, shape (m, width), in feature space.
        owners: int64, shape (m,): column of the class of each.
        shares: float32, shape (m,): share of its class that each won; sums to 1 over a class.
        spreads: float32, shape (c,): root mean square distance, per dimension of the metric, of the samples of a
            class from the example that won them.
    """

    def __init__(self) -> None:
        self.points = torch.empty(0, 0)
        self.owners = torch.empty(0, dtype=torch.int64)
        self.shares = torch.empty(0)
        self.spreads = torch.empty(0)

    def add(self, fresh: Bank, fro: Callable[[Tensor], Tensor]) -> None:
        """Append ``fresh``, whose points lie in a metric; ``fro`` maps them back into feature space."""
        points = fro(fresh.points)
        self.points = torch.cat([self.points, points]) if len(self.owners) else points
        self.owners = torch.cat([self.owners, fresh.owners])
        self.shares = torch.cat([self.shares, fresh.shares])
        self.spreads = torch.cat([self.spreads, fresh.spreads])

    def sampler(self, balance: bool) -> Draw:
        """Return a function (count, noise, generator, to) that draws points in the metric, and their columns.

        Classes are drawn alike and within a class an example by its share (``balance``) or all alike; isotropic
        noise of ``noise`` times the spread of the class is added in the metric.
        """
        shares = self.shares if balance else 1 / torch.bincount(self.owners)[self.owners]
        bounds = shares.double().cumsum(0) / len(self.spreads)

        def draw(
            count: int, noise: float, generator: torch.Generator, to: Callable[[Tensor], Tensor]
        ) -> tuple[Tensor, Tensor]:
            chance = torch.rand(count, generator=generator, dtype=torch.float64)
            rows = torch.searchsorted(bounds, chance).clamp(max=len(bounds) - 1)
            columns = self.owners[rows]
            points = to(self.points[rows])
            if noise:
                spread = noise * self.spreads[columns][:, None]
                points = points + spread * torch.randn(points.shape, generator=generator)
            return points, columns

        return draw

    def state(self) -> dict[str, Tensor]:
        """Return all four tensors."""
        return copy_state({name: getattr(self, name) for name in _NAMES})

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore what ``state`` returned."""
        for name, tensor in copy_state(state).items():
            setattr(self, name, tensor)

    @property
    def stored_parameters(self) -> int:
        """Numbers kept; an owner counts as one."""
        return self.points.numel() + self.owners.numel() + self.shares.numel() + self.spreads.numel()


def first_examples(columns: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return int64 rows: up to ``count`` random samples of each class in ``columns``, classes in ascending order."""
    order = torch.randperm(len(columns), generator=generator)
    return torch.cat([order[columns[order] == column][:count] for column in torch.unique(columns).tolist()])


def condense(points: Tensor, columns: Tensor, examples: Tensor, owners: Tensor, settle: bool) -> Bank:
    """Return what is kept of the samples of one experience.

    Args:
        points: float32, shape (n, width), samples in the metric.
        columns: int64, shape (n,).
        examples: float32, shape (m, width), tuned, in the metric.
        owners: int64, shape (m,).
        settle: move each example to the mean of the samples it wins; one that wins none is given up.
    """
    _, winners = winning(unit(points), columns, unit(examples), owners)
    if settle:
        kept, winners = torch.unique(winners, return_inverse=True)
        owners = owners[kept]
        examples = class_means(points, winners, len(kept)).float()
    first = int(columns.min())
    sizes = torch.bincount(columns - first)
    bank = Bank()
    bank.points, bank.owners = examples, owners
    bank.shares = torch.bincount(winners, minlength=len(owners)) / sizes[owners - first]
    errors = (points - examples[winners]).double().square().mean(dim=1)
    totals = torch.zeros(len(sizes), dtype=torch.float64).index_add_(0, columns - first, errors)
    bank.spreads = (totals / sizes).sqrt().float()
    return bank
