"""Finding the sites that a PAT needs, with an answer for the user where a backbone lacks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from torch import nn

from backbones.base import Backbone, Site
from backbones.core.errors import FrostlineError, unknown
from backbones.pat.layers import pick_layers
from backbones.pat.lowrank import split_words


class UnfitError(FrostlineError):
    """A PAT needs a site that a backbone does not have."""


LINEAR = ("qkv", "proj", "fc1", "fc2")  # roles whose modules are linear layers
TensorRoles = Annotated[
    tuple[Literal["qkv", "proj", "fc1", "fc2", "norm"], ...], BeforeValidator(split_words), Field(min_length=1)
]


def sites_of(pat: str, backbone: Backbone, roles: Sequence[str], layers: str) -> list[Site]:
    """Return the sites of some roles in some layers, in order of execution.

    Args:
        pat: what the PAT is called, for messages.
        backbone: where.
        roles: such as ``("qkv", "proj")``; every one must exist in every chosen layer.
        layers: see ``backbones.pat.layers.pick_layers``.

    Raises:
        UnfitError: a role that the backbone lacks.
        FrostlineError: layers out of range.
    """
    chosen = set(pick_layers(layers, backbone.depth))
    for role in roles:
        if not backbone.has(role):
            raise UnfitError(
                f"PAT {pat!r} needs the site {role!r}, which backbone {backbone.name!r} does not have; its sites: "
                f"{', '.join(backbone.roles())}."
            )
    return [site for site in backbone.all_sites() if site.role in roles and site.layer in chosen]


def linear_sites(pat: str, backbone: Backbone, roles: Sequence[str], layers: str) -> list[tuple[Site, nn.Linear]]:
    """Return linear layers with their sites, see ``sites_of``.

    Raises:
        UnfitError: a role that the backbone lacks, or whose module is not linear.
        FrostlineError: a role that is never linear, layers out of range.
    """
    for role in roles:
        if role not in LINEAR:
            raise unknown(f"role of a linear layer for PAT {pat!r}", role, LINEAR)
    found = []
    for site in sites_of(pat, backbone, roles, layers):
        module = backbone.module.get_submodule(site.path)
        if not isinstance(module, nn.Linear):
            raise UnfitError(
                f"PAT {pat!r} needs a linear layer at {site.path}; backbone {backbone.name!r} has a "
                f"{type(module).__name__} there."
            )
        found.append((site, module))
    return found


def tensor_sites(
    pat: str, backbone: Backbone, roles: Sequence[str], layers: str
) -> tuple[list[Site], dict[Site, nn.Linear]]:
    """Return the sites of linear layers and norms in order of execution, and the linear layers among them.

    Raises:
        UnfitError, FrostlineError: as ``linear_sites``.
    """
    linear = dict(linear_sites(pat, backbone, [role for role in roles if role != "norm"], layers))
    return sites_of(pat, backbone, roles, layers), linear


def fitting(backbone: Backbone) -> list[str]:
    """Return the names of the registered PATs whose default settings fit ``backbone``."""
    from backbones.pat import PATS

    names = []
    for name in PATS.names():
        try:
            PATS.load(name)().parameter_count(backbone)
        except FrostlineError:
            continue
        names.append(name)
    return names
