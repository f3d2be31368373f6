"""Stages that are done, kept beside the checkpoint of the one under way: an interrupted distillation goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from backbones.core.artifacts import load_checked, save_checked
from backbones.core.errors import FrostlineError
from backbones.core.reading import parse_json
from backbones.training.loop import Course

FORMAT = "frostline stage 1"


class Stages:
    """Runs each stage once.

    Args:
        folder: where the outcome of a stage is kept, None to keep nothing.
        run: JSON values that must be the same when a run goes on.
    """

    def __init__(self, folder: Path | None, run: Mapping[str, Any]) -> None:
        self.folder = folder
        self.run = json.dumps(run, sort_keys=True)

    def once(self, stage: str, modules: Mapping[str, nn.Module], work: Callable[[Path | None], Course]) -> Course:
        """Do ``work``, which trains ``modules`` in place, or restore what it made of them.

        Args:
            stage: its name.
            modules: what the stage changes, by names of their own.
            work: maps the file of a checkpoint to how the training went.

        Raises:
            FrostlineError: what is kept is of a run with other settings, data or models.
        """
        if self.folder is None:
            return work(None)
        done = self.folder / f"{stage}.done.safetensors"
        if done.exists():
            return self._restore(done, modules)
        course = work(self.folder / f"{stage}.safetensors")
        state = {
            f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()
        }
        facts = {"format": FORMAT, "run": self.run, "course": json.dumps(asdict(course))}
        save_checked(done, state, facts)
        (self.folder / f"{stage}.safetensors").unlink(missing_ok=True)
        return course

    def _restore(self, done: Path, modules: Mapping[str, nn.Module]) -> Course:
        tensors, facts = load_checked(done)
        if facts.get("format") != FORMAT or facts.get("run") != self.run:
            raise FrostlineError(
                f"{done} is of a distillation with other settings, data or models; pass the same to go on, or another "
                "folder to begin anew."
            )
        for name, module in modules.items():
            part = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
            module.load_state_dict(part)
        return Course(**parse_json(facts["course"]))
