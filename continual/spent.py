"""What an unfinished step has cost, kept beside the checkpoints: a killed attempt is neither lost nor doubled."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backbones.core.artifacts import write_json
from backbones.core.errors import FrostlineError

SAVED_EVERY = 5.0  # seconds of work that a kill can leave uncounted


def ignore(_forwards: float) -> None:
    """Count nothing."""


@dataclass
class Spent:
    """The cost of one step over all its attempts.

    The forward passes of a piece of work are written down before it begins: what a killed attempt left in the feature
    store was paid for in this step all the same.

    Attributes:
        path: file that holds them, None for none.
        seconds: phase -> wall seconds.
        forwards: piece of work -> samples sent through the whole backbone.
        notes: what earlier attempts had to say.
        current: returns what this attempt had to say so far.
    """

    path: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    forwards: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    current: Callable[[], list[str]] = list
    _begun: dict[str, float] = field(default_factory=dict)
    _asked: dict[str, int] = field(default_factory=dict)
    _saved: float = field(default_factory=time.monotonic)

    @classmethod
    def read(cls, path: Path) -> Spent:
        """Return what earlier attempts left at ``path``; nothing where there is no file, or one that cannot be read."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, dict(held["seconds"]), dict(held["forwards"]), list(held["notes"]))
        return cls(path)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the wall seconds inside to ``phase``."""
        self._begun[phase] = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self._so_far()[phase]
            del self._begun[phase]

    def planned(self, work: str) -> Callable[[float], None]:
        """Return what is to be told the forward passes of ``work`` before they are made."""

        def tell(forwards: float) -> None:
            self._asked[work] = self._asked.get(work, 0) + 1
            name = f"{work}, {self._asked[work]}"
            if name not in self.forwards:
                self.forwards[name] = forwards
                if forwards:
                    self.save()

        return tell

    def said(self) -> list[str]:
        """Return what all attempts had to say, each thing once."""
        return list(dict.fromkeys([*self.notes, *self.current()]))

    def tick(self) -> None:
        """Save now and then."""
        if time.monotonic() - self._saved > SAVED_EVERY:
            self.save()

    def save(self) -> None:
        """Write the file; a disk that refuses costs figures of cost, not the run."""
        self._saved = time.monotonic()
        if self.path is not None:
            with suppress(FrostlineError):
                write_json(self.path, {"seconds": self._so_far(), "forwards": self.forwards, "notes": self.said()})

    def _so_far(self) -> dict[str, float]:
        now, found = time.perf_counter(), dict(self.seconds)
        for phase, began in self._begun.items():
            found[phase] = found.get(phase, 0.0) + now - began
        return found


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
