"""timm's models as backbones: by name, with weights from a file or the hub, and from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backbones.base import Backbone
from backbones.core.errors import FrostlineError, nearest
from backbones.core.options import LoadOptions


def timm_model(name: str, options: LoadOptions) -> Backbone:
    """Load ``timm:NAME``, from ``options.weights`` or from the hub's cache or network."""
    import timm

    from backbones.hub import fetch
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
    return _from_timm(module, name, options, notes)


def timm_folder(name: str, config: dict[str, Any], options: LoadOptions) -> Backbone:
    """Load a folder that timm wrote; ``config`` is its config.json."""
    import timm

    from backbones.hub import fetch
    from backbones.vit import check_size, layout_of
    from backbones.weightfiles import check_folder, fit, read_weights, weights_in

    check_folder(Path(name))
    shape, stated = dict(config.get("model_args") or {}), dict(config.get("pretrained_cfg") or {})
    for key in ("num_classes", "pretrained", "checkpoint_path"):  # of the head, or of loading
        shape.pop(key, None)
    if options.image_size:
        shape["img_size"] = options.image_size
    path = options.weights or weights_in(Path(name))
    weights = read_weights(path)

    def make() -> Any:
        return timm.create_model(config["architecture"], num_classes=0, pretrained_cfg=stated, **shape)

    module = fetch(name, make)
    layout_of(module, name)
    check_size(name, options.image_size, int(module.patch_embed.patch_size[0]))
    return _from_timm(module, name, options, fit(module, weights, path))


def _from_timm(module: Any, name: str, options: LoadOptions, notes: tuple[str, ...]) -> Backbone:
    from timm.data import resolve_model_data_config

    from backbones.core.preprocess import KERNELS, Preprocessing
    from backbones.vit import from_timm

    data = resolve_model_data_config(module)
    kernel = data["interpolation"] if data["interpolation"] in KERNELS else "bicubic"
    if kernel != data["interpolation"]:
        notes = (*notes, f"its images are to be resized by {data['interpolation']!r}, for which bicubic is taken")
    usual = Preprocessing(
        data["input_size"][-1], "direct", data["crop_pct"], kernel, tuple(data["mean"]), tuple(data["std"])
    )
    return from_timm(module, name, options.adjust(usual, name), notes)


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
