"""LN-tuning: gain and bias of the norms (Qi et al. 2022, arXiv 2211.08682)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from torch import Tensor

from backbones.base import Backbone
from backbones.core.settings import Settings
from backbones.pat.lowrank import key_of
from backbones.pat.owned import OwnedDelta, Place, count_of, places_of
from backbones.pat.peft_layernorm import config_of, read_layernorm, tensors_of
from backbones.pat.sites import UnfitError, sites_of

WHOLE = "all"  # the choice of layers that takes the last norm along


class LayerNorm(Settings):
    """Full training of the gain and the bias of every norm; of a norm without bias, of its gain.

    The defaults give the published counts: the norms inside the blocks and, where a model has one, the last norm above
    them, but not the norm between an embedding and block 0.

    Args:
        layers: chosen blocks, such as ``"6-11"`` or ``"0,2,4"``; ``"all"``.
        final_norm: whether norms above the blocks are trained; None: with ``layers`` at ``"all"`` only.
        embedding_norm: whether norms below the blocks are trained (BERT, CLIP have one).
    """

    starts_as_identity: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True
    touches: ClassVar[str] = "norms: gain and bias"

    layers: str = WHOLE
    final_norm: bool | None = None
    embedding_norm: bool = False

    def grow(self, backbone: Backbone, seed: int) -> OwnedDelta:
        """Put trainable gains and biases on ``backbone``; the seed has nothing to decide."""
        return OwnedDelta(backbone, self, self.places(backbone))

    def places(self, backbone: Backbone) -> list[Place]:
        """Return the trained tensors in order of execution.

        Raises:
            UnfitError: a backbone without norms, or whose norms have neither gain nor bias.
            FrostlineError: layers out of range.
        """
        inside = sites_of("layernorm", backbone, ("norm",), self.layers)
        final = self.layers.strip() == WHOLE if self.final_norm is None else self.final_norm
        outside = [site for site in backbone.sites("norm") if site.layer is None]
        below = [site for site in outside if self.embedding_norm and backbone.bound(site) < backbone.depth]
        above = [site for site in outside if final and backbone.bound(site) == backbone.depth]
        found = places_of(backbone, [*below, *inside, *above], ("weight", "bias"))
        if not found:
            raise UnfitError(
                f"PAT 'layernorm' needs norms with a gain or a bias; those of backbone {backbone.name!r} in layers "
                f"{self.layers} have neither."
            )
        return found

    def parameter_count(self, backbone: Backbone) -> int:
        """Return the sizes of the gains and biases: 2 * width for each norm that has both."""
        return count_of(backbone, self.places(backbone))

    def to_peft(self, delta: OwnedDelta) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return gains and biases as PEFT's LN_TUNING, see ``backbones.pat.base.PeftPat``."""
        return config_of(delta.backbone, delta.values), tensors_of(delta.values)

    @classmethod
    def from_peft(
        cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], backbone: Backbone
    ) -> tuple[Self, dict[str, Tensor]]:
        """Return settings and state that do what an LN_TUNING adapter of PEFT does; norms that it leaves out stay."""
        values, trained = read_layernorm(config, tensors, backbone)
        pat = cls.parse(values, "PAT 'layernorm'")
        frozen = backbone.frozen_state()
        names = [f"{site.path}.{name}" for site, name in pat.places(backbone)]
        return pat, {f"tensors.{key_of(name)}": trained.get(name, frozen[name]) for name in names}
