"""The folder of a pre-training: what it began with, its state, its checkpoints and its result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backbones.core.artifacts import write_json
from backbones.core.errors import FrostlineError, nearest
from backbones.core.reading import read_json
from backbones.training import ranks
from backbones.training.saving import FACTS

NOTE = "settings.json"


class Workplace:
    """``OUT`` with ``settings.json``, ``state.safetensors``, ``checkpoints/step-N``, ``model`` and the page.

    Args:
        out: the folder.
        settings: JSON values that decide the run; they must be the same when it goes on.
        resume: go on with a run that was stopped; without it, ``out`` must not exist.

    Raises:
        FrostlineError: ``out`` exists, or holds no run, a finished one or one of other settings.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], *, resume: bool = False) -> None:
        self.out = out
        self.state = out / "state.safetensors"
        self.model = out / "model"
        self._fresh = not resume
        if ranks.rank() > 0:  # the first process speaks for all
            return
        if resume:
            self._check_resumable()
        elif out.exists():
            more = ", or go on with the run in it (--resume)" if (out / NOTE).is_file() else ""
            raise FrostlineError(f"{out} exists already; pass a folder that does not, or remove it{more}.")
        self.agree("settings", settings)

    def _check_resumable(self) -> None:
        if not (self.out / NOTE).is_file():
            beside = [path.parent for path in self.out.parent.glob(f"*/{NOTE}")] if self.out.parent.is_dir() else []
            close = nearest(self.out.name, [path.name for path in beside])
            hint = f" Did you mean {self.out.parent / close[0]}?" if close else ""
            raise FrostlineError(f"{self.out} holds no pre-training to go on with; leave --resume out.{hint}")
        if self.model.exists():
            raise FrostlineError(f"the pre-training in {self.out} is done: its result is {self.model}.")

    def agree(self, part: str, values: Mapping[str, Any]) -> None:
        """Note ``values`` under ``part``, or compare them with those of the run that goes on.

        Raises:
            FrostlineError: names the first value that is another.
        """
        if ranks.rank() > 0:
            return
        note = self.out / NOTE
        held: dict[str, Any] = read_json(note) if note.is_file() else {}
        wanted = json.loads(json.dumps(values))
        if part not in held:
            write_json(note, {**held, part: wanted})
            return
        for key in {**held[part], **wanted}:
            before, now = held[part].get(key), wanted.get(key)
            if before != now:
                raise FrostlineError(
                    f"{self.out} was begun with {key} = {before!r}, but now {key} is {now!r}; go on with the same "
                    f"{part}, or begin anew in another folder (--out)."
                )

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Remove the folder again if what is done meanwhile fails, so that the same command can be given mended."""
        try:
            yield
        except BaseException:
            if self._fresh and ranks.rank() == 0:
                shutil.rmtree(self.out, ignore_errors=True)
            raise

    def checkpoint(self, step: int) -> Path:
        """Return the folder of the model after ``step``."""
        return self.out / "checkpoints" / f"step-{step}"

    def figures(self, step: int) -> dict[str, Any]:
        """Return what the checkpoint after ``step`` says of itself."""
        found: dict[str, Any] = read_json(self.checkpoint(step) / FACTS)
        return found
