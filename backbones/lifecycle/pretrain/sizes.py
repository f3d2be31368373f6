"""How large a transformer is to be: published sizes by name, or numbers; what does not divide is refused."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from backbones.core.errors import FrostlineError, unknown
from backbones.core.settings import Settings

HEAD_WIDTH = 64  # of all published sizes here


class Shape(Settings):
    """Numbers of a transformer: blocks, width of a token, heads of attention, width inside the feed-forward part."""

    depth: int = Field(ge=1)
    width: int = Field(ge=1)
    heads: int = Field(ge=1)
    inner: int = Field(ge=1)


# BERT-base: Devlin et al. 2019; the four below it: Turc et al. 2019.
BERT_SIZES = {
    "tiny": Shape(depth=2, width=128, heads=2, inner=512),
    "mini": Shape(depth=4, width=256, heads=4, inner=1024),
    "small": Shape(depth=4, width=512, heads=8, inner=2048),
    "medium": Shape(depth=8, width=512, heads=8, inner=2048),
    "base": Shape(depth=12, width=768, heads=12, inner=3072),
}
# ViT-Ti and S: Touvron et al. 2021; B: Dosovitskiy et al. 2021.
VIT_SIZES = {
    "ti": Shape(depth=12, width=192, heads=3, inner=768),
    "s": Shape(depth=12, width=384, heads=6, inner=1536),
    "b": Shape(depth=12, width=768, heads=12, inner=3072),
}


def choose_shape(
    size: str,
    sizes: Mapping[str, Shape],
    *,
    depth: int | None = None,
    width: int | None = None,
    heads: int | None = None,
    inner: int | None = None,
) -> Shape:
    """Return the shape called ``size`` with the numbers that are given in place of its own.

    A new width brings heads of 64 and four times itself inside, unless these are given too.

    Args:
        size: one of ``sizes``.
        sizes: by name.
        depth, width, heads, inner: see Shape.

    Raises:
        FrostlineError: an unknown size, a number below 1, or a width that its heads do not divide.
    """
    if size not in sizes:
        raise unknown("size", size, sizes)
    usual = sizes[size]
    wide = usual.width if width is None else width
    if heads is None:
        heads = usual.heads if width is None else _heads_for(wide)
    inside = (usual.inner if width is None else 4 * wide) if inner is None else inner
    numbers = {"depth": usual.depth if depth is None else depth, "width": wide, "heads": heads, "inner": inside}
    shape = Shape.parse(numbers, f"size {size!r}")
    if shape.width % shape.heads:
        widths = " or ".join(str(value) for value in _multiples(shape.width, shape.heads))
        dividing = ", ".join(str(value) for value in _divisors(shape.width))
        raise FrostlineError(
            f"width {shape.width} is not divisible by {shape.heads} heads: pass width {widths}, or heads out of "
            f"{dividing}."
        )
    return shape


def check_patches(image_size: int, patch: int | None) -> int:
    """Return the side of a patch, in pixels: ``patch``, or 16 from 128 pixels on and an eighth of the image below.

    Raises:
        FrostlineError: the image is no whole number of patches, or so small that it has none.
    """
    if patch is None:
        patch = 16 if image_size >= 128 and image_size % 16 == 0 else max(1, image_size // 8)
    if not 1 <= patch <= image_size or image_size % patch:
        sizes = " or ".join(str(value) for value in _multiples(image_size, max(1, patch)))
        dividing = ", ".join(str(value) for value in _divisors(image_size)) if image_size > 0 else "none"
        raise FrostlineError(
            f"image size {image_size} is not divisible by patches of {patch} pixels: pass image size {sizes}, or "
            f"a patch out of {dividing}."
        )
    return patch


def _heads_for(width: int) -> int:
    wanted = max(1, width // HEAD_WIDTH)
    return min(_divisors(width), key=lambda heads: abs(heads - wanted)) if width > 0 else wanted


def _divisors(value: int) -> list[int]:
    return [part for part in range(1, value + 1) if value % part == 0]


def _multiples(value: int, of: int) -> list[int]:
    below = value // of * of
    return [number for number in (below, below + of) if number > 0]
