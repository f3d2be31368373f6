"""LoRA as PEFT writes it: factors by module path, ranks and scalings that may differ from module to module."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from backbones.base import Backbone, Site
from backbones.core.errors import FrostlineError, nearest
from backbones.pat.lowrank import key_of, scaling_of
from backbones.pat.peft_files import check_fields
from backbones.pat.peft_modules import PREFIX, named_by, targets_of
from backbones.pat.sites import LINEAR

Factors = Mapping[str, tuple[Tensor, Tensor]]  # path of a module -> A, shape (r, inputs), and B, shape (outputs, r)

# Fields of PEFT's configuration that are applied here, ...
KNOWN = {"r", "lora_alpha", "lora_dropout", "use_rslora", "rank_pattern", "alpha_pattern", "init_lora_weights"}
KNOWN |= {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"}
# ... that change no output of trained factors on linear layers (fan_in_fan_out turns the weights of Conv1D alone), ...
KNOWN |= {"fan_in_fan_out", "megatron_config", "megatron_core", "qalora_group_size", "velora_config", "runtime_config"}
KNOWN |= {"loftq_config", "eva_config", "corda_config", "lora_ga_config", "ensure_weight_tying"}
# ... and that stand for more than that: the outputs would be other without.
REFUSED = {
    "bias": "it trains biases of the frozen layers",
    "use_dora": "it rescales whole rows of the weights (DoRA)",
    "lora_bias": "it trains biases beside B",
    "layer_replication": "it repeats layers of the model",
    "trainable_token_indices": "it trains embeddings of tokens",
    "target_parameters": "it adapts parameters that are no module",
    "alora_invocation_tokens": "it acts on some tokens only (aLoRA)",
    "use_qalora": "it pools what enters A (QA-LoRA)",
    "use_bdlora": "its factors are block-diagonal (BD-LoRA)",
    "arrow_config": "it mixes adapters (Arrow)",
    "kasa_config": "it changes the frozen weights (KaSA)",
    "monteclora_config": "its factors are distributions (MonteCLoRA)",
}
STARTS = ("true", "false", "none", "gaussian", "eva", "orthogonal", "mica")  # that leave the frozen weights as they are


def config_of(backbone: Backbone, paths: list[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return PEFT's configuration for factors at ``paths``; ``values`` are the settings of ``Lora``."""
    alpha = float(values["alpha"])
    return {
        "peft_type": "LORA",
        "task_type": None,
        "auto_mapping": None,
        "inference_mode": True,
        "r": values["r"],
        "lora_alpha": int(alpha) if alpha.is_integer() else alpha,
        "lora_dropout": values["dropout"],
        "use_rslora": values["rslora"],
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": targets_of(backbone, paths),
    }


def tensors_of(factors: Factors) -> dict[str, Tensor]:
    """Return the factors by the names that PEFT gives them."""
    found = {}
    for path, (A, B) in factors.items():
        found[f"{PREFIX}{path}.lora_A.weight"] = A.detach()
        found[f"{PREFIX}{path}.lora_B.weight"] = B.detach()
    return found


def read_lora(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], backbone: Backbone
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the settings of ``Lora`` and the state of its delta that do what an adapter of PEFT does.

    Ranks that differ are made equal by zeros, scalings that differ by scaling B.

    Args:
        config: of PEFT, with ``r``, ``lora_alpha`` ...; patterns match paths of the backbone, see ``unwrapped``.
        tensors: named ``base_model.model.PATH.lora_A.weight`` and ``...lora_B.weight``.
        backbone: whose modules the paths name.

    Raises:
        FrostlineError: the adapter does more than LoRA on linear sites, or its factors fit no layer.
    """
    _refuse_others(config)
    factors = _factors(config, tensors)
    _check_layers(factors, backbone)
    rank = max(len(A) for A, _ in factors.values())
    rslora = bool(config.get("use_rslora", False))
    alpha = _number(config, "lora_alpha", config.get("lora_alpha", 8))
    scaling = scaling_of(alpha, rank, rslora)
    state = {}
    for path, (A, B) in factors.items():
        own = scaling_of(_alpha_at(path, alpha, config), len(A), rslora)
        more = rank - len(A)
        up = B.float() if math.isclose(own, scaling, rel_tol=1e-12) else B.float() * (own / scaling)
        state[f"A.{key_of(path)}"] = nn.functional.pad(A.float(), (0, 0, 0, more))
        state[f"B.{key_of(path)}"] = nn.functional.pad(up, (0, more))
    values = {
        "r": rank,
        "alpha": alpha,
        "rslora": rslora,
        "dropout": _number(config, "lora_dropout", config.get("lora_dropout") or 0.0),
        **places_of(sorted(factors), backbone),
    }
    return values, state


def matching(sites: list[Site], names: tuple[str, ...]) -> list[Site]:
    """Return those of ``sites`` whose path is, or after a dot ends with, one of ``names``; all where there are none.

    Raises:
        FrostlineError: a name that matches no path; the nearest are offered.
    """
    if not names:
        return sites
    for name in names:
        if not any(named_by(site.path, name) for site in sites):
            paths = [site.path for site in sites]
            close = nearest(name, paths) or paths[:3]
            raise FrostlineError(
                f"path {name!r} is the end of no path among the chosen layers and roles. Did you mean "
                f"{' or '.join(map(repr, close))}?"
            )
    return [site for site in sites if any(named_by(site.path, name) for name in names)]


def places_of(paths: list[str], backbone: Backbone) -> dict[str, Any]:
    """Return the settings ``roles``, ``layers`` and ``paths`` that choose exactly the linear sites at ``paths``."""
    wanted = [site for site in backbone.all_sites() if site.path in set(paths)]
    roles = tuple(role for role in LINEAR if any(site.role == role for site in wanted))
    layers = sorted({site.layer for site in wanted if site.layer is not None})
    whole = layers == list(range(backbone.depth))
    inside = {site.layer: site.path for site in backbone.sites("block")}
    ends = tuple(dict.fromkeys(site.path.removeprefix(f"{inside[site.layer]}.") for site in wanted))
    offered = [site for site in backbone.all_sites() if site.role in roles and site.layer in layers]
    for names in ((), ends, tuple(paths)):
        if matching(offered, names) == wanted:
            break
    return {"roles": roles, "layers": "all" if whole else ",".join(map(str, layers)), "paths": names}


def _refuse_others(config: Mapping[str, Any]) -> None:
    check_fields(config, KNOWN, REFUSED, "plain LoRA")
    start = str(config.get("init_lora_weights", True)).lower()
    if start not in STARTS:
        raise FrostlineError(
            f"init_lora_weights = {start!r} changes the frozen weights, so that the factors fit no plain model; save "
            "the adapter with path_initial_model_for_weight_conversion, which makes it plain LoRA. Read are "
            f"{', '.join(STARTS)}."
        )


def _number(config: Mapping[str, Any], key: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise FrostlineError(f"{key} = {config[key]!r}: {value!r} is no number.") from None


def _factors(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    halves: dict[str, dict[str, Tensor]] = {}
    for name, tensor in sorted(tensors.items()):
        found = re.fullmatch(rf"{re.escape(PREFIX)}(.+)\.lora_([AB])\.weight", name)
        if found is None:
            saved = config.get("modules_to_save")
            whole = f" (modules_to_save = {saved!r} trains modules in full)" if saved else ""
            raise FrostlineError(
                f"the tensor {name} is no factor of a linear layer{whole}; only plain LoRA can be read."
            )
        halves.setdefault(found[1], {})[found[2]] = tensor
    for path, pair in halves.items():
        if len(pair) != 2:
            missing = next(half for half in "AB" if half not in pair)
            raise FrostlineError(f"{path} has no lora_{missing}; the adapter is not whole: save it again.")
    if not halves:
        raise FrostlineError("no factor of the adapter belongs to the backbone; its weights are of another model.")
    return {path: (pair["A"], pair["B"]) for path, pair in halves.items()}


def _check_layers(factors: Factors, backbone: Backbone) -> None:
    linear = {site.path for site in backbone.all_sites() if site.role in LINEAR}
    for path, (A, B) in factors.items():
        if path not in linear:
            close = nearest(path, linear) or sorted(linear)[:3]
            raise FrostlineError(
                f"the adapter acts on {path}, which is no linear site of backbone {backbone.name!r}. Nearest sites: "
                f"{', '.join(close)}."
            )
        layer = backbone.module.get_submodule(path)
        needed = (int(layer.out_features), int(layer.in_features))  # type: ignore[arg-type]
        if A.ndim != 2 or B.ndim != 2 or len(A) != B.shape[1] or (len(B), A.shape[1]) != needed:
            raise FrostlineError(
                f"the factors at {path} have shapes {tuple(A.shape)} and {tuple(B.shape)}; backbone {backbone.name!r} "
                f"needs (r, {needed[1]}) and ({needed[0]}, r): the adapter is of another model."
            )


def _alpha_at(path: str, alpha: float, config: Mapping[str, Any]) -> float:
    """Return the alpha of one module: the first pattern that matches the end of its path, as PEFT has it."""
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", path):
            return float(value)
    return alpha
