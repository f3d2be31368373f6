"""A backbone from outside: a small transformer of its own, with fixed random weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from backbones.base import Backbone, Site
from backbones.catalog import LoadOptions
from backbones.core.errors import FrostlineError
from backbones.core.preprocess import Preprocessing
from backbones.core.seed import torch_generator

SIZE, PATCH, WIDTH, DEPTH = 12, 4, 16, 2


class Block(nn.Module):
    """Attention of one head, then two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.up = nn.Linear(WIDTH, 2 * WIDTH)
        self.down = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, tokens, width) to the like."""
        tokens = tokens + scaled_dot_product_attention(*self.qkv(self.norm(tokens)).chunk(3, dim=-1))
        mixed: Tensor = self.down(gelu(self.up(tokens)))
        return tokens + mixed


class Embed(nn.Conv2d):
    """Patches as tokens."""

    def forward(self, batch: Tensor) -> Tensor:
        """Map (batch, 3, side, side) to (batch, tokens, width)."""
        return super().forward(batch).flatten(2).transpose(1, 2)


class Tower(nn.Module):
    """Embedding, blocks and a last norm."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = Embed(3, WIDTH, PATCH, PATCH)
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, batch: Tensor) -> Tensor:
        """Return the tokens behind the last norm."""
        tokens = self.embed(batch)
        for block in self.blocks:
            tokens = block(tokens)
        last: Tensor = self.norm(tokens)
        return last


def _sites() -> tuple[Site, ...]:
    inner = {"norm": "norm", "qkv": "qkv", "fc1": "up", "fc2": "down"}
    blocks = [
        site
        for layer in range(DEPTH)
        for root in [f"blocks.{layer}"]
        for site in [Site("block", layer, root), *(Site(r, layer, f"{root}.{p}") for r, p in inner.items())]
    ]
    return (Site("embed", None, "embed"), *blocks, Site("norm", None, "norm"))


def load(name: str, options: LoadOptions) -> Backbone:
    """Return the backbone; it has no other weights than its own."""
    if options.weights is not None:
        raise FrostlineError(f"backbone {name!r} has no other weights than its own; leave --weights out.")
    module = Tower()
    generator = torch_generator(0, "guest-backbone")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, 0.2, generator=generator)
    usual = options.adjust(Preprocessing(SIZE))
    return Backbone(
        name=name,
        module=module,
        sites=_sites(),
        width=WIDTH,
        tokens=(usual.size // PATCH) ** 2,
        prefix_tokens=0,
        patch=PATCH,
        preprocessing=usual,
        read=lambda tower, batch: tower(batch).mean(dim=1),
    )
