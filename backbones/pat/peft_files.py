"""Folders of PEFT: ``adapter_config.json`` beside ``adapter_model.safetensors``, read and written without PEFT."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from backbones.core.artifacts import check_finite, load_tensors, save_tensors, write_json
from backbones.core.errors import FrostlineError, unknown
from backbones.core.reading import read_json

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"

# peft_type -> the PAT that reads it
METHODS = {"LORA": "lora", "LN_TUNING": "layernorm", "PREFIX_TUNING": "prefix"}
# Fields of every configuration that change no output: whose adapter it is and how it was made, and modules trained in
# full, whose tensors are in the file and are met there.
ABOUT = {"peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"}
ABOUT |= {"inference_mode", "modules_to_save"}


def is_peft(folder: Path | str) -> bool:
    """Return whether ``folder`` holds an adapter of PEFT, readable or not."""
    folder = Path(folder)
    return any((folder / name).exists() for name in (CONFIG, WEIGHTS, PICKLE))


def read_peft(folder: Path | str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read an adapter that PEFT or ``write_peft`` wrote.

    Args:
        folder: holds ``adapter_config.json`` and ``adapter_model.safetensors``.

    Returns:
        The configuration, whose ``peft_type`` is one of ``METHODS``, and the tensors by their names in the file, each
        of the dtype that it has there.

    Raises:
        FrostlineError: no such folder, no configuration, damaged JSON, an unknown ``peft_type``, no weights, weights in
            a pickle alone, a damaged file of weights, or numbers that are not finite.
    """
    folder = Path(folder)
    config = _read_config(folder)
    path = folder / WEIGHTS
    if not path.exists():
        raise _no_weights(folder)
    tensors, _ = load_tensors(path)
    if not tensors:
        raise FrostlineError(f"{path} holds no tensors; save the adapter again with save_pretrained.")
    check_finite(tensors, path)
    return config, tensors


def check_fields(config: Mapping[str, Any], known: Container[str], refused: Mapping[str, str], does: str) -> None:
    """See that a configuration asks for nothing that is not done; fields that are off or empty ask for nothing.

    Args:
        config: of PEFT.
        known: fields that are applied, or change no output.
        refused: field -> what an adapter does that has it.
        does: what can be read instead, for the message.

    Raises:
        FrostlineError: a refused field, or one that is not known, such as of a later PEFT.
    """
    for key, value in config.items():
        if key in ABOUT or key in known or value in (None, False, "", "none") or value in ([], {}):
            continue
        if key in refused:
            raise FrostlineError(f"{key} = {value!r}: {refused[key]}; only {does} can be read.")
        raise FrostlineError(
            f"{key} = {value!r}: what this field of an adapter does is not known here (it may be of a later PEFT); "
            f"only {does} can be read. Where {value!r} is what PEFT does anyway, take the field out of {CONFIG}."
        )


def write_peft(folder: Path | str, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write an adapter as PEFT does; the configuration comes last, so that a folder that has it is whole.

    Args:
        folder: made where it does not exist.
        config: JSON values; ``peft_type`` is required by readers.
        tensors: by the names that PEFT gives them.

    Raises:
        FrostlineError: the folder cannot be written to.
    """
    folder = Path(folder)
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
