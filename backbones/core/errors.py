"""The one error a user meets: it names the value, the rule and the nearest right answer."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 80  # characters of a name that are quoted


class FrostlineError(Exception):
    """A mistake that the user can mend; command lines print it without a traceback and exit with code 2."""

    exit_code = 2


def nearest(value: str, options: Iterable[str], limit: int = 3) -> list[str]:
    """Return up to ``limit`` of ``options`` that read most like ``value``, best first."""
    names = sorted(set(options))
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(value.casefold(), list(folded), n=limit, cutoff=0.5)
    return [folded[name] for name in close]


def unknown(kind: str, value: str, options: Iterable[str]) -> FrostlineError:
    """Make the error for a name that nobody claimed: the value, its nearest names, then all of them."""
    names = sorted(set(options))
    value = value if len(value) <= LONGEST else value[:LONGEST] + "..."
    close = nearest(value, names)
    hint = f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
    return FrostlineError(f"unknown {kind} {value!r}.{hint} Known: {', '.join(names) or 'none'}.")
