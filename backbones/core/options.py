"""What can be said about any backbone when it is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from backbones.core.errors import FrostlineError

if TYPE_CHECKING:
    from backbones.core.preprocess import Preprocessing


@dataclass(frozen=True)
class LoadOptions:
    """What can be said about any backbone.

    Args:
        weights: a local file of weights (.safetensors, or .pth/.bin read with ``weights_only``), None for the usual.
        image_size: side of the input in pixels, None for the model's own.
        preprocessing: ``"direct"`` or ``"crop"``, None for what the model's folder states, else ``"direct"``.
        pooling: of a text encoder, see ``backbones.text.POOLINGS``, None for what its folder states, else ``"mean"``.
        max_tokens: of a text, None for what the encoder takes.
        device: where the backbone is put, see ``backbones.core.launch.pick_device``.
    """

    weights: Path | None = None
    image_size: int | None = None
    preprocessing: str | None = None
    pooling: str | None = None
    max_tokens: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if isinstance(self.weights, str):
            object.__setattr__(self, "weights", Path(self.weights))

    def adjust(self, usual: Preprocessing, name: str = "") -> Preprocessing:
        """Return ``usual`` with the mode and size of these options; raises FrostlineError for options of texts."""
        for key in ("pooling", "max_tokens"):
            if getattr(self, key) is not None:
                raise FrostlineError(
                    f"{key} = {getattr(self, key)!r} is for text encoders, but backbone {name!r} takes images: "
                    "leave it out."
                )
        size = self.image_size or usual.size
        return replace(usual, size=size, mode=self.preprocessing or usual.mode)
