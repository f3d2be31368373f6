"""Adapters: narrow networks behind sublayers (Houlsby et al., ICML 2019) or beside them (AdaptFormer, NeurIPS 2022)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from backbones.base import Backbone, Site
from backbones.core.errors import unknown
from backbones.core.seed import torch_generator
from backbones.core.settings import Settings
from backbones.delta import Delta
from backbones.pat.lowrank import split_words
from backbones.pat.sites import linear_sites

NAME = "adapter"
# Last linear layer of a sublayer -> the first: where what goes through a parallel adapter comes in.
ENTRANCES = {"proj": "qkv", "fc2": "fc1"}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": nn.functional.gelu,
    "relu": nn.functional.relu,
    "silu": nn.functional.silu,
    "tanh": torch.tanh,
}
Place = tuple[Site, Site, int, int]  # entrance, exit, width of what enters, width of what leaves


class Adapter(Settings):
    """Narrow networks, scale * (up * act(down * h + b) + c), added before the residual connection.

    ``up`` and its bias start at zero, so that features start unchanged to the bit.

    Args:
        kind: ``"sequential"``: what leaves a sublayer goes through the adapter (Houlsby et al.; Pfeiffer et al. 2021
            have them behind the MLP only, which is the default); ``"parallel"``: what enters it does (AdaptFormer).
        bottleneck: width inside.
        scale: what the adapter gives is multiplied with it; AdaptFormer has 0.1.
        activation: ``"gelu"``, ``"relu"``, ``"silu"`` or ``"tanh"``.
        where: the sublayers, by their last linear layer: ``proj`` of the attention, ``fc2`` of the MLP, or both.
        layers: chosen blocks, such as ``"6-11"`` or ``"0,2,4"``; ``"all"``.
    """

    starts_as_identity: ClassVar[bool] = True
    mergeable: ClassVar[bool] = False
    touches: ClassVar[str] = "outputs of the attention or of the MLP, before the residual connection"

    kind: Literal["sequential", "parallel"] = "sequential"
    bottleneck: int = Field(default=16, ge=1, le=65536)
    scale: float = Field(default=1.0)
    activation: Literal["gelu", "relu", "silu", "tanh"] = "gelu"
    where: tuple[str, ...] = Field(default=("fc2",), min_length=1)
    layers: str = "all"

    @field_validator("where", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        value = split_words(value)
        for word in value if isinstance(value, tuple | list) else ():
            if word not in ENTRANCES:
                raise ValueError(str(unknown("sublayer of an adapter", str(word), ENTRANCES)))
        return value

    @field_validator("scale")
    @classmethod
    def _moves(cls, value: float) -> float:
        if value == 0.0:
            raise ValueError("an adapter of scale 0 changes nothing; pass another number")
        return value

    def grow(self, backbone: Backbone, seed: int) -> AdapterDelta:
        """Put adapters on ``backbone``."""
        return AdapterDelta(self, backbone, seed)

    def places(self, backbone: Backbone) -> list[Place]:
        """Return (entrance, exit, width of what enters, width of what leaves) of every adapter, in order of execution.

        Raises:
            UnfitError: a sublayer that the backbone lacks.
            FrostlineError: layers out of range.
        """
        exits = linear_sites(NAME, backbone, self.where, self.layers)
        if self.kind == "sequential":
            return [(site, site, layer.out_features, layer.out_features) for site, layer in exits]
        roles = [ENTRANCES[role] for role in self.where]
        # of several beside each other, such as query, key and value, the first: they are given the same
        first = {(s.role, s.layer): (s, m) for s, m in reversed(linear_sites(NAME, backbone, roles, self.layers))}
        found = []
        for site, layer in exits:
            entrance, head = first[ENTRANCES[site.role], site.layer]
            found.append((entrance, site, head.in_features, layer.out_features))
        return found

    def parameter_count(self, backbone: Backbone) -> int:
        """Return the sum over the adapters of (entering + 1) * bottleneck + (bottleneck + 1) * leaving."""
        return sum((a + 1) * self.bottleneck + (self.bottleneck + 1) * b for _, _, a, b in self.places(backbone))


class AdapterDelta(Delta):
    """Adapters on a backbone.

    Attributes:
        downs: one linear layer to the bottleneck for each place.
        ups: one linear layer from it for each place.
    """

    settings: Adapter

    def __init__(self, settings: Adapter, backbone: Backbone, seed: int) -> None:
        super().__init__(backbone, settings)
        places = settings.places(backbone)
        generator = torch_generator(seed, NAME)
        narrow = settings.bottleneck
        self.downs = nn.ModuleList(_down(entering, narrow, generator) for _, _, entering, _ in places)
        self.ups = nn.ModuleList(_up(narrow, leaving) for _, _, _, leaving in places)
        self._act = ACTIVATIONS[settings.activation]
        self._entered: dict[int, Tensor] = {}
        self.to(backbone.device)
        for slot, (entrance, site, _, _) in enumerate(places):
            if settings.kind == "parallel":
                self.around(entrance, partial(self._keep, slot=slot))
                self.after(site, partial(self._beside, slot))
            else:
                self.after(site, partial(self._behind, slot))
        if settings.kind == "parallel":
            for layer in sorted({site.layer for _, site, _, _ in places if site.layer is not None}):
                self.around(backbone.sites("block", layer)[0], self._forgetting)

    def _behind(self, slot: int, tokens: Tensor) -> Tensor:
        return tokens + self._through(slot, tokens)

    def _keep(self, call: Callable[..., Any], tokens: Tensor, *args: Any, slot: int, **named: Any) -> Any:
        self._entered.setdefault(slot, tokens)  # DeBERTa's layer runs again, for positions
        return call(tokens, *args, **named)

    def _beside(self, slot: int, tokens: Tensor) -> Tensor:
        return tokens + self._through(slot, self._entered.pop(slot))

    def _forgetting(self, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        try:
            return call(*args, **named)
        finally:
            self._entered.clear()  # what is left after an interrupted forward pass

    def _through(self, slot: int, tokens: Tensor) -> Tensor:
        found: Tensor = self.ups[slot](self._act(self.downs[slot](tokens)))
        return found if self.settings.scale == 1.0 else self.settings.scale * found


def _down(entering: int, narrow: int, generator: torch.Generator) -> nn.Linear:
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, entering, narrow)
    bound = 1.0 / math.sqrt(entering)  # Kaiming-uniform with a = sqrt(5)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.zero_()
    return layer


def _up(narrow: int, leaving: int) -> nn.Linear:
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, narrow, leaving)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
    return layer
