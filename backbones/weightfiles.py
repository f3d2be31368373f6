"""Files of weights: read them without unpickling, and fit them to a model or say which keys do not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from backbones.core.artifacts import load_tensors
from backbones.core.errors import FrostlineError

CLASSIFIERS = ("head.", "head_dist.", "fc.", "classifier.")
WRAPPERS = ("module.", "model.", "backbone.")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weight file as float32.

    Args:
        path: .safetensors, or a .pth, .pt or .bin file of tensors alone (read with ``weights_only``).

    Raises:
        FrostlineError: missing, truncated, or a pickle that holds more than tensors.
    """
    if path.suffix in (".pth", ".pt", ".bin", ".ckpt"):
        tensors = _read_torch(path)
    else:
        tensors, _ = load_tensors(path)
    for prefix in WRAPPERS:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def _read_torch(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise FrostlineError(f"{path} does not exist; pass the path of a .safetensors file.")
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the reader fail in any way
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FrostlineError(
            f"{path} cannot be read as plain tensors ({reason}); nothing else is ever unpickled: "
            "convert it to .safetensors."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    tensors = {str(k): v for k, v in loaded.items() if isinstance(v, Tensor)} if isinstance(loaded, dict) else {}
    if not tensors:
        raise FrostlineError(f"{path} holds no named tensors; pass a state dict, best as .safetensors.")
    return tensors


def fit(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> tuple[str, ...]:
    """Load ``tensors`` into ``module``; a classifier is dropped and position embeddings are resampled, and both said.

    Args:
        module: a model without classifier.
        tensors: name -> float32 tensor.
        path: where they came from, for messages.

    Returns:
        Remarks for the user.

    Raises:
        FrostlineError: names the keys that are missing, left over or of another shape.
    """
    from timm.layers import resample_abs_pos_embed  # type: ignore[attr-defined]

    wanted = module.state_dict()
    notes: list[str] = []
    head = [k for k in tensors if k.startswith(CLASSIFIERS) and k not in wanted]
    if head:
        shape = tuple(next((tensors[k].shape for k in head if tensors[k].ndim == 2), ()))
        classes = f" of {shape[0]} classes" if shape else ""
        notes.append(f"dropped the classifier{classes} in {path.name} ({', '.join(head)})")
    kept = {k: v for k, v in tensors.items() if k not in head}
    position = kept.get("pos_embed")
    if position is not None and "pos_embed" in wanted and position.shape != wanted["pos_embed"].shape:
        grid: tuple[int, int] = cast(Any, module.get_submodule("patch_embed")).grid_size
        prefix = wanted["pos_embed"].shape[1] - int(grid[0]) * int(grid[1])
        if _is_square(position, wanted["pos_embed"], prefix):
            kept["pos_embed"] = resample_abs_pos_embed(position, list(grid), num_prefix_tokens=prefix)
            notes.append(f"resampled the position embeddings to a grid of {grid[0]} x {grid[1]} patches")
    _refuse_misfits(wanted, kept, path)
    module.load_state_dict(kept)
    return tuple(notes)


def _is_square(position: Tensor, wanted: Tensor, prefix: int) -> bool:
    """Tell whether ``position`` holds the embeddings of ``prefix`` tokens and of a square grid of patches."""
    same = position.ndim == wanted.ndim == 3 and position.shape[::2] == wanted.shape[::2]
    patches = position.shape[1] - prefix if same else 0
    return patches > 0 and math.isqrt(patches) ** 2 == patches


def _refuse_misfits(wanted: dict[str, Tensor], kept: dict[str, Tensor], path: Path) -> None:
    shapes = [
        f"{k} is {tuple(kept[k].shape)}, needed {tuple(wanted[k].shape)}"
        for k in wanted
        if k in kept and kept[k].shape != wanted[k].shape
    ]
    problems = {
        "missing": [k for k in wanted if k not in kept],
        "left over": [k for k in kept if k not in wanted],
        "of another shape": shapes,
    }
    said = [f"{len(v)} {what} ({', '.join(v[:3])}{', ...' if len(v) > 3 else ''})" for what, v in problems.items() if v]
    if said:
        raise FrostlineError(
            f"the weights in {path} do not fit this backbone: keys {'; '.join(said)}. "
            "Pass --backbone the model that they were saved from."
        )
