"""Heads beside backbones: a linear layer as head.safetensors, its classes as head.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from backbones.core.artifacts import load_tensors, save_tensors, write_json
from backbones.core.errors import FrostlineError
from backbones.core.reading import read_json

WEIGHTS, FACTS = "head.safetensors", "head.json"


def save_head(folder: Path, head: nn.Linear, classes: Sequence[str], facts: Mapping[str, Any]) -> None:
    """Write a head, (width, classes), and its classes into ``folder``; ``facts``: further JSON values."""
    save_tensors(folder / WEIGHTS, {"weight": head.weight, "bias": head.bias})
    write_json(folder / FACTS, {"format": 1, "classes": list(classes), **facts})


def read_head(folder: Path, classes: Sequence[str]) -> nn.Linear:
    """Return the head in ``folder``, frozen, its outputs in the order of ``classes``.

    Raises:
        FrostlineError: no head there, or one of other classes.
    """
    tensors, _ = load_tensors(folder / WEIGHTS)
    try:
        known = [str(name) for name in read_json(folder / FACTS)["classes"]]
        weight, bias = tensors["weight"], tensors["bias"]
    except (OSError, ValueError, KeyError) as error:
        raise FrostlineError(
            f"{folder} holds no head: it needs {WEIGHTS} with weight and bias, and {FACTS} with classes ({error})."
        ) from error
    missing = sorted(set(classes) - set(known))
    if missing or len(known) != len(classes):
        named = f"; {missing[0]!r} is not among them" if missing else ""
        raise FrostlineError(
            f"the head in {folder} is of {len(known)} classes, the data are of {len(classes)}{named}. Pass the head "
            "that was trained on these data, or leave it out to tune the teacher."
        )
    order = [known.index(name) for name in classes]
    head = nn.Linear(weight.shape[1], len(order), device="meta").to_empty(device="cpu")
    head.load_state_dict({"weight": weight[order].float(), "bias": bias[order].float()})
    return head.requires_grad_(False)
