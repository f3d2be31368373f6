"""The table of backbones: bundled ones, ``timm:NAME``, ``hf:NAME``, a local folder, and what guests register."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backbones.core.errors import FrostlineError, nearest
from backbones.core.options import LoadOptions as LoadOptions
from backbones.core.reading import read_json
from backbones.core.registry import Registry

if TYPE_CHECKING:
    from backbones.base import Backbone

BACKBONES = Registry(
    "backbone",
    "backbones.models",
    {
        "bundled:vit-micro": ("backbones.catalog:bundled", "ViT for 32x32 images, 192 wide, 6 deep; ships with us"),
        "timm:*": ("backbones.timm_models:timm_model", "any timm VisionTransformer, such as timm:vit_tiny_patch16_224"),
        "minilm": ("backbones.catalog:text_model", "MiniLM sentence encoder, 384 wide, 6 deep; installed with us"),
        "minilm-mlm": ("backbones.catalog:text_model", "the encoder of our masked language model on MiniLM"),
        "hf:*": (
            "backbones.catalog:transformers_model",
            "a text encoder (BERT, DeBERTa, ModernBERT, T5's ...) or vision tower (ViT, DINOv2, CLIP) by its hub name",
        ),
        "DIR": ("backbones.catalog:folder_model", "a folder with config.json and model.safetensors"),
    },
)


Loader = Callable[[str, LoadOptions], "Backbone"]


def load_backbone(name: str | Path, options: LoadOptions | None = None) -> Backbone:
    """Load the backbone called ``name``.

    Args:
        name: ``bundled:vit-micro``, ``timm:NAME``, ``hf:NAME``, a folder, or a guest's name.
        options: weights, size, preprocessing and device.

    Raises:
        FrostlineError: unknown name, a device that is not there, weights that do not fit, or no network.
    """
    from backbones.core.launch import pick_device
    from backbones.core.seed import lent_generator

    name, options = str(name), options or LoadOptions()
    loader = _loader(name)
    device = pick_device(options.device)
    with lent_generator(0):  # building a model draws random weights before the real ones replace them
        return loader(name, options).to(device)


def _loader(name: str) -> Loader:
    scheme = f"{name.partition(':')[0]}:*" if ":" in name else ""
    for key in (name, scheme):
        if key in BACKBONES and key != "DIR" and not name.endswith("*"):
            loader: Loader = BACKBONES.load(key)
            return loader
    if name and Path(name).is_dir():
        folder: Loader = BACKBONES.load("DIR")
        return folder
    if name and Path(name).is_file():
        raise FrostlineError(
            f"backbone {name!r} is a file; pass the folder that holds it, or the name of its model with --weights "
            f"{name}."
        )
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
    config = read_json(folder / f"{stem}.json")
    size = options.image_size or config["size"]
    check_size(name, size, config["kwargs"]["patch_size"])
    module = VisionTransformer(**{**config["kwargs"], "img_size": size})
    path = options.weights or folder / config["weights"]
    notes = fit(module, read_weights(path), path)
    usual = Preprocessing(
        config["size"], "direct", 0.875, config["interpolation"], tuple(config["mean"]), tuple(config["std"])
    )
    return from_timm(module, name, options.adjust(usual, name), notes)


def folder_model(name: str, options: LoadOptions) -> Backbone:
    """Load a folder with config.json and model.safetensors, as timm (``local-dir:``) or transformers writes it."""
    try:
        config = read_json(Path(name) / "config.json")
    except (OSError, ValueError):
        config = {}
    if isinstance(config, dict) and "architecture" in config and "model_type" not in config:
        from backbones.timm_models import timm_folder

        return timm_folder(name, config, options)
    return transformers_model(name, options)


def transformers_model(name: str, options: LoadOptions) -> Backbone:
    """Load ``hf:NAME`` or a folder saved by transformers, text or vision; weights are never unpickled."""
    import transformers

    from backbones.hub import fetch
    from backbones.lm import auto_of
    from backbones.text import LAYOUTS, no_layout
    from backbones.weightfiles import check_folder

    target = name.removeprefix("hf:")
    if Path(target).is_dir():
        check_folder(Path(target))
    config = fetch(name, lambda: transformers.AutoConfig.from_pretrained(target, trust_remote_code=False), target)
    mapping = auto_of(type(config), "encoder")._model_mapping
    kind = mapping[type(config)].__name__ if type(config) in mapping else type(config).__name__
    if kind in LAYOUTS:
        return text_model(name, options)
    if hasattr(config, "vocab_size") and not any(hasattr(config, key) for key in ("vision_config", "image_size")):
        raise no_layout(name, kind)
    return _vision_model(name, options, config)


def text_model(name: str, options: LoadOptions) -> Backbone:
    """Load a text encoder: ``minilm``, ``hf:NAME`` or a folder with config.json, weights and tokenizer."""
    from backbones.core.tokens import TextPreprocessing
    from backbones.lm import folder_of, load_language_model
    from backbones.sentences import read_sentences
    from backbones.text import from_encoder

    if options.weights is not None:
        raise _no_weights(name, options.weights)
    if options.image_size is not None:
        raise FrostlineError(f"image size {options.image_size}: backbone {name!r} takes texts; leave the size out.")
    instead = (
        "Without a network pass --backbone a folder with config.json, model.safetensors and tokenizer.json, or minilm"
    )
    loaded = load_language_model(name, "encoder", device="cpu", instead=instead)
    loaded.module.pooler = None  # unused
    most = loaded.window or options.max_tokens or 512
    if options.max_tokens is not None and options.max_tokens > most:
        raise FrostlineError(f"max_tokens = {options.max_tokens}: backbone {name!r} takes at most {most} tokens.")
    stated = read_sentences(_sentence_folder(folder_of(name)), options.pooling)
    notes = (*loaded.notes, *stated.notes(None if options.max_tokens else most))
    if stated.pooling is None:
        notes = (*notes, "it states no pooling: the mean is taken")
    window = options.max_tokens or min(most, stated.window or most)
    preprocessing = TextPreprocessing(loaded.tokenizer, window, prompt=stated.prompt, lower=stated.lower)
    pooling = stated.pooling or "mean"
    return from_encoder(loaded.module, name, preprocessing, pooling=pooling, normalised=stated.normalised,
                        dense=stated.dense, notes=notes)  # fmt: skip


def _sentence_folder(target: str) -> Path:
    """Return the folder in which a model may state how texts are read; of a hub's name, where the cache keeps it."""
    from transformers.utils.hub import cached_file

    from backbones.sentences import DENSE, FILES

    if Path(target).is_dir():
        return Path(target)
    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    found = [cached_file(target, file, **quiet) for file in (*FILES, "1_Pooling/config.json", *DENSE)]
    return Path(found[0]).parent if found[0] is not None else Path("/nonexistent")


def _no_weights(name: str, weights: Path) -> FrostlineError:
    return FrostlineError(
        f"backbone {name!r} takes no separate weights ({weights}); pass the folder that holds config.json and "
        "model.safetensors as the backbone itself."
    )


def _vision_model(name: str, options: LoadOptions, config: Any) -> Backbone:
    from backbones.core.preprocess import Preprocessing
    from backbones.hub import fetch
    from backbones.processors import read_processor
    from backbones.vit import from_transformers

    if options.weights is not None:
        raise _no_weights(name, options.weights)
    target = name.removeprefix("hf:")
    module, info, processor = fetch(name, lambda: _read_pretrained(target, config), target)
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
    side = int(getattr(module.config, "image_size", 224))
    usual = read_processor(processor, name, options.preprocessing, side) if processor else Preprocessing(side)
    return from_transformers(module, name, options.adjust(usual, name), notes)


def _read_pretrained(target: str, config: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Return a model, what was said while its weights were loaded, and its image settings (empty if it has none)."""
    import transformers
    from transformers.image_processing_utils import ImageProcessingMixin
    from transformers.utils import logging

    # Of a model with two towers, such as CLIP, the vision tower alone is wanted.
    tower = getattr(config, "vision_config", None)
    kind = transformers.AutoModel._model_mapping[type(tower or config)] if tower else transformers.AutoModel
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        module, info = kind.from_pretrained(target, use_safetensors=True, output_loading_info=True)
    finally:
        if bars:
            logging.enable_progress_bar()
    try:
        return module, info, ImageProcessingMixin.get_image_processor_dict(target)[0]
    except OSError:
        return module, info, {}
