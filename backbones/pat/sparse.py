"""Sparse fine-tuning, LT-SFT (Ansell et al., ACL 2022, arXiv 2110.07560): a few chosen weights change."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from backbones.base import Backbone, Site
from backbones.core.errors import FrostlineError, unknown
from backbones.core.seed import torch_generator
from backbones.core.settings import Settings
from backbones.delta import Delta
from backbones.pat.sites import LINEAR, UnfitError, sites_of

ROLES = (*LINEAR, "norm")  # whose modules have weights of their own


@dataclass(frozen=True)
class Spot:
    """A tensor that may change.

    Args:
        site: where it is.
        name: ``"weight"`` or ``"bias"``.
        shape: its shape.
        start: where it begins in the concatenation of all chosen tensors.
    """

    site: Site
    name: str
    shape: torch.Size
    start: int

    @property
    def key(self) -> str:
        """Its name in the state of the backbone."""
        return f"{self.site.path}.{self.name}"

    @property
    def stop(self) -> int:
        """Where it ends in the concatenation."""
        return self.start + self.shape.numel()


class Sparse(Settings):
    """The weights that full fine-tuning moves most, found by doing it once; they alone are trained again from the base.

    The first training has two stages of all epochs each: everything chosen is trained, then the ``k`` weights that
    moved most in absolute value are selected, all weights are rewound, and the selected ones are trained. Later
    trainings keep the selection. A delta that is trained without ``Delta.enter`` has a random selection.

    Args:
        density: share of the weights that may change; ignored if ``k`` is given.
        k: how many weights change.
        roles: of the sites whose weights may change: ``qkv``, ``proj``, ``fc1``, ``fc2``, ``norm``.
        biases: whether their biases may change too.
        layers: chosen blocks, such as ``"6-11"`` or ``"0,2,4"``; ``"all"``.
    """

    starts_as_identity: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True
    touches: ClassVar[str] = "a few entries of the weights themselves"

    density: float = Field(default=0.05, gt=0.0, le=1.0)
    k: int | None = Field(default=None, ge=1)
    roles: tuple[str, ...] = Field(default=LINEAR, min_length=1)
    biases: bool = True
    layers: str = "all"

    @field_validator("roles", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    def grow(self, backbone: Backbone, seed: int) -> SparseDelta:
        """Put ``k`` changes of zero on ``backbone``."""
        return SparseDelta(self, backbone, seed)

    def parameter_count(self, backbone: Backbone) -> int:
        """Return ``k``, or max(1, round(density * weights that may change))."""
        return self.count(self.spots(backbone), backbone)

    def spots(self, backbone: Backbone) -> list[Spot]:
        """Return the tensors that may change, in order of execution.

        Raises:
            FrostlineError: a role that has no weights, that the backbone lacks, or layers out of range.
        """
        for role in self.roles:
            if role not in ROLES:
                raise unknown("role of a site with weights for PAT 'sparse'", role, ROLES)
        state = backbone.frozen_state()  # it has the frozen tensors also where other rules are on them
        found: list[Spot] = []
        start = 0
        for site in sites_of("sparse", backbone, self.roles, self.layers):
            for name in ("weight", "bias") if self.biases else ("weight",):
                if f"{site.path}.{name}" in state:
                    found.append(Spot(site, name, state[f"{site.path}.{name}"].shape, start))
                    start = found[-1].stop
        if not found:
            raise UnfitError(f"PAT 'sparse': backbone {backbone.name!r} has no weights at {', '.join(self.roles)}.")
        return found

    def count(self, spots: list[Spot], backbone: Backbone) -> int:
        """Return how many weights change; raises FrostlineError if there are fewer than ``k``."""
        total = spots[-1].stop
        if self.k is not None and self.k > total:
            raise FrostlineError(
                f"PAT 'sparse': k = {self.k}, but the chosen roles and layers of backbone {backbone.name!r} have "
                f"{total} weights; pass at most that, or more roles or layers."
            )
        return self.k or max(1, round(self.density * total))


class _Changed(nn.Module):
    """Adds to a tensor what a delta has for it; holds no parameters itself, they are one flat vector of the delta."""

    replaces = False

    def __init__(self, change: Any) -> None:
        super().__init__()
        self._change = change

    def forward(self, tensor: Tensor) -> Tensor:
        changed: Tensor = self._change(tensor)
        return changed


class SparseDelta(Delta):
    """Changes of single weights of a backbone.

    Attributes:
        indices: int64, shape (k,), ascending: places in the concatenation of the flattened ``spots``.
        values: float32, shape (k,): what is added there.
        chosen: bool, shape (): whether the selection was made by training.
        dense: changes of every weight while the first stage trains, empty otherwise.
        spots: the tensors that may change.
    """

    indices: Tensor
    chosen: Tensor

    def __init__(self, settings: Sparse, backbone: Backbone, seed: int) -> None:
        super().__init__(backbone, settings)
        self.spots = settings.spots(backbone)
        count, total = settings.count(self.spots, backbone), self.spots[-1].stop
        self.register_buffer("indices", _spread(count, total, torch_generator(seed, "sparse")))
        self.register_buffer("chosen", torch.tensor(False))
        self.values = nn.Parameter(torch.zeros(count))
        self.dense = nn.ParameterList()
        self._found: tuple[Any, list[Tensor], list[int]] = (None, [], [])
        self._pieces: tuple[Any, list[Tensor | None]] = (None, [])
        self.to(backbone.device)
        for number, spot in enumerate(self.spots):
            self.reparam(spot.site, spot.name, _Changed(partial(self._change, number)))

    def stages(self, experience: int) -> int:
        """Return 2 until a training has selected weights, then 1."""
        return 1 if self.chosen else 2

    def enter(self, experience: int, stage: int) -> None:
        """Open every weight for the first stage of the first training; select and rewind for the second."""
        if stage == 0 and not self.chosen:
            self.values.requires_grad_(False)
            device = self.values.device
            self.dense = nn.ParameterList([torch.zeros(spot.shape, device=device) for spot in self.spots])
        elif len(self.dense):
            self._select()
        else:  # the selection was made before, or is about to be loaded by a run that is resumed
            self.values.requires_grad_(True)

    @torch.no_grad()
    def _select(self) -> None:
        moved = torch.cat([change.detach().flatten() for change in self.dense])
        self.indices.copy_(largest(moved, len(self.values)))
        self.dense = nn.ParameterList()
        self.values.zero_()
        self.values.requires_grad_(True)
        self.chosen.fill_(True)

    def _change(self, number: int, tensor: Tensor) -> Tensor:
        if len(self.dense):
            whole: Tensor = tensor + self.dense[number].to(tensor.dtype)
            return whole
        places, values = self._places()[0][number], self._piece(number)
        if not len(places):
            return tensor
        flat: Tensor = tensor.flatten().index_add(0, places, values.to(tensor.dtype))
        return flat.view_as(tensor)

    def _places(self) -> tuple[list[Tensor], list[int]]:
        """Return the places of each tensor in itself and how many they are; made anew only if ``indices`` changed."""
        key = (self.indices.data_ptr(), self.indices._version)
        if self._found[0] != key:
            with torch.inference_mode(False), torch.no_grad():
                ends = torch.tensor([spot.stop for spot in self.spots], device=self.indices.device)
                cuts = torch.searchsorted(self.indices, ends).tolist()
                sizes = [high - low for low, high in zip([0, *cuts], cuts, strict=False)]
                parts = self.indices.split(sizes)
                places = [part - spot.start for part, spot in zip(parts, self.spots, strict=True)]
            self._found = (key, places, sizes)
        return self._found[1], self._found[2]

    def _piece(self, number: int) -> Tensor:
        """Return the values of a tensor.

        A slice per tensor would cost each of them a gradient of all ``k`` values, one split for all of them costs one.
        Every piece of a split is used once: asking for it again means that another forward pass has begun.
        """
        sizes = self._places()[1]
        if not torch.is_grad_enabled():
            slices: list[Tensor] = list(self.values.split(sizes))
            return slices[number]
        key = (self.values.data_ptr(), self.values._version, self.values.requires_grad, self._found[0])
        if self._pieces[0] != key or self._pieces[1][number] is None:
            self._pieces = (key, list(self.values.split(sizes)))
        piece = self._pieces[1][number]
        assert piece is not None
        self._pieces[1][number] = None
        return piece


def largest(moved: Tensor, count: int) -> Tensor:
    """Return where the ``count`` largest absolute values are: int64, ascending; of equal ones the first are taken.

    Args:
        moved: float, shape (n,).
        count: at most n.
    """
    size = moved.abs()
    least = size.topk(count).values[-1]  # topk settles ties as it likes, but its values are certain
    above = (size > least).nonzero().squeeze(1)
    level = (size == least).nonzero().squeeze(1)[: count - len(above)]
    return torch.cat([above, level]).sort().values


def _spread(count: int, total: int, generator: torch.Generator) -> Tensor:
    """Return ``count`` places below ``total``, int64, ascending: one at random in each of as many equal stretches."""
    edges = torch.arange(count + 1) * total // count
    room = edges.diff()
    return edges[:-1] + (torch.rand(count, generator=generator, dtype=torch.float64) * room).long().clamp(max=room - 1)
