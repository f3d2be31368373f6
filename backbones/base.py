"""Backbone and Site: one view of any transformer, so that methods speak of sites and never of models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from backbones.core.artifacts import digest_json, digest_tensors
from backbones.core.batches import Preprocess
from backbones.core.errors import FrostlineError

RULED = "parametrizations."  # where torch keeps tensors that have a rule
ROLES = ("embed", "block", "attn", "qkv", "proj", "fc1", "fc2", "norm")
Beside = Callable[[nn.Module, Tensor, tuple[Any, ...]], tuple[Any, ...]]


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
        special: maps a batch to where its special tokens are, bool of shape (batch or 1, tokens); None: the first
            ``prefix_tokens``.
        special_tokens: how many special tokens one input has; None: ``prefix_tokens``.
        preprocessing: how raw inputs become batches.
        read: maps the module and a batch to features, float of shape (batch, width).
        modality: ``"image"`` or ``"text"``.
        notes: what the loader wants the user to know, such as a head that it dropped.
        beside: what a block returns beside the hidden states, in a tuple: maps the block, the hidden states that enter
            it and its further positional arguments to that; None: a block returns the hidden states alone.
        lengthens: whether more tokens may enter a block than the model made: its positions do not count them.
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
        preprocessing: Preprocess,
        read: Callable[[nn.Module, Any], Tensor],
        modality: str = "image",
        special: Callable[[Tensor], Tensor] | None = None,
        special_tokens: int | None = None,
        notes: tuple[str, ...] = (),
        beside: Beside | None = None,
        lengthens: bool = True,
    ) -> None:
        self.name = name
        self.module = module.requires_grad_(False).eval()
        self._sites = sites
        self.width = width
        self.tokens = tokens
        self.prefix_tokens = prefix_tokens
        self.special_tokens = prefix_tokens if special_tokens is None else special_tokens
        self.patch = patch
        self.preprocessing = preprocessing
        self.modality = modality
        self.notes = notes
        self.beside = beside
        self.lengthens = lengthens
        self._read = read
        self._special = special
        self._text = repr(module)
        self._weights = {name for name, _ in module.named_parameters()}
        self.deltas: WeakSet[nn.Module] = WeakSet()  # what is on it; each adds and takes off itself
        self._batch: Any = None
        self._inserted: list[tuple[int, int]] = []
        missing = [site.path for site in sites if not _has(module, site.path)]
        if missing:
            raise FrostlineError(f"backbone {name!r}: no module at the site path {missing[0]!r}; check the layout.")

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.sites("block"))

    @property
    def reading(self) -> Callable[[nn.Module, Any], Tensor]:
        """How features are read: maps the module and a batch to float of shape (batch, width)."""
        return self._read

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
            where = "" if layer is None else f" in layer {layer} (layers 0 to {self.depth - 1})"
            raise FrostlineError(
                f"backbone {self.name!r} has no site {role!r}{where}; its sites: {', '.join(self.roles())}."
            )
        return found

    def all_sites(self) -> tuple[Site, ...]:
        """Return every site in order of execution."""
        return self._sites

    def has(self, role: str) -> bool:
        """Return whether any site has ``role``."""
        return any(site.role == role for site in self._sites)

    def roles(self) -> list[str]:
        """Return the roles of the sites, sorted."""
        return sorted({site.role for site in self._sites})

    def bound(self, site: Site) -> int:
        """Return the lowest block whose outcome a change at ``site`` can touch; ``depth`` for what lies above all."""
        if site.layer is not None:
            return site.layer
        first = next(number for number, other in enumerate(self._sites) if other.role == "block")
        return 0 if self._sites.index(site) < first else self.depth

    def features(self, batch: Any) -> Tensor:
        """Return the feature vectors of a preprocessed batch, shape (batch, width), with gradients if enabled."""
        before, self._batch = self._batch, batch
        try:
            return self._read(self.module, batch)
        finally:
            self._batch = before

    def special(self, length: int) -> Tensor:
        """Return where the special tokens of the batch under way are: bool, shape (batch or 1, length).

        For use inside a forward pass, by a delta.

        Args:
            length: number of tokens of the hidden states at hand, with what deltas have inserted so far.

        Raises:
            RuntimeError: no forward pass is under way, or the length fits no state of the sequence.
        """
        if self._batch is None:
            raise RuntimeError("special tokens are known only while a batch goes through the backbone")
        if self._special is not None:
            found = self._special(self._batch)
        else:
            found = torch.arange(self.tokens, device=self.device)[None] < self.prefix_tokens
        for start, count in self._inserted:
            if found.shape[1] == length:
                break
            blank = found.new_zeros(len(found), count)
            found = torch.cat([found[:, :start], blank, found[:, start:]], dim=1)
        if found.shape[1] != length:
            raise RuntimeError(f"{length} hidden states fit no state of a sequence of {found.shape[1]} tokens")
        return found

    def plain(self, tokens: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return hidden states without what deltas have inserted, and a function that puts it back into others.

        For use inside a forward pass, by a delta.

        Args:
            tokens: hidden states, shape (batch, length, width).

        Raises:
            RuntimeError: as ``special``.
        """
        length = self._special(self._batch).shape[1] if self._special is not None else self.tokens
        held: list[tuple[int, Tensor]] = []
        present = []
        for start, count in self._inserted:
            if length == tokens.shape[1]:
                break
            length += count
            present.append((start, count))
        for start, count in reversed(present):
            held.append((start, tokens[:, start : start + count]))
            tokens = torch.cat([tokens[:, :start], tokens[:, start + count :]], dim=1)

        def back(others: Tensor) -> Tensor:
            for start, rows in reversed(held):
                others = torch.cat([others[:, :start], rows, others[:, start:]], dim=1)
            return others

        return tokens, back

    def insert(self, start: int, count: int) -> Callable[[], None]:
        """Note that a delta inserts ``count`` tokens at ``start``; returns what takes the note back."""
        entry = (start, count)
        self._inserted.append(entry)
        return lambda: self._inserted.remove(entry)

    @property
    def parameter_count(self) -> int:
        """Number of frozen parameters."""
        return sum(tensor.numel() for name, tensor in self.frozen_state().items() if name in self._weights)

    def frozen_state(self) -> dict[str, Tensor]:
        """Return every frozen weight and buffer by its own name, whatever rules are on it at the moment."""
        found = {}
        for name, tensor in self.module.state_dict().items():
            path, mark, rest = name.partition(RULED)
            if mark:
                tensor_name, _, rest = rest.partition(".")
                if rest != "original":
                    continue
                name = f"{path}{tensor_name}"
            found[name] = tensor
        return found

    def fingerprint(self) -> str:
        """Return the digest of every frozen weight and buffer as they are now, and of how features are read from them.

        Rules that deltas have put on weights do not count.
        """
        shape = {
            "class": type(self.module).__qualname__,
            "sites": [[site.role, site.layer, site.path] for site in self._sites],
            "tokens": self.tokens,
            "text": self._text,
        }
        return digest_json([digest_tensors(self.frozen_state()), shape])

    def to(self, device: torch.device | str) -> Backbone:
        """Move the module, and the deltas that are on it, to ``device`` and return this backbone."""
        self.module.to(device)
        for delta in self.deltas:
            delta.to(device)
        return self


def passed(beside: Beside | None, block: nn.Module, tokens: Tensor, args: tuple[Any, ...]) -> Any:
    """Return what a block would if hidden states went through it unchanged.

    Args:
        beside: of the backbone.
        block: of the backbone, or what stands in its place.
        tokens: hidden states that enter it, shape (batch, tokens, width).
        args: its further positional arguments.
    """
    return tokens if beside is None else (tokens, *beside(block, tokens, args))


def _has(module: nn.Module, path: str) -> bool:
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True
