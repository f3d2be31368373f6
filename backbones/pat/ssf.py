"""SSF: scaling and shifting deep features (Lian et al., NeurIPS 2022, arXiv 2210.08823)."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from backbones.base import Backbone, Site
from backbones.core.settings import Settings
from backbones.delta import Delta
from backbones.pat.lowrank import key_of
from backbones.pat.sites import TensorRoles, tensor_sites


class Ssf(Settings):
    """A factor and a summand for each entry of what linear layers and norms inside the blocks give: scale * y + shift.

    The scale starts at one and the shift at zero. Both fold into the weight and the bias of the module; where a module
    has no bias to take the shift, this delta cannot be folded.

    Args:
        roles: after what: any of ``qkv proj fc1 fc2 norm``.
        layers: chosen blocks, such as ``"6-11"`` or ``"0,2,4"``; ``"all"``.
    """

    starts_as_identity: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True
    touches: ClassVar[str] = "linear layers and norms: scale and shift of their outputs"

    roles: TensorRoles = ("qkv", "proj", "fc1", "fc2", "norm")
    layers: str = "all"

    def grow(self, backbone: Backbone, seed: int) -> SsfDelta:
        """Put scales and shifts on ``backbone``; the seed has nothing to decide."""
        return SsfDelta(self, backbone)

    def widths(self, backbone: Backbone) -> list[tuple[Site, int]]:
        """Return the chosen sites in order of execution, each with the width of what it gives.

        Raises:
            UnfitError: a role that the backbone lacks, or a module that is not linear.
            FrostlineError: layers out of range.
        """
        sites, linear = tensor_sites("ssf", backbone, self.roles, self.layers)
        # norms keep the width of the backbone
        return [(site, linear[site].out_features if site in linear else backbone.width) for site in sites]

    def parameter_count(self, backbone: Backbone) -> int:
        """Return twice the sum of the widths."""
        return 2 * sum(width for _, width in self.widths(backbone))


class SsfDelta(Delta):
    """Scales and shifts.

    Attributes:
        scale: path of a site with ``/`` for every dot -> float32, shape (width,); one at the start.
        shift: likewise; zero at the start.
    """

    def __init__(self, settings: Ssf, backbone: Backbone) -> None:
        super().__init__(backbone, settings)
        self.scale, self.shift = nn.ParameterDict(), nn.ParameterDict()
        for site, width in settings.widths(backbone):
            scale = nn.Parameter(torch.ones(width, device=backbone.device))
            shift = nn.Parameter(torch.zeros(width, device=backbone.device))
            self.scale[key_of(site.path)], self.shift[key_of(site.path)] = scale, shift
            module = backbone.module.get_submodule(site.path)
            whole = all(isinstance(getattr(module, name, None), Tensor) for name in ("weight", "bias"))
            fold = partial(_fold, site.path, scale, shift) if whole else None
            self.after(site, partial(_rescale, scale, shift), fold=fold)


def _rescale(scale: Tensor, shift: Tensor, tokens: Tensor) -> Tensor:
    return torch.addcmul(shift.to(tokens.dtype), tokens, scale.to(tokens.dtype))


def _fold(path: str, scale: Tensor, shift: Tensor, state: dict[str, Tensor]) -> None:
    weight, bias = state[f"{path}.weight"], state[f"{path}.bias"]
    # a row of a linear layer's weight, or an entry of a norm's gain, makes one entry of the output
    state[f"{path}.weight"] = weight * scale.to(weight).view(-1, *[1] * (weight.ndim - 1))
    state[f"{path}.bias"] = bias * scale.to(bias) + shift.to(bias)
