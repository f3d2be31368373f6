"""LN-tuning as PEFT writes it: the trained norms whole, by module path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from backbones.base import Backbone
from backbones.core.errors import FrostlineError, nearest
from backbones.pat.peft_files import check_fields
from backbones.pat.peft_modules import PREFIX, targets_of

KNOWN = {"target_modules", "exclude_modules"}


def config_of(backbone: Backbone, values: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return PEFT's configuration for trained tensors such as ``blocks.0.norm1.weight``."""
    paths = list(dict.fromkeys(name.rpartition(".")[0] for name in values))
    return {
        "peft_type": "LN_TUNING",
        "task_type": None,
        "auto_mapping": None,
        "inference_mode": True,
        "target_modules": targets_of(backbone, paths),
    }


def tensors_of(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return trained tensors by the names that PEFT gives them."""
    found = {}
    for name, value in values.items():
        path, _, leaf = name.rpartition(".")
        found[f"{PREFIX}{path}.ln_tuning_layers.{leaf}"] = value.detach()
    return found


def read_layernorm(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], backbone: Backbone
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the settings of ``LayerNorm`` that reach every trained norm, and the trained tensors by their own names.

    Args:
        config: of PEFT.
        tensors: named ``base_model.model.PATH.ln_tuning_layers.weight`` and ``...bias``.
        backbone: whose modules the paths name.

    Raises:
        FrostlineError: a field that is not known, a tensor that is none of a norm of the backbone, or of another shape.
    """
    check_fields(config, KNOWN, {}, "adapters that train norms alone")
    norms = {site.path: site for site in backbone.sites("norm")}
    frozen = backbone.frozen_state()
    found, touched = {}, set()
    for name, tensor in tensors.items():
        match = re.fullmatch(rf"{re.escape(PREFIX)}(.+)\.ln_tuning_layers\.(\w+)", name)
        if match is None:
            raise FrostlineError(
                f"the tensor {name} is no gain and no bias of a norm; only adapters that train norms alone can be read."
            )
        path, own = match[1], f"{match[1]}.{match[2]}"
        if path not in norms or own not in frozen:
            close = nearest(path, norms) or sorted(norms)[:3]
            raise FrostlineError(
                f"the adapter trains {own}, which is of no norm of backbone {backbone.name!r}. Nearest norms: "
                f"{', '.join(close)}."
            )
        if tensor.shape != frozen[own].shape:
            raise FrostlineError(
                f"{own} has the shape {tuple(tensor.shape)}; backbone {backbone.name!r} needs "
                f"{tuple(frozen[own].shape)}: the adapter is of another model."
            )
        found[own] = tensor.float()
        touched.add(norms[path])
    layers = sorted({site.layer for site in touched if site.layer is not None}) or [backbone.depth - 1]
    bounds = [backbone.bound(site) for site in touched if site.layer is None]
    values = {
        "layers": "all" if layers == list(range(backbone.depth)) else ",".join(map(str, layers)),
        "final_norm": backbone.depth in bounds,
        "embedding_norm": any(bound < backbone.depth for bound in bounds),
    }
    return values, found
