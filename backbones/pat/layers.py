"""Choosing layers by words such as ``all``, ``6-11`` or ``0,2,4-5``."""

from __future__ import annotations

import re

from backbones.core.errors import FrostlineError


def pick_layers(words: str, depth: int) -> list[int]:
    """Return the chosen layers, ascending.

    Args:
        words: ``"all"``, or numbers and ranges (ends included) separated by commas.
        depth: number of layers.

    Raises:
        FrostlineError: not of that form, out of range, or a range that runs backwards.
    """
    if words.strip() == "all":
        return list(range(depth))
    chosen: set[int] = set()
    for part in words.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        if match is None:
            raise FrostlineError(
                f"layers {words!r}: {part!r} is neither a layer nor a range; write 6-11, 0,2,4 or all."
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last or last >= depth:
            raise FrostlineError(
                f"layers {words!r}: {part.strip()!r} does not fit; layers run from 0 to {depth - 1}, lower end first."
            )
        chosen.update(range(first, last + 1))
    return sorted(chosen)
