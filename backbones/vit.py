"""Vision transformers of timm and of transformers as Backbones, by a table of layouts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

from torch import Tensor, nn

from backbones.base import Backbone, Site
from backbones.core.errors import FrostlineError
from backbones.core.preprocess import Preprocessing


@dataclass(frozen=True)
class Layout:
    """Where one family of transformers keeps its sites; ``{i}`` is the layer.

    Args:
        embed: path of the patch embedding.
        blocks: path of the list of blocks.
        inner: role -> paths relative to a block.
        final: path of the last norm, None where there is none above the blocks.
        first: path of the norm between embedding and blocks, None where there is none.
        pooled: whether the model itself applies the last norm, to the class token alone.
    """

    embed: str
    blocks: str
    inner: dict[str, tuple[str, ...]]
    final: str | None = None
    first: str | None = None
    pooled: bool = False


TIMM = Layout(
    embed="patch_embed",
    blocks="blocks",
    inner={
        "norm": ("norm1", "norm2"),
        "attn": ("attn",),
        "qkv": ("attn.qkv",),
        "proj": ("attn.proj",),
        "fc1": ("mlp.fc1",),
        "fc2": ("mlp.fc2",),
    },
    final="norm",
)
_HF_ATTENTION = {
    "attn": ("attention",),
    "qkv": ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
    "proj": ("attention.o_proj",),
    "fc1": ("mlp.fc1",),
    "fc2": ("mlp.fc2",),
}
HF_VIT = Layout(
    embed="embeddings",
    blocks="layers",
    inner={"norm": ("layernorm_before", "layernorm_after"), **_HF_ATTENTION},
    final="layernorm",
)
HF_DINOV2 = Layout(
    embed="embeddings",
    blocks="encoder.layer",
    inner={"norm": ("norm1", "norm2"), **_HF_ATTENTION},
    final="layernorm",
)
HF_CLIP = Layout(
    embed="embeddings",
    first="pre_layrnorm",
    blocks="encoder.layers",
    inner={
        "norm": ("layer_norm1", "layer_norm2"),
        "attn": ("self_attn",),
        "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "proj": ("self_attn.out_proj",),
        "fc1": ("mlp.fc1",),
        "fc2": ("mlp.fc2",),
    },
    final="post_layernorm",
    pooled=True,
)
LAYOUTS = {
    "CLIPVisionModel": HF_CLIP,
    "VisionTransformer": TIMM,
    "ViTModel": HF_VIT,
    "Dinov2Model": HF_DINOV2,
    "Dinov2WithRegistersModel": HF_DINOV2,
}


def find_sites(module: nn.Module, layout: Layout) -> tuple[Site, ...]:
    """List the sites of ``module`` in order of execution; roles whose modules are absent are left out."""
    sites = [Site("embed", None, layout.embed)]
    if layout.first is not None and _there(module, layout.first):
        sites.append(Site("norm", None, layout.first))
    for layer in range(len(module.get_submodule(layout.blocks))):  # type: ignore[arg-type]
        root = f"{layout.blocks}.{layer}"
        sites.append(Site("block", layer, root))
        for role, paths in layout.inner.items():
            sites += [Site(role, layer, f"{root}.{path}") for path in paths if _there(module, f"{root}.{path}")]
    if layout.final is not None and _there(module, layout.final):
        sites.append(Site("norm", None, layout.final))
    return tuple(sites)


def _there(module: nn.Module, path: str) -> bool:
    try:
        return not isinstance(module.get_submodule(path), nn.Identity)
    except AttributeError:
        return False


def layout_of(module: nn.Module, name: str) -> Layout:
    """Return the layout of a model's class; raises FrostlineError listing the classes that have one."""
    kind = type(module).__name__
    if kind not in LAYOUTS:
        raise FrostlineError(
            f"backbone {name!r} is a {kind}, whose sites are not known. Known: {', '.join(sorted(LAYOUTS))}. "
            "A package can register it under the entry-point group backbones.models."
        )
    return LAYOUTS[kind]


def check_size(name: str, size: int | None, patch: int) -> None:
    """Raise FrostlineError if images of ``size`` pixels (None: the usual ones) hold no whole patch."""
    if size is not None and size < patch:
        raise FrostlineError(
            f"image size {size} is smaller than a patch of backbone {name!r} ({patch} pixels); pass a multiple of that."
        )


def from_timm(module: Any, name: str, preprocessing: Preprocessing, notes: tuple[str, ...] = ()) -> Backbone:
    """View a timm VisionTransformer without classifier as a Backbone.

    Args:
        module: the model, made with ``num_classes=0``.
        name: what the user called it.
        preprocessing: how images become batches.
        notes: remarks of the loader.
    """
    layout = layout_of(module, name)
    prefix = int(module.num_prefix_tokens)
    grid = module.patch_embed.num_patches
    return Backbone(
        name=name,
        module=module,
        sites=find_sites(module, layout),
        width=int(module.num_features),
        tokens=int(grid) + prefix,
        prefix_tokens=prefix,
        patch=int(module.patch_embed.patch_size[0]),
        preprocessing=preprocessing,
        read=_read_timm,
        notes=notes,
    )


def _read_timm(module: Any, batch: Tensor) -> Tensor:
    features: Tensor = module.forward_head(module.forward_features(batch), pre_logits=True)
    return features


def timm_config(module: Any, name: str, preprocessing: Preprocessing) -> dict[str, Any]:
    """Return the config.json from which timm builds a VisionTransformer of this shape (``local-dir:FOLDER``).

    Args:
        module: without classifier.
        name: of the backbone, for messages.
        preprocessing: what the images go through.

    Raises:
        FrostlineError: a model of another class.
    """
    if layout_of(module, name) is not TIMM:
        raise FrostlineError(f"backbone {name!r} is a {type(module).__name__}, not a VisionTransformer of timm.")
    block, embed = module.blocks[0], module.patch_embed
    arguments = {
        "img_size": preprocessing.size,
        "patch_size": int(embed.patch_size[0]),
        "embed_dim": int(module.embed_dim),
        "depth": len(module.blocks),
        "num_heads": int(block.attn.num_heads),
        "mlp_ratio": block.mlp.fc1.out_features / int(module.embed_dim),
        "qkv_bias": block.attn.qkv.bias is not None,
        "qk_norm": not isinstance(block.attn.q_norm, nn.Identity),
        "init_values": 1.0 if hasattr(block.ls1, "gamma") else None,  # the values themselves are weights
        "class_token": module.cls_token is not None,
        "reg_tokens": int(getattr(module, "num_reg_tokens", 0)),
        "no_embed_class": bool(module.no_embed_class),
        "pre_norm": not isinstance(module.norm_pre, nn.Identity),
        "final_norm": not isinstance(module.norm, nn.Identity) or not isinstance(module.fc_norm, nn.Identity),
        "fc_norm": not isinstance(module.fc_norm, nn.Identity),
        "global_pool": module.global_pool,
    }
    known = dict(getattr(module, "pretrained_cfg", None) or {})
    return {
        "architecture": known.get("architecture") or CARRIER,
        "num_classes": 0,
        "num_features": int(module.num_features),
        "global_pool": module.global_pool,
        "model_args": arguments,
        "pretrained_cfg": {
            "num_classes": 0,
            "input_size": [3, preprocessing.size, preprocessing.size],
            "interpolation": preprocessing.interpolation,
            "crop_pct": preprocessing.crop_share,
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }


CARRIER = "vit_tiny_patch16_224"  # a name that timm knows; every argument of the shape is stated beside it


def from_transformers(module: Any, name: str, preprocessing: Preprocessing, notes: tuple[str, ...] = ()) -> Backbone:
    """View a transformers vision tower (ViT, DINOv2, CLIP) as a Backbone; its feature is the class token's state."""
    layout = layout_of(module, name)
    config = module.config
    check_size(name, preprocessing.size, int(config.patch_size))
    # Some towers take another size than their own only when told to; others always do.
    other = preprocessing.size != config.image_size
    told = other and "interpolate_pos_encoding" in signature(module.forward).parameters
    if other:
        side = preprocessing.size // int(config.patch_size)
        notes = (*notes, f"resampled the position embeddings to a grid of {side} x {side} patches")
    prefix = 1 + int(getattr(config, "num_register_tokens", 0) or 0)
    return Backbone(
        name=name,
        module=module,
        sites=find_sites(module, layout),
        width=int(config.hidden_size),
        tokens=(preprocessing.size // int(config.patch_size)) ** 2 + prefix,
        prefix_tokens=prefix,
        patch=int(config.patch_size),
        preprocessing=preprocessing,
        read=partial(_read_transformers, pooled=layout.pooled, told=told),
        notes=notes,
    )


def _read_transformers(module: Any, batch: Tensor, *, pooled: bool, told: bool) -> Tensor:
    options = {"interpolate_pos_encoding": True} if told else {}
    found = module(pixel_values=batch, **options)
    features: Tensor = found.pooler_output if pooled else found.last_hidden_state[:, 0]
    return features
