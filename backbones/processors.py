"""Image processors of transformers as preprocessing: what they ask for is done, or refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backbones.core.errors import FrostlineError
from backbones.core.preprocess import Preprocessing

RESAMPLES = {0: "nearest", 2: "bilinear", 3: "bicubic"}
OTHERS = {1: "lanczos", 4: "box", 5: "hamming"}
# What changes pixels beside the steps that are done here; every other do_... that is on is refused too.
_FURTHER = ("rescale_offset", "size_divisor", "keep_aspect_ratio", "ensure_multiple_of", "do_resize_and_center_crop")
_DONE = {"do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"}


class _UnfitError(Exception):
    """A setting that is not done here: its name, its value and why."""


def read_processor(stated: Mapping[str, Any], name: str, mode: str | None, usual: int) -> Preprocessing:
    """Return the preprocessing that a ``preprocessor_config.json`` states.

    Args:
        stated: its content; what it leaves out is what its class takes.
        name: of the backbone, for messages.
        mode: what the user asks for; None: what is stated. With it, a resizing that is not done here is no fault.
        usual: side of the model's input in pixels, where the processor does not make one.

    Raises:
        FrostlineError: a step that is not done here, by name.
    """
    held = _filled(stated, name)
    try:
        interpolation = _interpolation(held)
        size, own, share = _geometry(held)
        if "size" not in stated and "crop_size" not in stated:  # what its class takes is of another model
            size = usual
        _refuse_further(held)
    except _UnfitError as unfit:
        if mode is None:
            raise FrostlineError(
                f"the image processor of backbone {name!r} {unfit}, which is not done here; pass --preprocessing "
                "direct or crop to have images resized in that way instead."
            ) from None
        size, own, share, interpolation = usual, mode, 0.875, "bicubic"
    scale = float(held.get("rescale_factor") or 1 / 255) if held.get("do_rescale", True) else 1.0
    normalised = held.get("do_normalize", True)
    mean, std = (
        tuple(float(value) for value in (held.get(key) or (usually,) * 3)) if normalised else (other,) * 3
        for key, usually, other in (("image_mean", 0.5, 0.0), ("image_std", 0.5, 1.0))
    )
    if len(mean) != 3 or len(std) != 3:
        raise FrostlineError(f"the image processor of backbone {name!r} has {len(mean)} channels; it must have 3.")
    return Preprocessing(size, own, share, interpolation, mean, std, scale)  # type: ignore[arg-type]


def write_processor(prepare: Preprocessing) -> dict[str, Any]:
    """Return the ``preprocessor_config.json`` that states a preprocessing."""
    side = {"height": prepare.size, "width": prepare.size}
    crop = prepare.mode == "crop"
    return {
        "image_processor_type": "BitImageProcessor" if crop else "ViTImageProcessor",
        "do_resize": True,
        "do_center_crop": crop,
        "do_rescale": True,
        "do_normalize": any(prepare.mean) or set(prepare.std) != {1.0},
        "do_convert_rgb": True,
        "size": {"shortest_edge": prepare.edge} if crop else side,
        "crop_size": side,
        "resample": next(code for code, kernel in RESAMPLES.items() if kernel == prepare.interpolation),
        "rescale_factor": prepare.scale,
        "image_mean": list(prepare.mean),
        "image_std": list(prepare.std),
    }


def _filled(stated: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the settings with what their class takes for those that are left out."""
    import transformers

    kind = str(stated.get("image_processor_type") or stated.get("feature_extractor_type") or "ViTImageProcessor")
    kind = kind.removesuffix("Fast").replace("FeatureExtractor", "ImageProcessor")
    known: Any = getattr(transformers, kind, None)
    if not hasattr(known, "from_dict"):
        raise FrostlineError(f"the image processor of backbone {name!r} is a {kind!r}, unknown to transformers.")
    try:
        made = known.from_dict(dict(stated))
    except Exception as error:  # a class of another package checks what it is given in its own ways
        raise FrostlineError(f"the image processor of backbone {name!r} cannot be made: {error}.") from error
    found = {key: value for key, value in made.to_dict().items() if value is not None}
    keys = ("size", "crop_size", "resample", "rescale_factor", "image_mean", "image_std", *_DONE)
    return found | {key: getattr(made, key) for key in keys if getattr(made, key, None) is not None} | {"class": kind}


def _interpolation(held: Mapping[str, Any]) -> str:
    code = held.get("resample", 2)
    if code not in RESAMPLES:
        raise _UnfitError(f"resizes with resample = {int(code)} ({OTHERS.get(int(code), 'unknown')})")
    return RESAMPLES[int(code)]


def _geometry(held: Mapping[str, Any]) -> tuple[int, str, float]:
    """Return the side of the input, the mode and the share of the crop."""
    size, crop = _sides(held.get("size")), _sides(held.get("crop_size"))
    if not held.get("do_resize", True):
        raise _UnfitError("does not resize (do_resize = false)")
    share = held.get("crop_pct")
    if share is not None and set(size) == {"shortest_edge"}:  # ConvNeXt's way
        side = size["shortest_edge"]
        return (side, "crop", side / int(side / share)) if side < 384 else (side, "direct", 0.875)
    if not held.get("do_center_crop", False):
        if set(size) != {"height", "width"} or size["height"] != size["width"]:
            raise _UnfitError(f"makes inputs that are no squares (size = {size})")
        return size["height"], "direct", 0.875
    if set(crop) != {"height", "width"} or crop["height"] != crop["width"]:
        raise _UnfitError(f"makes inputs that are no squares (crop_size = {crop})")
    if set(size) != {"shortest_edge"}:
        raise _UnfitError(f"crops what it resized to size = {size}")
    if size["shortest_edge"] < crop["height"]:
        raise _UnfitError(f"pads images (size = {size} is smaller than crop_size = {crop})")
    return crop["height"], "crop", crop["height"] / size["shortest_edge"]


def _sides(size: Any) -> dict[str, int]:
    """Return a size, which is a table or an object of transformers, as a table of the sides that are set."""
    names = ("height", "width", "shortest_edge", "longest_edge", "max_height", "max_width", "max_pixels", "min_pixels")
    held: Mapping[str, Any] = size if isinstance(size, Mapping) else {name: getattr(size, name, None) for name in names}
    return {name: int(held[name]) for name in names if held.get(name) is not None}


def _refuse_further(held: Mapping[str, Any]) -> None:
    for key, value in sorted(held.items()):
        if key in _FURTHER or (key.startswith("do_") and key not in _DONE):  # noqa: SIM102 (two questions)
            if value not in (None, False):
                raise _UnfitError(f"asks for {key} = {value!r}")
