"""Where things are kept that can be fetched or computed again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return ``$FROSTLINE_HOME``, else ``frostline`` in the user's cache folder; nothing is created."""
    home = os.environ.get("FROSTLINE_HOME")
    if home:
        return Path(home).expanduser()
    base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "frostline"
