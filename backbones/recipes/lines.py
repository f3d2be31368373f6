"""Progress of a training script: lines for a log."""

from __future__ import annotations

import sys
import time


class Lines:
    """A Progress that writes a line to standard error, at most one every ``every`` seconds, and one at the end."""

    def __init__(self, every: float = 10.0) -> None:
        self.every = every
        self.began: dict[str, float] = {}
        self.told = 0.0

    def __call__(self, phase: str, done: int, total: int) -> None:
        now = time.monotonic()
        began = self.began.setdefault(phase, now)
        if now - self.told >= self.every or done == total:
            self.told = now
            sys.stderr.write(f"{phase} {done}/{total} {now - began:.0f} s\n")
