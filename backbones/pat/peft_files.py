"""Folders of PEFT: ``adapter_config.json`` beside ``adapter_model.safetensors``, read and written without PEFT."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from backbones.base import Backbone
from backbones.core.artifacts import load_tensors, save_tensors, write_json
from backbones.core.errors import FrostlineError, unknown
from backbones.core.reading import read_json

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
PREFIX = "base_model.model."  # before the path of every module that PEFT wraps
WRAPPER = "base_model."  # before the paths of a model whose modules PEFT leaves as they are

# peft_type -> the PAT that reads it
METHODS = {"LORA": "lora", "LN_TUNING": "layernorm", "PREFIX_TUNING": "prefix"}


def is_peft(folder: Path) -> bool:
    """Return whether ``folder`` holds an adapter of PEFT, readable or not."""
    return any((folder / name).exists() for name in (CONFIG, WEIGHTS, PICKLE))


def read_peft(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read an adapter that PEFT or ``write_peft`` wrote.

    Args:
        folder: holds ``adapter_config.json`` and ``adapter_model.safetensors``.

    Returns:
        The configuration, whose ``peft_type`` is one of ``METHODS``, and the tensors by their names in the file, each
        of the dtype that it has there.

    Raises:
        FrostlineError: no such folder, no configuration, damaged JSON, an unknown ``peft_type``, no weights, weights in
            a pickle alone, or a damaged file of weights.
    """
    config = _read_config(folder)
    path = folder / WEIGHTS
    if not path.exists():
        raise _no_weights(folder)
    tensors, _ = load_tensors(path)
    if not tensors:
        raise FrostlineError(f"{path} holds no tensors; save the adapter again with save_pretrained.")
    return config, tensors


def write_peft(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write an adapter as PEFT does; the configuration comes last, so that a folder that has it is whole.

    Args:
        folder: made where it does not exist.
        config: JSON values; ``peft_type`` is required by readers.
        tensors: by the names that PEFT gives them.

    Raises:
        FrostlineError: the folder cannot be written to.
    """
    save_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
    write_json(folder / CONFIG, dict(config))


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not folder.is_dir():
        raise FrostlineError(f"{folder} is no folder; pass one that holds {CONFIG} and {WEIGHTS}.")
    try:
        config = read_json(path)
    except FileNotFoundError:
        raise FrostlineError(
            f"{folder} has no {CONFIG}; pass a folder that save_pretrained of a PEFT model wrote."
        ) from None
    except (OSError, ValueError) as error:
        raise FrostlineError(f"{path} is not readable as JSON ({error}); copy or save the adapter again.") from error
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise FrostlineError(f"{path} states no peft_type; it must be a JSON object with one, such as LORA.")
    if config["peft_type"] not in METHODS:
        raise FrostlineError(f"{path}: {unknown('peft_type', config['peft_type'], METHODS)}")
    return config


def _no_weights(folder: Path) -> FrostlineError:
    if (folder / PICKLE).exists():
        return FrostlineError(
            f"{folder} holds its weights in {PICKLE}, a pickle, which may run code when read: refused. Convert it "
            f"once where you trust it: safetensors.torch.save_file(torch.load({PICKLE!r}, weights_only=True), "
            f"{WEIGHTS!r})."
        )
    return FrostlineError(f"{folder} has {CONFIG} but no {WEIGHTS}; copy that file too, or save the adapter again.")


def named_by(path: str, name: str) -> bool:
    """Return whether ``path`` is ``name`` or ends with it after a dot: how PEFT understands names of modules."""
    return path == name or path.endswith(f".{name}")


def targets_of(backbone: Backbone, paths: Sequence[str]) -> list[str] | str:
    """Return ``target_modules`` that choose exactly the modules at ``paths`` in the plain model.

    Args:
        backbone: whose modules they are.
        paths: such as ``blocks.0.attn.qkv``.

    Returns:
        Ends of paths such as ``attn.qkv`` where they do, else whole paths, else a regular expression.
    """
    modules = [name for name, _ in backbone.module.named_modules()]
    blocks = [f"{site.path}." for site in backbone.sites("block")]
    ends = {next((path.removeprefix(block) for block in blocks if path.startswith(block)), path) for path in paths}
    for names in (sorted(ends), list(paths)):
        if {module for module in modules if any(named_by(module, name) for name in names)} == set(paths):
            return names
    return "|".join(re.escape(path) for path in paths)


def unwrapped(tensors: Mapping[str, Tensor], backbone: Backbone) -> tuple[dict[str, Tensor], list[str]]:
    """Take off what PEFT's user had around the backbone, such as ``bert.`` of a classifier.

    Args:
        tensors: by their names in PEFT's file.
        backbone: the bare model.

    Returns:
        The tensors that belong to the backbone, named as if PEFT had wrapped it alone, and the names of the others,
        which belong to heads.
    """
    inside = {name for name in tensors if name.startswith(PREFIX)}
    words = {name: name.removeprefix(PREFIX).split(".") for name in inside}
    starts = {tuple(parts[:depth]) for parts in words.values() for depth in range(min(4, len(parts)))}
    modules = {name for name, module in backbone.module.named_modules() if not isinstance(module, nn.Identity)}

    def fitting(start: tuple[str, ...]) -> list[str]:
        size = len(start)
        return [
            name
            for name, parts in words.items()
            if tuple(parts[:size]) == start and _module_in(parts[size:], modules) is not None
        ]

    best = min(starts, key=lambda start: (-len(fitting(start)), len(start)), default=())
    kept = fitting(best)
    around = "".join(f"{word}." for word in best)
    found = {PREFIX + name.removeprefix(PREFIX + around): tensors[name] for name in kept}
    heads = {
        name
        for name in set(tensors) - inside
        if name.startswith(WRAPPER) and _module_in(name.removeprefix(WRAPPER).split("."), modules) is None
    }
    found |= {name: tensors[name] for name in set(tensors) - inside - heads}
    return found, sorted(heads | (inside - set(kept)))


def _module_in(parts: Sequence[str], modules: Container[str]) -> str | None:
    """Return the longest path of a module that a name begins with, None where there is none."""
    paths = (".".join(parts[:size]) for size in range(len(parts) - 1, 0, -1))
    return next((path for path in paths if path in modules), None)
