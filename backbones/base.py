"""Backbone and Site: one view of any transformer, so that methods speak of sites and never of models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from backbones.core.artifacts import digest_json, digest_tensors
from backbones.core.errors import FrostlineError
from backbones.core.preprocess import Preprocessing

ROLES = ("embed", "block", "attn", "qkv", "proj", "fc1", "fc2", "norm")


@dataclass(frozen=True)
class Site:
    """A place in a backbone: its role, its layer (None outside the blocks) and the path of its module."""

    role: str
    layer: int | None
    path: str

    def __str__(self) -> str:
        return self.path


class Backbone:
    """A frozen transformer with named sites.

    Args:
        name: what the user called it.
        module: the transformer; it is frozen (``requires_grad`` off) and put into evaluation mode here.
        sites: all its sites, in the order of execution.
        width: length of a token vector and of the feature vector.
        tokens: length of the token sequence that enters block 0 for one input of the usual size.
        prefix_tokens: special tokens (class token, registers) at the start of the sequence.
        patch: side of a patch in pixels; 0 where there are none.
        preprocessing: how raw inputs become batches.
        read: maps the module and a batch to features, float of shape (batch, width).
        modality: ``"image"`` or ``"text"``.
        notes: what the loader wants the user to know, such as a head that it dropped.
    """

    def __init__(
        self,
        *,
        name: str,
        module: nn.Module,
        sites: tuple[Site, ...],
        width: int,
        tokens: int,
        prefix_tokens: int,
        patch: int,
        preprocessing: Preprocessing,
        read: Callable[[nn.Module, Any], Tensor],
        modality: str = "image",
        notes: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.module = module.requires_grad_(False).eval()
        self._sites = sites
        self.width = width
        self.tokens = tokens
        self.prefix_tokens = prefix_tokens
        self.patch = patch
        self.preprocessing = preprocessing
        self.modality = modality
        self.notes = notes
        self._read = read
        missing = [site.path for site in sites if not _has(module, site.path)]
        if missing:
            raise FrostlineError(f"backbone {name!r}: no module at the site path {missing[0]!r}; check the layout.")

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.sites("block"))

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def sites(self, role: str, layer: int | None = None) -> list[Site]:
        """Return the sites of ``role`` in order of execution, of one ``layer`` if given.

        Raises:
            FrostlineError: this backbone has no such site; the message lists the roles that it has.
        """
        found = [site for site in self._sites if site.role == role and layer in (None, site.layer)]
        if not found:
            roles = sorted({site.role for site in self._sites})
            where = "" if layer is None else f" in layer {layer} (layers 0 to {self.depth - 1})"
            raise FrostlineError(f"backbone {self.name!r} has no site {role!r}{where}; its sites: {', '.join(roles)}.")
        return found

    def features(self, batch: Any) -> Tensor:
        """Return the feature vectors of a preprocessed batch, shape (batch, width), with gradients if enabled."""
        return self._read(self.module, batch)

    @property
    def parameter_count(self) -> int:
        """Number of frozen parameters."""
        return sum(p.numel() for p in self.module.parameters() if not p.requires_grad)

    def fingerprint(self) -> str:
        """Return the digest of every weight and buffer as they are now, and of how features are read from them."""
        shape = {
            "class": type(self.module).__qualname__,
            "sites": [[site.role, site.layer, site.path] for site in self._sites],
            "tokens": self.tokens,
            "text": repr(self.module),
        }
        return digest_json([digest_tensors(self.module.state_dict()), shape])

    def to(self, device: torch.device | str) -> Backbone:
        """Move the module to ``device`` and return this backbone."""
        self.module.to(device)
        return self


def _has(module: nn.Module, path: str) -> bool:
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True
