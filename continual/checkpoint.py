"""Checkpoints: the state after every experience and every epoch of tuning, checked when read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from backbones.core.artifacts import load_checked, save_checked
from backbones.core.errors import FrostlineError
from backbones.core.reading import parse_json
from continual.engine import Engine, Step
from continual.spent import Spent

if TYPE_CHECKING:
    from continual.training import Saver

KEPT = 2


def _save(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    save_checked(path, tensors, {"facts": json.dumps(facts)})


def _load(path: Path, advice: str, run: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        tensors, metadata = load_checked(path)
        facts = parse_json(metadata["facts"])
    except (FrostlineError, KeyError, ValueError) as error:
        raise FrostlineError(f"the checkpoint {path} is corrupt ({error}). {advice}") from error
    if facts.get("run", run) != run:  # those of before do not say
        raise FrostlineError(f"the checkpoint {path} is of another run, seed, data or weights. {advice}")
    return tensors, facts


@dataclass
class EpochSaver:
    """Keeps the unfinished training of a delta in one file."""

    path: Path
    run: str = ""

    def save(self, epoch: int, state: dict[str, Tensor]) -> None:
        """Write the state after ``epoch`` epochs."""
        _save(self.path, state, {"epoch": epoch, "run": self.run})

    def load(self) -> tuple[int, dict[str, Tensor]] | None:
        """Return (epochs done, state), None if there is none; raises FrostlineError for a corrupt file."""
        if not self.path.exists():
            return None
        tensors, facts = _load(self.path, "Delete it: --resume then trains this experience from its start.", self.run)
        return int(facts["epoch"]), tensors


class Checkpoints:
    """The checkpoints of one run (one seed) in a folder; the last two are kept.

    Args:
        folder: where.
        run: what the checkpoints belong to, in any words; files of another run are refused.
    """

    def __init__(self, folder: Path, run: str = "") -> None:
        self.folder = folder
        self.run = run

    def saver(self, index: int) -> Saver:
        """Return what keeps the training on experience ``index``."""
        return EpochSaver(self.folder / f"tuning-{index:03d}.safetensors", self.run)

    def spent(self, index: int) -> Spent:
        """Return what earlier attempts at experience ``index`` have cost."""
        return Spent.read(self._cost(index))

    def keep(self, engine: Engine, step: Step) -> None:
        """Write the state after ``step`` and remove what it makes needless."""
        tensors = {f"delta.{name}": value for name, value in engine.delta.state_dict().items()}
        for name, head in engine.heads.items():
            tensors |= {f"heads.{name}.{key}": value for key, value in head.state().items()}
        predictions = {name: torch.from_numpy(row) for name, row in step.predictions.items()}
        _save(self._predictions(step.index), predictions, {"run": self.run})
        steps = [*self._facts(step.index), {k: v for k, v in asdict(step).items() if k != "predictions"}]
        _save(self._path(step.index), tensors, {"steps": steps, "run": self.run})
        old = self._all()[:-KEPT]
        costs = [self._cost(int(path.stem.removeprefix("step-"))) for path in old]
        for path in [*old, *costs, self.folder / f"tuning-{step.index:03d}.safetensors"]:
            path.unlink(missing_ok=True)

    def restore(self, engine: Engine) -> list[Step]:
        """Put an engine where the last checkpoint left it and return the steps done; none if there is no checkpoint.

        Raises:
            FrostlineError: the checkpoint is corrupt; the message says how to go on from the one before.
        """
        files = self._all()
        if not files:
            return []
        before = f"from {files[-2].name}" if len(files) > 1 else "from the start"
        tensors, facts = _load(files[-1], f"Delete it: --resume then goes on {before}.", self.run)
        engine.delta.load_state_dict(_under(tensors, "delta."))
        for name, head in engine.heads.items():
            head.load_state(_under(tensors, f"heads.{name}."))
        steps = []
        for number, values in enumerate(facts["steps"]):
            kept, _ = _load(self._predictions(number), "Delete all checkpoints: --resume then starts again.", self.run)
            predictions = {name: row.numpy() for name, row in kept.items()}
            engine.predictions.append(predictions)
            steps.append(Step(**{**values, "classes": tuple(values["classes"]), "predictions": predictions}))
        engine.done = len(steps)
        return steps

    def _facts(self, index: int) -> list[dict[str, Any]]:
        if index == 0:
            return []
        _, facts = _load(self._path(index - 1), "Delete it and --resume.", self.run)
        steps: list[dict[str, Any]] = facts["steps"]
        return steps

    def _predictions(self, index: int) -> Path:
        return self.folder / f"predictions-{index:03d}.safetensors"

    def _cost(self, index: int) -> Path:
        return self.folder / f"cost-{index:03d}.json"

    def _path(self, index: int) -> Path:
        return self.folder / f"step-{index:03d}.safetensors"

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.safetensors"))


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
