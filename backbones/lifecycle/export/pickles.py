"""What torch would unpickle in a .pt2 file, found out before torch reads it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from backbones.core.errors import FrostlineError
from backbones.core.reading import check_regular, parse_json

CONFIGS = ("_weights_config.json", "_constants_config.json")
ARGUMENTS = "/sample_inputs/"


def refuse_pickles(path: Path) -> None:
    """Raise FrostlineError if loading a .pt2 file would unpickle anything but plain tensors.

    ``torch.export.load`` unpickles weights and constants that the file marks so, objects of other kinds, and the
    example arguments. Here the first two are refused, and the arguments must be plain tensors.

    Raises:
        FrostlineError: no such file, no archive, or one that holds pickles.
    """
    try:
        check_regular(path)
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            found = [name for name in names if name.endswith(CONFIGS) and _marked(parse_json(archive.read(name)))]
            found += [name for name in names if name.endswith(".pt") and ARGUMENTS not in name]
            for name in names:
                if ARGUMENTS in name and not _plain(archive.read(name)):
                    found.append(name)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise FrostlineError(f"{path} cannot be loaded ({error}); export it again.") from error
    if found:
        raise FrostlineError(
            f"{path} holds pickled objects ({', '.join(found[:3])}), which could run any code: it is not loaded. "
            "Export the backbone again with backbone export."
        )


def _marked(config: dict[str, Any]) -> bool:
    """Tell whether any payload of a configuration is pickled, or is no tensor at all."""
    payloads = config.get("config", {})
    return any(entry.get("use_pickle") is not False or not entry.get("tensor_meta") for entry in payloads.values())


def _plain(content: bytes) -> bool:
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception:  # whatever a stranger's bytes make of it
        return False
    return True
