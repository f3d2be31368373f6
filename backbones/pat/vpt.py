"""Visual prompt tuning, VPT (Jia et al., ECCV 2022, arXiv 2203.12119)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from backbones.base import Backbone
from backbones.core.seed import torch_generator
from backbones.core.settings import Settings
from backbones.delta import Delta
from backbones.pat.attention import with_longer_masks
from backbones.pat.layers import pick_layers
from backbones.pat.sites import UnfitError


class Vpt(Settings):
    """Learnable tokens after the special tokens that open the sequence: class token and registers, or [CLS] of a text.

    Every token of a text attends to them, whatever is padding; they are gone before features are read.

    Args:
        depth: ``"shallow"`` puts prompts in before the first chosen block only; ``"deep"`` replaces them by new ones
            before every later chosen block.
        length: prompts per block.
        dropout: probability with which a prompt's entries are dropped in training.
        projection: width of the stored prompts, mapped to the backbone's by one shared linear layer; None: no map.
        layers: chosen blocks, such as ``"6-11"`` or ``"0,2,4"``; ``"all"``. Prompts enter at the lowest one, so the
            blocks below it stay untouched.
    """

    starts_as_identity: ClassVar[bool] = False
    mergeable: ClassVar[bool] = False
    touches: ClassVar[str] = "the sequence: tokens after the special ones"

    depth: Literal["shallow", "deep"] = "deep"
    length: int = Field(default=10, ge=0, le=1000)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    projection: int | None = Field(default=None, ge=1)
    layers: str = "all"

    def grow(self, backbone: Backbone, seed: int) -> Delta:
        """Put prompts on ``backbone``."""
        return VptDelta(self, backbone, seed)

    def chosen(self, backbone: Backbone) -> list[int]:
        """Return the blocks before which prompts are set.

        Raises:
            UnfitError: a backbone whose blocks take no further tokens.
            FrostlineError: layers out of range.
        """
        if self.length and not backbone.lengthens:
            raise UnfitError(
                f"PAT 'vpt' puts tokens into the sequence, but the positions of backbone {backbone.name!r} are worked "
                "out token by token for its attentions, which leaves no place for more. Use lora or adapter."
            )
        layers = pick_layers(self.layers, backbone.depth)
        return layers[:1] if self.depth == "shallow" else layers

    def parameter_count(self, backbone: Backbone) -> int:
        """Return blocks * length * width, or with a projection p: blocks * length * p + p * width + width."""
        blocks = len(self.chosen(backbone))
        if self.projection is None:
            return blocks * self.length * backbone.width
        return blocks * self.length * self.projection + (self.projection + 1) * backbone.width


class VptDelta(Delta):
    """Prompts on a backbone.

    Attributes:
        prompts: float32, shape (chosen blocks, length, width or projection).
    """

    def __init__(self, settings: Vpt, backbone: Backbone, seed: int) -> None:
        super().__init__(backbone, settings)
        layers = settings.chosen(backbone)
        generator = torch_generator(seed, "vpt")
        inner = settings.projection or backbone.width
        # Xavier bound over patch embedding and token, as the paper says: sqrt(6 / (3 * patch^2 + width)). A text has
        # no patches: the width of its token vectors stands in for the numbers in a patch.
        entering = 3 * backbone.patch**2 or backbone.width
        bound = math.sqrt(6.0 / (entering + inner))
        prompts = torch.empty(len(layers), settings.length, inner).uniform_(-bound, bound, generator=generator)
        self.prompts = nn.Parameter(prompts)
        self.project: nn.Module = nn.Identity()
        if settings.projection is not None:
            self.project = _linear(inner, backbone.width, generator)
        self.dropout = nn.Dropout(settings.dropout)
        self._length = settings.length
        self._start = backbone.prefix_tokens
        self.to(backbone.device)
        if settings.length:
            self._install(backbone, layers)

    def _install(self, backbone: Backbone, layers: list[int]) -> None:
        self._undo.append(backbone.insert(self._start, self._length))
        for slot, layer in enumerate(layers):
            block = backbone.sites("block", layer)[0]
            self.before(block, lambda tokens, slot=slot: self._put(tokens, slot, replace=slot > 0))  # type: ignore[misc]
        for layer in range(layers[0], backbone.depth):
            self.around(backbone.sites("block", layer)[0], self._with_masks)
        # Stripping after the last block keeps final norm and pooling what they are, whatever the pooling.
        self.after(backbone.sites("block", backbone.depth - 1)[0], self._strip)

    def _put(self, tokens: Tensor, slot: int, replace: bool) -> Tensor:
        prompts = self.dropout(self.project(self.prompts[slot])).to(tokens.dtype)
        rest = tokens[:, self._start + (self._length if replace else 0) :]
        return torch.cat([tokens[:, : self._start], prompts.expand(len(tokens), -1, -1), rest], dim=1)

    def _with_masks(self, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        return with_longer_masks(call, self._start, self._length, args, named)

    def _strip(self, tokens: Tensor) -> Tensor:
        return torch.cat([tokens[:, : self._start], tokens[:, self._start + self._length :]], dim=1)


def _linear(inner: int, width: int, generator: torch.Generator) -> nn.Linear:
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inner, width)
    with torch.no_grad():
        layer.weight.normal_(0.0, math.sqrt(2.0 / width), generator=generator)  # Kaiming, fan-out
        layer.bias.zero_()
    return layer
