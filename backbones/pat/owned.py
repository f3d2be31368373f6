"""Trained copies that stand in for some of a backbone's own tensors, whole: gains, biases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from backbones.base import Backbone, Site
from backbones.core.settings import Settings
from backbones.delta import Delta
from backbones.pat.lowrank import key_of, path_of

Place = tuple[Site, str]  # a site and the name of one of its tensors


class Owned(nn.Module):
    """A rule that gives a trained tensor in place of the frozen one.

    Args:
        value: the trained tensor.
    """

    replaces = True

    def __init__(self, value: nn.Parameter) -> None:
        super().__init__()
        self.value = value

    def forward(self, _frozen: Tensor) -> Tensor:
        """Return the trained tensor."""
        return self.value


class OwnedDelta(Delta):
    """Full trained tensors, equal to the frozen ones at the start.

    Args:
        backbone: where.
        settings: what grew it.
        places: whose tensors are trained.

    Attributes:
        tensors: name of a tensor with ``/`` for every dot -> its trained value, of the frozen one's shape and dtype.

    Raises:
        FrostlineError: another rule is on one of the tensors already.
    """

    def __init__(self, backbone: Backbone, settings: Settings, places: Sequence[Place]) -> None:
        super().__init__(backbone, settings)
        self.tensors = nn.ParameterDict()
        for site, name in places:
            frozen: Tensor = getattr(backbone.module.get_submodule(site.path), name)
            value = nn.Parameter(frozen.detach().clone())
            self.tensors[key_of(f"{site.path}.{name}")] = value
            self.reparam(site, name, Owned(value))

    @property
    def values(self) -> dict[str, nn.Parameter]:
        """Name of every trained tensor in the backbone, such as ``blocks.0.norm1.weight`` -> its value."""
        return {path_of(key): value for key, value in self.tensors.items()}


def places_of(backbone: Backbone, sites: Iterable[Site], names: Sequence[str]) -> list[Place]:
    """Return the tensors called ``names`` that the modules of ``sites`` have; many a module lacks a bias."""
    found = []
    for site in sites:
        module = backbone.module.get_submodule(site.path)
        found += [(site, name) for name in names if isinstance(getattr(module, name, None), Tensor)]
    return found


def count_of(backbone: Backbone, places: Iterable[Place]) -> int:
    """Return how many numbers the tensors at ``places`` hold."""
    return sum(getattr(backbone.module.get_submodule(site.path), name).numel() for site, name in places)
