"""Where differences come from: our files, files of the published library, trained deltas and folders of runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from backbones.base import Backbone
from backbones.compose.adding import SHOWN
from backbones.compose.difference import Difference, difference_of
from backbones.compose.files import read_difference
from backbones.compose.legacy import LEGACY_NAME, SUFFIXES, read_legacy
from backbones.core.errors import FrostlineError
from backbones.core.reading import read_json
from backbones.deltas import FACTS, Facts, find_delta, load_delta


def read_any(path: Path | str, backbone: Backbone) -> Difference:
    """Read a difference from anything that holds one.

    Args:
        path: a ``.safetensors`` file of a difference; a file of the published library (``.bin``, ``.pt``, ``.pth``) or
            a folder with its ``pytorch_diff.bin``; a folder of a trained delta or of a run, see ``load_delta``.
        backbone: the base, with nothing on it.

    Raises:
        FrostlineError: missing, damaged, of no known format, a delta that cannot be folded into weights, or one that
            was trained on another base.
    """
    path = Path(path)
    if not path.exists():
        raise FrostlineError(f"{path} does not exist; pass a file of differences or the folder of a run.")
    if path.is_file():
        return read_legacy(path, backbone.frozen_state()) if path.suffix in SUFFIXES else read_difference(path)
    if (path / LEGACY_NAME).is_file():
        return read_legacy(path / LEGACY_NAME, backbone.frozen_state())
    return _of_folder(path, backbone)


def _of_folder(path: Path, backbone: Backbone) -> Difference:
    facts = find_delta(path) / FACTS
    if facts.exists():
        stated = Facts.parse(read_json(facts), str(facts))
        now = backbone.fingerprint()
        if stated.fingerprint != now:
            raise FrostlineError(
                f"{path} was trained on another base: {stated.base} with fingerprint {stated.fingerprint[:SHOWN]}; "
                f"backbone {backbone.name!r} has fingerprint {now[:SHOWN]}. Pass the base that it was trained on."
            )
    delta = load_delta(path, backbone)
    try:
        found = difference_of(delta, str(path))
    finally:
        delta.detach()
    return replace(found, notes=(*found.notes, *delta.notes))
