"""Pools of trained LoRAs: reading them from folders, checking that they fit a backbone, and holding their factors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.pat.lowrank import key_of, path_of, scaling_of
from backbones.pat.peft_files import METHODS, WEIGHTS, read_peft
from backbones.pat.peft_lora import read_lora
from backbones.pat.peft_modules import unwrapped
from backbones.pat.sites import LINEAR


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


def mixture(parts: Sequence[Factors], weights: Tensor, mode: str) -> tuple[Tensor, Tensor]:
    """Return factors A, shape (rank, inputs), and B, shape (outputs, rank), whose product is the mixture of a pool.

    Args:
        parts: the LoRAs at one site; thinner factors count as filled up with zeros.
        weights: float, shape (LoRAs,).
        mode: ``"param"``: both factors are sums, each with the root of the scaling, and as thick as the thickest LoRA;
            ``"delta"``: the product is the sum of the products, and its rank the sum of the ranks.
    """
    if mode == "delta":
        shares = [part.B * (weights[i] * part.scaling) for i, part in enumerate(parts)]
        return torch.cat([part.A for part in parts]), torch.cat(shares, dim=1)
    rank = max(part.A.shape[0] for part in parts)
    roots = weights * weights.new_tensor([part.scaling**0.5 for part in parts])
    A = torch.stack([pad(part.A, (0, 0, 0, rank - part.A.shape[0])) for part in parts])
    B = torch.stack([pad(part.B, (0, rank - part.B.shape[1])) for part in parts])
    return torch.einsum("n,nri->ri", roots, A), torch.einsum("n,nor->or", roots, B)


class Mixture(nn.Module):
    """Coefficients and magnitudes; parameters but while a LoRA of the pool is trained.

    Args:
        count: LoRAs in the pool.
        groups: groups of sites that share coefficients.
        layers: key of a site -> its frozen layer, for the sites that have magnitudes.
    """

    w: Tensor

    def __init__(self, count: int, groups: int, layers: dict[str, nn.Linear]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(count, groups))
        self.m = nn.ParameterDict({key: nn.Parameter(torch.zeros(layer.out_features)) for key, layer in layers.items()})

    @property
    def count(self) -> int:
        """Number of both."""
        return sum(tensor.numel() for tensor in [self.w, *self.m.values()])


@dataclass(frozen=True)
class Adapter:
    """A LoRA that was read from a folder.

    Attributes:
        folder: where it was.
        factors: path of a linear layer of the backbone -> (A, B, scaling).
        notes: what a user must know of it.
    """

    folder: Path
    factors: dict[str, tuple[Tensor, Tensor, float]]
    notes: tuple[str, ...]


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
    if METHODS[config["peft_type"]] != "lora":
        raise FrostlineError(f"{folder} holds an adapter of type {config['peft_type']}; a pool takes LORA only.")
    try:
        own_config, inside, outside = unwrapped(config, tensors, backbone)
        values, state = read_lora(own_config, inside, backbone)
    except FrostlineError as error:
        raise FrostlineError(f"pool adapter {folder / WEIGHTS}: {error}") from error
    scaling = scaling_of(values["alpha"], values["r"], values["rslora"])
    found = {}
    for name, A in state.items():
        part, _, key = name.partition(".")
        if part != "A":
            continue
        B, path = state[f"B.{key}"], path_of(key)
        found[path] = (A, B, scaling)
    return Adapter(folder, found, tuple(_notes(folder, config.get("base_model_name_or_path"), outside, backbone)))


def _notes(folder: Path, base: Any, outside: list[str], backbone: Backbone) -> Iterable[str]:
    if outside:
        yield f"pool adapter {folder}: left out {outside[0]}, of no part of the backbone ({len(outside)} in all)"
    if isinstance(base, str) and base and _bare(base) != _bare(backbone.name):
        yield (
            f"pool adapter {folder} was trained on {base!r}, the backbone is {backbone.name!r}; the shapes fit, "
            "whether the weights are the same is not known"
        )


def _bare(name: str) -> str:
    return name.removeprefix("hf:").rstrip("/").rpartition("/")[2].casefold()


def loaded(adapter: Adapter) -> nn.ModuleDict:
    """Return the factors of an adapter by the keys of their sites."""
    return nn.ModuleDict({key_of(path): Factors(*values) for path, values in adapter.factors.items()})


def roles_of(adapters: Sequence[Adapter], backbone: Backbone) -> tuple[str, ...]:
    """Return the roles of the linear layers that some adapters adapt."""
    roles = {site.path: site.role for site in backbone.all_sites() if site.role in LINEAR}
    found = {roles[path] for adapter in adapters for path in adapter.factors}
    return tuple(role for role in LINEAR if role in found)
