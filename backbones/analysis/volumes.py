"""Learning curves over checkpoints: figures against what each has seen in pre-training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from backbones.analysis.logistic import LEAST, Logistic, fit_logistic
from backbones.core.errors import FrostlineError
from backbones.core.reading import read_json
from backbones.training.saving import FACTS

UNITS = ("words", "tokens", "images")


@dataclass(frozen=True)
class Curve:
    """One figure over several checkpoints.

    Args:
        name: of the figure.
        x: what each checkpoint has seen, ascending.
        y: the figure of each.
        fit: None where there is none.
        reason: why there is none, else ``""``.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    fit: Logistic | None
    reason: str

    @property
    def monotone(self) -> bool:
        """Whether the figure never turns round."""
        steps = [after - before for before, after in pairwise(self.y)]
        return all(step >= 0 for step in steps) or all(step <= 0 for step in steps)

    def summary(self) -> dict[str, Any]:
        """Return everything as plain values."""
        fit = self.fit.described() if self.fit is not None else None
        return {"x": list(self.x), "y": list(self.y), "monotone": self.monotone, "fit": fit, "no fit": self.reason}


def read_volume(model: str) -> tuple[float, str] | None:
    """Return (how much a checkpoint has seen, its unit) from the ``frostline.json`` of its folder; None without one.

    Raises:
        FrostlineError: a file that is not JSON.
    """
    path = Path(model) / FACTS
    if not path.is_file():
        return None
    try:
        facts = read_json(path)
    except (OSError, ValueError) as error:
        raise FrostlineError(f"{path} is not readable JSON ({error}); pass what was seen with --volumes.") from error
    for unit in UNITS:
        value = facts.get(unit) if isinstance(facts, dict) else None
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 and math.isfinite(value):
            return float(value), unit
    return None


def parse_volumes(text: str, models: int) -> list[float]:
    """Return volumes from ``"1e5,3e5"``.

    Raises:
        FrostlineError: a word that is no number above 0, or another number of them than of models.
    """
    found = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise FrostlineError(f"volume {word!r} is not a number above 0; pass such as 1e5,3e5,1e6,3e6.")
        found.append(value)
    if len(found) != models:
        raise FrostlineError(f"{len(found)} volumes are given for {models} models; pass one for each, in their order.")
    return found


def learning_curve(name: str, x: Sequence[float], y: Sequence[float]) -> Curve:
    """Return a figure over volumes, with a logistic fit where there are enough points; a reason where there is none."""
    pairs = sorted(zip(map(float, x), map(float, y), strict=True))
    first, second = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
    fit, reason = None, ""
    shown = [(a, b) for a, b in pairs if a > 0]  # a model before training has no place on a logarithmic axis
    try:
        fit = fit_logistic([a for a, _ in shown], [b for _, b in shown])
    except FrostlineError as error:
        reason = str(error)
    return Curve(name, first, second, fit, reason)


def learning_curves(x: Sequence[float], figures: Mapping[str, Sequence[float]]) -> list[Curve]:
    """Return the curve of each figure, see ``learning_curve``."""
    return [learning_curve(name, x, y) for name, y in figures.items()]


def enough(x: Sequence[float]) -> bool:
    """Return whether a curve over these volumes can be fitted."""
    return len({value for value in x if value > 0}) >= LEAST
