"""The checkpoint of a training: weights, the optimizer's state and the curve, as one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backbones.core.artifacts import load_checked, save_checked
from backbones.core.errors import FrostlineError
from backbones.core.reading import parse_json
from backbones.training import ranks

FORMAT = "frostline training 1"


class Kept:
    """Saves and restores the state of a training.

    Args:
        path: the file, None to keep nothing.
        params: what is trained, by name.
        optimizer: whose state is kept.
        run: what must be the same when a run goes on.
    """

    def __init__(
        self,
        path: Path | None,
        params: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        run: Mapping[str, Any],
    ) -> None:
        self.path = path
        self.params = params
        self.optimizer = optimizer
        self.run = json.loads(json.dumps(run))
        self.since: tuple[int, dict[str, float]] = (0, {})  # steps since the last entry of the curve, sums of losses

    def save(self, steps: int, seconds: float, history: list[dict[str, float]]) -> None:
        """Write the state after ``steps``; the first of several processes does it."""
        if self.path is None or ranks.rank() > 0:
            return
        found: dict[str, Tensor] = {f"weight.{name}": param for name, param in self.params.items()}
        for name, param in self.params.items():
            state = self.optimizer.state.get(param, {})
            found |= {f"state.{key}.{name}": torch.as_tensor(value) for key, value in state.items()}
        course = {"steps": steps, "seconds": seconds, "history": history, "since": self.since}
        save_checked(self.path, found, {"format": FORMAT, "run": json.dumps(self.run), "course": json.dumps(course)})

    def load(self) -> tuple[int, float, list[dict[str, float]]]:
        """Restore the state if there is one; returns steps, seconds and history (0, 0 and none if not).

        Raises:
            FrostlineError: the file is none of ours, or of a run with other settings, data or weights.
        """
        if self.path is None or not self.path.exists():
            return 0, 0.0, []
        tensors, facts = load_checked(self.path)
        if facts.get("format") != FORMAT:
            raise FrostlineError(f"{self.path} is no checkpoint of a training; move it away, or pass another folder.")
        self._check(parse_json(facts["run"]), tensors)
        with torch.no_grad():
            for name, param in self.params.items():
                param.copy_(tensors[f"weight.{name}"])
        for name, param in self.params.items():
            mine = {
                key.split(".", 2)[1]: value
                for key, value in tensors.items()
                if key.startswith("state.") and key.split(".", 2)[2] == name
            }
            if mine:
                place = {k: v if k == "step" else v.to(param.device) for k, v in mine.items()}
                self.optimizer.state[param] = place
        course = parse_json(facts["course"])
        count, sums = course.get("since", (0, {}))
        self.since = (int(count), dict(sums))
        return int(course["steps"]), float(course["seconds"]), list(course["history"])

    def _check(self, run: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        for key, value in _flat(self.run).items():
            held = _flat(run).get(key)
            if held != value:
                raise FrostlineError(
                    f"{self.path} is of a run with {key} = {held!r}, but this one has {value!r}; pass the same "
                    "settings to go on, or another folder to begin anew."
                )
        for name, param in self.params.items():
            held_tensor = tensors.get(f"weight.{name}")
            if held_tensor is None or held_tensor.shape != param.shape:
                shape = None if held_tensor is None else tuple(held_tensor.shape)
                raise FrostlineError(
                    f"{self.path} is of another model: {name} has shape {tuple(param.shape)} here and {shape} there. "
                    "Pass the same model to go on, or another folder to begin anew."
                )

    def remove(self) -> None:
        """Remove the file: the run is done."""
        if self.path is not None and ranks.rank() == 0:
            self.path.unlink(missing_ok=True)


def _flat(values: Mapping[str, Any], lead: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{lead}{key}.") if isinstance(value, Mapping) else {f"{lead}{key}": value}
    return found
