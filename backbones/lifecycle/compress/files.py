"""The folder of a compressed backbone: packed weights beside the configuration of the plain one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from backbones.base import Backbone
from backbones.catalog import load_backbone
from backbones.core.artifacts import digest_tensors, load_tensors, save_tensors, write_bytes, write_json
from backbones.core.errors import FrostlineError
from backbones.core.reading import read_json
from backbones.lifecycle.compress.packed import Entry, Packed, unpack_weights

FORMAT = "frostline packed 1"
PACKED, CONFIG, PLAIN = "packed.safetensors", "packed.json", "model.safetensors"


def write_packed(packed: Packed, model: Path, folder: Path, facts: Mapping[str, Any]) -> int:
    """Write the packed weights of a backbone that lies in ``model`` as plain ones; returns the bytes of the file.

    The folder is loaded again and compared with the plain one, bit for bit.

    Args:
        packed: its weights.
        model: folder made by ``save_backbone``; all but its weights is copied.
        folder: to make.
        facts: JSON values to keep beside.

    Raises:
        FrostlineError: what is read back is not what the plain folder holds.
    """
    content = packed.file()
    write_bytes(folder / PACKED, content)
    with safe_open(str(model / PLAIN), framework="pt") as plain:
        outline = {name: _outline(plain.get_slice(name)) for name in plain.keys()}  # noqa: SIM118 (not a dict)
    weights = {name: entry.model_dump(mode="json") for name, entry in packed.entries.items()}
    write_json(folder / CONFIG, {"format": FORMAT, **facts, "weights": weights, "outline": outline})
    for path in sorted(model.iterdir()):
        if path.name != PLAIN:
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, folder / path.name)
    before, after = load_backbone(str(model)).frozen_state(), load_packed(folder).frozen_state()
    if digest_tensors(before) != digest_tensors(after):
        shutil.rmtree(folder)
        raise FrostlineError(f"{folder} does not give back the weights of {model}; nothing was kept of it.")
    return len(content)


def _outline(part: Any) -> list[Any]:
    return [list(part.get_shape()), part.get_dtype()]


def load_packed(folder: Path | str) -> Backbone:
    """Load a packed folder as a backbone whose weights are codes times scales, bit for bit those of the plain one.

    Raises:
        FrostlineError: no such folder, or one that is damaged.
    """
    folder = Path(folder)
    weights, outline = _read(folder)
    with tempfile.TemporaryDirectory(prefix="frostline-packed-") as place:
        temporary = Path(place) / "model"
        shutil.copytree(folder, temporary, ignore=shutil.ignore_patterns(PACKED, CONFIG))
        # Loaders want a file of weights to build the model on: one of zeros, whose names may be others than the
        # model's own.
        zeros = {name: torch.zeros(shape, dtype=_DTYPES[kind]) for name, (shape, kind) in outline.items()}
        save_tensors(temporary / PLAIN, zeros, {"format": "pt"})
        backbone = load_backbone(str(temporary))
    try:
        backbone.module.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise FrostlineError(f"{folder} does not fit its own config.json ({reason}); copy or make it again.") from error
    backbone.name = str(folder)
    return backbone


_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64, "BOOL": torch.bool}


def _read(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        config = read_json(folder / CONFIG)
    except (OSError, ValueError) as error:
        raise FrostlineError(
            f"{folder} is no packed backbone: {CONFIG} cannot be read ({error}); pass the folder named packed that "
            "backbone compress wrote."
        ) from error
    if config.get("format") != FORMAT:
        raise FrostlineError(f"{folder / CONFIG} has format {config.get('format')!r}; this version reads {FORMAT!r}.")
    tensors, _ = load_tensors(folder / PACKED)
    try:
        entries = {name: Entry.parse(entry, f"weight {name!r}") for name, entry in config["weights"].items()}
        return unpack_weights(tensors, entries), config["outline"]
    except (KeyError, ValueError) as error:
        raise FrostlineError(
            f"{folder / PACKED} does not hold what {CONFIG} says ({error}); copy or make it again."
        ) from error
