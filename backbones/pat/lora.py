"""Low-rank adaptation, LoRA (Hu et al., ICLR 2022, arXiv 2106.09685)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import dropout, linear

from backbones.base import Backbone, Site
from backbones.core.seed import torch_generator
from backbones.core.settings import Settings
from backbones.delta import Delta
from backbones.pat.lowrank import Words, add_low_rank, fresh_down, key_of, path_of, scaling_of
from backbones.pat.peft_lora import config_of, matching, read_lora, tensors_of
from backbones.pat.sites import linear_sites


class Lora(Settings):
    """A product of two thin matrices added to frozen linear layers: y = W x + scaling * B A x.

    Args:
        r: rank, the number of rows of A and of columns of B.
        alpha: the product is multiplied with alpha / r.
        roles: which linear layers: any of ``qkv proj fc1 fc2``. The default is the whole attention; a fused ``qkv`` is
            one layer of three times the width.
        layers: chosen blocks, such as ``"6-11"`` or ``"0,2,4"``; ``"all"``.
        dropout: probability with which an entry of what enters A is dropped in training.
        rslora: multiply with alpha / sqrt(r) instead.
        paths: narrows the choice to layers whose path is one of these or ends so, such as ``attention.self.query``;
            empty: all that roles and layers say.
    """

    starts_as_identity: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True
    touches: ClassVar[str] = "linear layers: a low-rank term beside the weight"

    r: int = Field(default=8, ge=1, le=4096)
    alpha: float = Field(default=16.0, gt=0.0)
    roles: Words = Field(default=("qkv", "proj"), min_length=1)
    layers: str = "all"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    rslora: bool = False
    paths: Words = ()

    @property
    def scaling(self) -> float:
        """What the product is multiplied with."""
        return scaling_of(self.alpha, self.r, self.rslora)

    def grow(self, backbone: Backbone, seed: int) -> LoraDelta:
        """Put factors beside the linear layers of ``backbone``."""
        return LoraDelta(self, backbone, seed)

    def chosen(self, backbone: Backbone) -> list[tuple[Site, nn.Linear]]:
        """Return the adapted layers with their sites.

        Raises:
            FrostlineError: roles or layers that the backbone lacks, a path that ends no path.
        """
        found = linear_sites("lora", backbone, self.roles, self.layers)
        kept = matching([site for site, _ in found], self.paths)
        return [(site, layer) for site, layer in found if site in kept]

    def parameter_count(self, backbone: Backbone) -> int:
        """Return the sum over the layers of r * (inputs + outputs)."""
        return sum(self.r * (layer.in_features + layer.out_features) for _, layer in self.chosen(backbone))

    def to_peft(self, delta: LoraDelta) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the factors as PEFT's LORA, see ``backbones.pat.base.PeftPat``."""
        config = config_of(delta.backbone, list(delta.sites), self.model_dump())
        return config, tensors_of(delta.sites)

    @classmethod
    def from_peft(
        cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], backbone: Backbone
    ) -> tuple[Self, dict[str, Tensor]]:
        """Return settings and state that do what a LORA adapter of PEFT does; ranks may differ within it."""
        values, state = read_lora(config, tensors, backbone)
        return cls.parse(values, "PAT 'lora'"), state


class LoraDelta(Delta):
    """The factors of every adapted linear layer.

    Attributes:
        A: key of a site (see ``backbones.pat.lowrank.key_of``) -> float32, shape (r, inputs).
        B: key of a site -> float32, shape (outputs, r); zero at the start.
    """

    settings: Lora

    def __init__(self, settings: Lora, backbone: Backbone, seed: int) -> None:
        super().__init__(backbone, settings)
        found = settings.chosen(backbone)
        generator = torch_generator(seed, "lora")
        self.A, self.B = nn.ParameterDict(), nn.ParameterDict()
        for site, layer in found:
            self.A[key_of(site.path)] = nn.Parameter(fresh_down(settings.r, layer.in_features, generator))
            self.B[key_of(site.path)] = nn.Parameter(torch.zeros(layer.out_features, settings.r))
        self.to(backbone.device)
        for site, _ in found:
            A, B = self.sites[site.path]
            self.around(site, self._beside(A, B), fold=_folding(f"{site.path}.weight", A, B, settings.scaling))

    @property
    def sites(self) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
        """Path of every adapted layer -> its A, shape (r, inputs), and its B, shape (outputs, r)."""
        return {path_of(key): (self.A[key], self.B[key]) for key in self.A}

    def _beside(self, A: Tensor, B: Tensor) -> Callable[..., Tensor]:
        scaling, rate = self.settings.scaling, self.settings.dropout

        def run(call: Callable[..., Tensor], tokens: Tensor, **options: Any) -> Tensor:
            entering = dropout(tokens, rate) if rate and self.training else tokens
            return add_low_rank(call(tokens, **options), linear(entering, A), B, scaling)

        return run


def _folding(name: str, A: Tensor, B: Tensor, scaling: float) -> Callable[[dict[str, Tensor]], None]:
    def fold(state: dict[str, Tensor]) -> None:
        weight = state[name]
        state[name] = torch.addmm(weight, B.to(weight), A.to(weight), alpha=scaling)

    return fold
