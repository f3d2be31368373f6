"""The time that a decoding may take."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Clock:
    """Counts seconds from when it is made.

    Args:
        limit: seconds; infinite for no limit.
    """

    limit: float
    start: float = field(default_factory=time.perf_counter)

    def spent(self) -> float:
        """Return the seconds since it was made."""
        return time.perf_counter() - self.start

    def left(self) -> float:
        """Return the seconds that are left, never negative."""
        return max(0.0, self.limit - self.spent())
