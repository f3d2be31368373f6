"""The table of backbones: bundled ones, ``timm:NAME``, ``hf:NAME``, a local folder, and what guests register."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backbones.core.errors import FrostlineError, nearest
from backbones.core.registry import Registry

if TYPE_CHECKING:
    from backbones.base import Backbone
    from backbones.core.preprocess import Preprocessing

BACKBONES = Registry(
    "backbone",
    "backbones.models",
    {
        "bundled:vit-micro": ("backbones.catalog:bundled", "ViT for 32x32 images, 192 wide, 6 deep; ships with us"),
        "timm:*": ("backbones.catalog:timm_model", "any timm VisionTransformer, such as timm:vit_tiny_patch16_224"),
        "hf:*": ("backbones.catalog:transformers_model", "a transformers vision tower (ViT, DINOv2) by its hub name"),
        "DIR": ("backbones.catalog:transformers_model", "a folder with config.json and model.safetensors"),
    },
)


@dataclass(frozen=True)
class LoadOptions:
    """What can be said about any backbone.

    Args:
        weights: a local file of weights (.safetensors, or .pth/.bin read with ``weights_only``), None for the usual.
        image_size: side of the input in pixels, None for the model's own.
        preprocessing: ``"direct"`` or ``"crop"``, None for ``"direct"``.
    """

    weights: Path | None = None
    image_size: int | None = None
    preprocessing: str | None = None

    def adjust(self, usual: Preprocessing) -> Preprocessing:
        """Return ``usual`` with the mode and size of these options."""
        size = self.image_size or usual.size
        return replace(usual, size=size, mode=self.preprocessing or usual.mode)


Loader = Callable[[str, LoadOptions], "Backbone"]


def load_backbone(name: str, options: LoadOptions | None = None) -> Backbone:
    """Load the backbone called ``name``.

    Args:
        name: ``bundled:vit-micro``, ``timm:NAME``, ``hf:NAME``, a folder, or a guest's name.
        options: weights, size and preprocessing.

    Raises:
        FrostlineError: unknown name, weights that do not fit, or no network.
    """
    import torch

    loader = _loader(name)
    # Building a model draws random weights before the real ones replace them: keep that off the global generator.
    with torch.random.fork_rng(devices=[]):
        return loader(name, options or LoadOptions())


def _loader(name: str) -> Loader:
    scheme = f"{name.partition(':')[0]}:*" if ":" in name else ""
    for key in (name, scheme):
        if key in BACKBONES and key != "DIR" and not name.endswith("*"):
            loader: Loader = BACKBONES.load(key)
            return loader
    if name and Path(name).is_dir():
        folder: Loader = BACKBONES.load("DIR")
        return folder
    named = [] if ":" in name else [f"{'hf' if '/' in name else 'timm'}:{name}"]
    close = [*nearest(name, BACKBONES.names()), *named] or ["bundled:vit-micro"]
    raise FrostlineError(
        f"unknown backbone {name!r}: no such name and no such folder. "
        f"Did you mean {' or '.join(repr(n) for n in close)}? "
        f"Known: {', '.join(BACKBONES.names())}."
    )


def bundled(name: str, options: LoadOptions) -> Backbone:
    """Load a backbone whose weights ship in ``backbones/weights``."""
    from importlib.resources import files

    from timm.models.vision_transformer import VisionTransformer

    from backbones.core.preprocess import Preprocessing
    from backbones.vit import check_size, from_timm
    from backbones.weightfiles import fit, read_weights

    stem = name.partition(":")[2].replace("-", "_")
    folder = Path(str(files("backbones") / "weights"))
    config = json.loads((folder / f"{stem}.json").read_text())
    size = options.image_size or config["size"]
    check_size(name, size, config["kwargs"]["patch_size"])
    module = VisionTransformer(**{**config["kwargs"], "img_size": size})
    path = options.weights or folder / config["weights"]
    notes = fit(module, read_weights(path), path)
    usual = Preprocessing(
        config["size"], "direct", 0.875, config["interpolation"], tuple(config["mean"]), tuple(config["std"])
    )
    return from_timm(module, name, options.adjust(usual), notes)


def timm_model(name: str, options: LoadOptions) -> Backbone:
    """Load ``timm:NAME``, from ``options.weights`` or from the hub's cache or network."""
    import timm
    from timm.data import resolve_model_data_config

    from backbones.core.preprocess import Preprocessing
    from backbones.hub import fetch
    from backbones.vit import from_timm
    from backbones.weightfiles import fit, read_weights

    model = name.partition(":")[2]
    _refuse_unsuited(name, model, options.image_size)
    extra: dict[str, Any] = {"img_size": options.image_size} if options.image_size else {}
    notes: tuple[str, ...] = ()
    if options.weights is not None:
        module = timm.create_model(model, pretrained=False, num_classes=0, **extra)
        notes = fit(module, read_weights(options.weights), options.weights)
    else:
        repository = timm.get_pretrained_cfg(model, allow_unregistered=False)
        hub_id = str(getattr(repository, "hf_hub_id", "") or "")
        hub_id = hub_id if not hub_id.endswith("/") else f"{hub_id}{repository.architecture}.{repository.tag}"
        module = fetch(name, lambda: timm.create_model(model, pretrained=True, num_classes=0, **extra), hub_id)
    data = resolve_model_data_config(module)
    kernel = "bilinear" if data["interpolation"] == "bilinear" else "bicubic"
    usual = Preprocessing(
        data["input_size"][-1], "direct", data["crop_pct"], kernel, tuple(data["mean"]), tuple(data["std"])
    )
    return from_timm(module, name, options.adjust(usual), notes)


def _refuse_unsuited(name: str, model: str, size: int | None) -> None:
    """Raise FrostlineError for a name, class or size that cannot work, before anything is downloaded."""
    import timm
    import torch

    from backbones.vit import check_size, layout_of

    base, _, tag = model.partition(".")
    if not timm.is_model(base):
        close = nearest(base, timm.list_models("*vit*")) or ["vit_tiny_patch16_224"]
        raise FrostlineError(f"timm has no model {base!r}. Did you mean {', '.join('timm:' + n for n in close)}?")
    known = timm.list_pretrained(f"{base}.*") or timm.list_pretrained(base)
    if tag and model not in known:
        raise FrostlineError(f"timm has no weights {tag!r} of {base!r}. Known: {', '.join(known) or 'none'}.")
    with torch.device("meta"):  # shapes without values: no time, no memory
        module = timm.create_model(base, pretrained=False, num_classes=0)
    layout_of(module, name)
    check_size(name, size, int(module.patch_embed.patch_size[0]))


def transformers_model(name: str, options: LoadOptions) -> Backbone:
    """Load ``hf:NAME`` or a folder saved by transformers; only safetensors weights are read."""
    from backbones.core.preprocess import Preprocessing
    from backbones.hub import fetch
    from backbones.vit import from_transformers

    if options.weights is not None:
        raise FrostlineError(
            f"backbone {name!r} takes no separate weights ({options.weights}); pass the folder that holds config.json "
            "and model.safetensors as the backbone itself."
        )
    target = name.removeprefix("hf:")
    module, info, processor = fetch(name, lambda: _read_pretrained(target), target)
    if getattr(module, "pooler", None) is not None:
        module.pooler = None  # unused, and random where the checkpoint has none
    lost = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))
    wrong = sorted(str(key) for key in info["mismatched_keys"])
    if lost or wrong:
        raise FrostlineError(
            f"the weights of {name!r} do not fit its config.json: {len(lost)} keys missing ({', '.join(lost[:3])}), "
            f"{len(wrong)} of another shape ({', '.join(wrong[:3])}). Save the model again."
        )
    notes = () if processor else ("no preprocessor_config.json: channel mean and std of 0.5 are assumed",)
    mean, std = (tuple(processor.get(key) or (0.5, 0.5, 0.5)) for key in ("image_mean", "image_std"))
    usual = Preprocessing(int(getattr(module.config, "image_size", 224)), "direct", 0.875, "bicubic", mean, std)
    return from_transformers(module, name, options.adjust(usual), notes)


def _read_pretrained(target: str) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Return a model, what was said while its weights were loaded, and its image settings (empty if it has none)."""
    from transformers import AutoModel
    from transformers.image_processing_utils import ImageProcessingMixin
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        module, info = AutoModel.from_pretrained(target, use_safetensors=True, output_loading_info=True)
    finally:
        if bars:
            logging.enable_progress_bar()
    try:
        return module, info, ImageProcessingMixin.get_image_processor_dict(target)[0]
    except OSError:
        return module, info, {}
