"""Pools of trained LoRAs: reading them from folders, checking that they fit a backbone, and holding their factors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backbones.base import Backbone
from backbones.core.errors import FrostlineError, nearest
from backbones.pat.lowrank import scaling_of
from backbones.pat.peft_files import WEIGHTS, read_peft
from backbones.pat.sites import LINEAR, UnfitError

_FACTOR = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")


class Factors(nn.Module):
    """The two factors of one LoRA at one site; buffers while frozen, parameters while trained.

    Args:
        A: float32, shape (rank, inputs).
        B: float32, shape (outputs, rank).
        scaling: what the product B A is multiplied with.
    """

    A: Tensor
    B: Tensor

    def __init__(self, A: Tensor, B: Tensor, scaling: float) -> None:
        super().__init__()
        self.register_buffer("A", A)
        self.register_buffer("B", B)
        self.scaling = scaling

    def extra_repr(self) -> str:
        """Return the shapes in words."""
        return f"rank={self.A.shape[0]}, inputs={self.A.shape[1]}, outputs={self.B.shape[0]}"


def make_trained(module: nn.Module, trained: bool) -> None:
    """Turn every buffer below ``module`` into a parameter, or back; names and shapes of its state stay what they are.

    Frozen tensors are no parameters, so that neither an optimizer nor a count of parameters ever sees them.
    """
    for part in module.modules():
        held: dict[str, Any] = part._buffers if trained else part._parameters
        for name, tensor in list(held.items()):
            del held[name]
            if trained:
                part.register_parameter(name, nn.Parameter(tensor.detach()))
            else:
                part.register_buffer(name, tensor.detach())


@dataclass(frozen=True)
class Adapter:
    """A LoRA that was read from a folder.

    Attributes:
        folder: where it was.
        base: the model that it was trained on, as its configuration says; None if it does not.
        factors: path of a linear layer of the backbone -> (A, B, scaling).
    """

    folder: Path
    base: str | None
    factors: dict[str, tuple[Tensor, Tensor, float]]

    def note(self, backbone: Backbone) -> str | None:
        """Return a remark if the adapter says that it was trained on another model; None if not."""
        if self.base is None or _bare(self.base) == _bare(backbone.name):
            return None
        return (
            f"pool adapter {self.folder} was trained on {self.base!r}, the backbone is {backbone.name!r}; the shapes "
            "fit, whether the weights are the same is not known"
        )


def read_adapters(folders: Iterable[str], backbone: Backbone) -> list[Adapter]:
    """Read LoRAs that PEFT or this package saved, and check them against ``backbone``.

    Args:
        folders: each holds one LoRA in PEFT's format.
        backbone: its linear layers must have the shapes of the factors.

    Raises:
        FrostlineError: a folder that is no LoRA, one with more than low-rank factors, or factors of other shapes; file,
            site and both shapes are named.
    """
    return [_read_adapter(Path(folder), backbone) for folder in folders]


def _read_adapter(folder: Path, backbone: Backbone) -> Adapter:
    config, tensors = read_peft(folder)
    path = folder / WEIGHTS
    if config["peft_type"] != "LORA":
        raise FrostlineError(f"{folder} holds an adapter of type {config['peft_type']}; a pool takes LORA only.")
    pairs = _pairs(path, config, tensors)
    layers = _layers(backbone)
    found: dict[str, tuple[Tensor, Tensor, float]] = {}
    for name, pair in pairs.items():
        site = _site(path, name, layers, backbone)
        if site in found:
            raise FrostlineError(f"{path}: two of its layers stand for {site} of backbone {backbone.name!r}.")
        _check(path, site, pair, layers[site])
        A, B = pair["A"].float(), pair["B"].float()
        found[site] = (A, B, scaling_of(_alpha(config, name), A.shape[0], bool(config.get("use_rslora"))))
    base = config.get("base_model_name_or_path")
    return Adapter(folder, base if isinstance(base, str) and base else None, found)


def _pairs(path: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return path of a layer, as the file has it -> its factors; heads that were saved along are left out."""
    if config.get("use_dora"):
        raise FrostlineError(f"{path} is a DoRA: it has magnitudes of its own. A pool takes plain LoRAs.")
    if config.get("bias", "none") != "none":
        raise FrostlineError(
            f"{path} holds trained biases beside its factors (bias = {config['bias']!r}); a pool takes plain LoRAs."
        )
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _FACTOR.fullmatch(name)
        if match is not None:
            pairs.setdefault(match[1], {})[match[2]] = tensor
        elif ".lora_" in name:
            raise FrostlineError(f"{path}: {name!r} is no factor of a linear layer; a pool takes plain LoRAs.")
    for name, pair in pairs.items():
        if len(pair) < 2:
            raise FrostlineError(f"{path} has one of the two factors of {name} only; save the adapter again.")
    if not pairs:
        raise FrostlineError(f"{path} holds no factors of linear layers (names such as ...lora_A.weight).")
    return pairs


def _layers(backbone: Backbone) -> dict[str, nn.Linear]:
    found = {}
    for site in backbone.all_sites():
        module = backbone.module.get_submodule(site.path)
        if site.role in LINEAR and isinstance(module, nn.Linear):
            found[site.path] = module
    if not found:
        raise UnfitError(f"PAT 'lora_fusion' needs linear layers; backbone {backbone.name!r} has none among its sites.")
    return found


def _site(path: Path, name: str, layers: Mapping[str, nn.Linear], backbone: Backbone) -> str:
    """Return the site that a layer of the file stands for: models with a head hold the encoder under a prefix."""
    parts = name.split(".")
    for start in range(len(parts)):
        site = ".".join(parts[start:])
        if site in layers:
            return site
    close = nearest(name, layers, 1)
    hint = f" The nearest is {close[0]}." if close else ""
    raise FrostlineError(f"{path} adapts {name}, which is no linear site of backbone {backbone.name!r}.{hint}")


def _check(path: Path, site: str, pair: Mapping[str, Tensor], layer: nn.Linear) -> None:
    A, B = pair["A"], pair["B"]
    shapes = f"A {tuple(A.shape)} and B {tuple(B.shape)}"
    if A.ndim != 2 or B.ndim != 2 or A.shape[0] != B.shape[1]:
        raise FrostlineError(f"{path}: the factors of {site} have shapes {shapes}, which share no rank.")
    if (B.shape[0], A.shape[1]) != (layer.out_features, layer.in_features):
        raise FrostlineError(
            f"{path} does not fit at {site}: its factors ({shapes}) make a weight of shape "
            f"{(B.shape[0], A.shape[1])}, the backbone's has shape {(layer.out_features, layer.in_features)}. Take an "
            "adapter that was trained on this backbone."
        )
    if not (torch.isfinite(A).all() and torch.isfinite(B).all()):
        raise FrostlineError(f"{path}: the factors of {site} are not finite; the adapter's training went wrong.")


def _alpha(config: Mapping[str, Any], name: str) -> float:
    for pattern, alpha in (config.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", name):
            return float(alpha)
    return float(config["lora_alpha"])


def _bare(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].casefold()
