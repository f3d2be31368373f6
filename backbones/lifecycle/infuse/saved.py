"""An infused model as a folder: the delta beside the name of its base."""

from __future__ import annotations

from pathlib import Path

from backbones.base import Backbone
from backbones.catalog import LoadOptions, load_backbone
from backbones.core.errors import FrostlineError
from backbones.core.reading import read_json
from backbones.delta import Delta
from backbones.deltas import FACTS, Facts, find_delta, load_delta


def open_infused(folder: Path | str, base: str | None = None, device: str = "cpu") -> tuple[Backbone, Delta]:
    """Load an infused model: its base, with the side network on it.

    Args:
        folder: written by ``backbone infuse train``, or by ``save_delta``.
        base: name of the base; None for the one that the folder names.
        device: where both are put.

    Raises:
        FrostlineError: no delta there, one that names no base, or a base that cannot be loaded.
    """
    folder = Path(folder)
    place = find_delta(folder)
    if base is None:
        if not (place / FACTS).exists():
            raise FrostlineError(f"{place} does not say what it was trained on; name it with --base.")
        values = read_json(place / FACTS)
        base = Facts.parse(values, str(place / FACTS)).base
    backbone = load_backbone(base, LoadOptions(device=device))
    return backbone, load_delta(place, backbone)
