"""What compressions to try, and how."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from backbones.core.errors import FrostlineError
from backbones.core.settings import Settings
from backbones.lifecycle.compress.grid import FEWEST, MOST, Granularity, Quantisation
from backbones.lifecycle.compress.packed import FULL
from backbones.lifecycle.compress.prune import check_sparsity
from backbones.lifecycle.compress.retrain import Way
from backbones.training.loop import Recipe


class Plan(Settings):
    """What to try, and how.

    Args:
        bits: of a weight: 2 to 8, or 32 for no grid.
        sparsity: shares of the weights of linear layers that become zero, each in [0, 1); tried in rising order, each
            going on from the one before, so that masks are nested.
        granularity: see ``Quantisation``; group, scales, rounding: likewise. Rounding is ``calibrated`` by default
            where there are samples.
        embeddings: put the tables of embeddings on the grid too.
        keep: shell patterns of paths of layers that stay as they are.
        rounds: of pruning and retraining for each sparsity.
        retrain: ``features`` (towards the dense ones, no labels needed), ``labels`` or ``none``.
        recipe: of a round of retraining.
        recover: steps, with the recipe's batch and rate, in which biases and norms learn the dense features after
            weights were put on a grid; these stay there.
    """

    bits: tuple[int, ...] = (8, 6, 4, 3)
    sparsity: tuple[float, ...] = (0.0,)
    granularity: Granularity = "channel"
    group: int = Field(64, ge=1)
    scales: str = "mse"
    rounding: str | None = None
    embeddings: bool = False
    keep: tuple[str, ...] = ()
    rounds: int = Field(2, ge=1)
    retrain: Way = "features"
    recipe: Recipe = Recipe(steps=100, batch=16, lr=2e-4)
    recover: int = Field(0, ge=0)

    @field_validator("bits")
    @classmethod
    def _known_bits(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        for value in values:
            if not (FEWEST <= value <= MOST or value == FULL):
                raise ValueError(
                    f"{value} bits: a grid has {FEWEST} to {MOST} bits, such as 8, 6, 4 or 3; {FULL} is for no grid"
                )
        return _some(values)

    @field_validator("sparsity")
    @classmethod
    def _known_sparsity(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        for value in values:
            try:
                check_sparsity(value)
            except FrostlineError as error:
                raise ValueError(str(error)) from None
        return _some(tuple(sorted(values)))

    def grid(self, bits: int, *, calibrated: bool) -> Quantisation:
        """Return the settings of one grid.

        Raises:
            FrostlineError: unknown scales or rounding.
        """
        rounding = self.rounding or ("calibrated" if calibrated else "nearest")
        return Quantisation.parse(
            {"bits": bits, "granularity": self.granularity, "group": self.group, "scales": self.scales,
             "rounding": rounding}, "quantisation",
        )  # fmt: skip


def _some(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("pass one value or more")
    return tuple(dict.fromkeys(values))
