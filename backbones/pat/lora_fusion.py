"""Fusion of frozen LoRAs, LoRAFusion: a pool is mixed by a few coefficients, and a magnitude scales every output.

At a linear layer with frozen weight W0 and pool (A_i, B_i) with scalings s_i, in block group g:

- ``param``: A = sum_i w_ig sqrt(s_i) A_i, B = sum_i w_ig sqrt(s_i) B_i, change B A (quadratic in w);
- ``delta``: change sum_i w_ig s_i B_i A_i (linear in w);
- W' = m * (W0 + change) / rownorm(W0 + change), as in DoRA (Liu et al., ICML 2024, arXiv 2402.09353).

Only w and m are trained. No weight is ever built: outputs are scaled, and row norms follow from the factors. DoRA takes
the norm as a constant in the backward pass to save memory; from the factors its gradient costs next to nothing, so it
is the exact one here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import linear

from backbones.base import Backbone, Site
from backbones.core.errors import FrostlineError
from backbones.core.launch import autocast
from backbones.core.seed import torch_generator
from backbones.core.settings import Settings
from backbones.delta import Delta
from backbones.pat.ledger import Ledger, entries
from backbones.pat.lora import Lora
from backbones.pat.lowrank import Words, add_low_rank, fresh_down, key_of, path_of, row_norms, scaling_of
from backbones.pat.pool import Adapter, Factors, Mixture, loaded, make_trained, mixture, read_adapters, roles_of
from backbones.pat.sites import linear_sites

WARM = 2
Found = list[tuple[Site, nn.Linear]]


class LoraFusion(Settings):
    """A pool of frozen LoRAs, mixed by trained coefficients, with a trained magnitude of every output.

    The pool comes from folders, is trained in the run, or both. What is trained in the run is random until then.

    Args:
        pool: folders that hold one LoRA each, in PEFT's format; their ranks may differ (in mode ``param`` the thinner
            factors are filled up with zeros, so that the k-th ranks of all are mixed with one another).
        warm: LoRAs that the run trains for the pool, each alone and from a fresh start; None: 2 without folders, 0
            with.
        train: ``"stages"``: the warm LoRAs are trained one after the other on the first experience, then the
            coefficients; ``"experiences"``: one on each of the first experiences, the coefficients on those after. The
            second needs training on every experience (``--pat-schedule every``).
        mode: ``"param"`` mixes the factors, ``"delta"`` the products.
        magnitude: whether every output has a trained magnitude; False: no scaling at all.
        groups: what shares coefficients: the layers of one ``"block"``, ``"all"`` layers, or none (``"site"``).
        r: rank of the warm LoRAs.
        alpha: their product is multiplied with alpha / r.
        rslora: with alpha / sqrt(r) instead.
        roles: which linear layers; None: those that the folders adapt, or with warm LoRAs ``qkv proj``.
        layers: chosen blocks, such as ``"6-11"`` or ``"0,2,4"``; ``"all"``.
        energy_per_cell: nJ to write one resistive cell, for the ledger. An assumption: a hundred pulses of about 10 pJ
            to program and verify a cell of several levels.
    """

    starts_as_identity: ClassVar[bool] = False
    mergeable: ClassVar[bool] = True
    touches: ClassVar[str] = "linear layers: a mixture of frozen low-rank terms, and a gain of every output"

    pool: Words = ()
    warm: int | None = Field(default=None, ge=0, le=1000)
    train: Literal["stages", "experiences"] = "stages"
    mode: Literal["param", "delta"] = "param"
    magnitude: bool = True
    groups: Literal["block", "site", "all"] = "block"
    r: int = Field(default=8, ge=1, le=4096)
    alpha: float = Field(default=16.0, gt=0.0)
    rslora: bool = False
    roles: Words | None = Field(default=None, min_length=1)
    layers: str = "all"
    energy_per_cell: float = Field(default=1.0, ge=0.0)

    @property
    def trained_here(self) -> int:
        """How many LoRAs of the pool the run trains."""
        return (0 if self.pool else WARM) if self.warm is None else self.warm

    def grow(self, backbone: Backbone, seed: int) -> LoraFusionDelta:
        """Put the pool and its coefficients on ``backbone``."""
        return LoraFusionDelta(self, backbone, seed)

    def parameter_count(self, backbone: Backbone) -> int:
        """Return LoRAs * groups, and with magnitudes the sum of the outputs of all adapted layers on top."""
        adapters, found = self.fitted(backbone)
        count = len(adapters) + self.trained_here
        outputs = sum(layer.out_features for _, layer in found) if self.magnitude else 0
        return count * len({self.group_of(site) for site, _ in found}) + outputs

    def group_of(self, site: Site) -> int | str | None:
        """Return what the sites that share coefficients with ``site`` have in common."""
        return {"block": site.layer, "site": site.path, "all": 0}[self.groups]

    def fitted(self, backbone: Backbone) -> tuple[list[Adapter], Found]:
        """Read the folders and return them with the layers that are adapted.

        Raises:
            FrostlineError: an empty pool, a folder that does not fit, or one that adapts a layer that was not chosen.
        """
        if not self.pool and not self.trained_here:
            raise FrostlineError(
                "PAT 'lora_fusion' has an empty pool; name folders of LoRAs (pool=A,B) or train some (warm=2)."
            )
        adapters = read_adapters(self.pool, backbone)
        roles = self.roles or (Lora().roles if self.trained_here else roles_of(adapters, backbone))
        found = linear_sites("lora_fusion", backbone, roles, self.layers)
        for adapter in adapters:
            beyond = sorted(set(adapter.factors) - {site.path for site, _ in found})
            if beyond:
                raise FrostlineError(
                    f"pool adapter {adapter.folder} adapts {beyond[0]} too, which roles {', '.join(roles)} and layers "
                    f"{self.layers!r} leave out; choose them so that every layer of the pool is in."
                )
        covered = {path for adapter in adapters for path in adapter.factors}
        return adapters, [(site, layer) for site, layer in found if self.trained_here or site.path in covered]


class LoraFusionDelta(Delta):
    """A pool on a backbone.

    Attributes:
        pool: one entry for each LoRA: key of a site -> its factors; a LoRA without factors at a site leaves it alone.
        mix: its ``w`` are the coefficients, float32 of shape (LoRAs, groups); in ``m`` the magnitudes by key of a site,
            float32 of shape (outputs,).
        alone: index of the LoRA that acts alone, as it does while it is trained; None: the mixture acts.
        filled: how many LoRAs of the pool were loaded or trained, the one under way included.
        notes: what a user must know of the pool.
    """

    settings: LoraFusion

    def __init__(self, settings: LoraFusion, backbone: Backbone, seed: int) -> None:
        super().__init__(backbone, settings)
        adapters, found = settings.fitted(backbone)
        self._seed, self._loaded = seed, len(adapters)
        self._linears = {key_of(site.path): layer for site, layer in found}
        self.alone: int | None = None
        self.filled = len(adapters)
        self._remarks = tuple(note for adapter in adapters for note in adapter.notes)
        self.notes = self._remarks
        self.pool = nn.ModuleList([loaded(adapter) for adapter in adapters])
        self.pool.extend([self._fresh(number, found) for number in range(settings.trained_here)])
        groups = list(dict.fromkeys(settings.group_of(site) for site, _ in found))
        self._column = {key_of(site.path): groups.index(settings.group_of(site)) for site, _ in found}
        self.mix = Mixture(len(self.pool), len(groups), self._linears if settings.magnitude else {})
        self.to(backbone.device)
        self._restart()
        for site, layer in found:
            key = key_of(site.path)
            self.around(site, self._mixed(key, layer), fold=self._folding(key, f"{site.path}.weight"))

    def lora(self, number: int) -> dict[str, tuple[Tensor, Tensor, float]]:
        """Return LoRA ``number`` of the pool: path of a layer -> (A, B, scaling)."""
        return {path_of(key): (part.A, part.B, part.scaling) for key, part in self._parts(number).items()}

    @property
    def parameter_count(self) -> int:
        """Number of coefficients and magnitudes: what a task trains once the pool is there."""
        return self.mix.count

    def stages(self, experience: int) -> int:
        """Return one for each warm LoRA and one for the mixture on the first experience; one on all others."""
        return self.settings.trained_here + 1 if self.settings.train == "stages" and experience == 0 else 1

    def enter(self, experience: int, stage: int) -> None:
        """Exchange the trainable tensors: those of one warm LoRA, fresh, or the coefficients and magnitudes."""
        step = stage if self.settings.train == "stages" and experience == 0 else experience
        warm = step < self.settings.trained_here and (self.settings.train == "experiences" or experience == 0)
        make_trained(self.pool, False)
        make_trained(self.mix, not warm)
        if warm:
            self.alone = self._loaded + step
            self.filled = self.alone + 1
            self._refresh(self.alone)
            make_trained(self.pool[self.alone], True)
        elif self.alone is not None:
            self.alone = None
            self._restart()
        self._tell()

    def ledger(self) -> Ledger:
        """Return what a crossbar would have to rewrite for a new task, see ``backbones.pat.ledger``."""
        sizes = [
            sum(part.A.numel() + part.B.numel() for part in self._parts(i).values()) for i in range(len(self.pool))
        ]
        rank = max(part.A.shape[0] for i in range(len(self.pool)) for part in self._parts(i).values())
        return entries(
            written=0,
            lora=sum(rank * (layer.in_features + layer.out_features) for layer in self._linears.values()),
            programmed=sum(sizes[: self.filled]),
            here=sum(sizes[self._loaded : self.filled]),
            digital=self.parameter_count,
            energy_per_cell=self.settings.energy_per_cell,
        )

    def get_extra_state(self) -> Tensor:
        """Return ``alone`` (-1 for None) and ``filled``, int64 of shape (2,)."""
        return torch.tensor([-1 if self.alone is None else self.alone, self.filled])

    def set_extra_state(self, state: Tensor) -> None:
        """Take back what ``get_extra_state`` gave."""
        alone, self.filled = state.tolist()
        self.alone = None if alone < 0 else alone
        self._tell()

    def _tell(self) -> None:
        """Say that no mixture is trained as long as the pool is not full."""
        self.notes = self._remarks
        if self.alone is not None and self.settings.train == "experiences":
            self.notes += (
                f"LoRA {self.filled} of {len(self.pool)} of the pool acts alone; the mixture is trained on experience "
                f"{self.settings.trained_here + 1} (train=experiences needs --pat-schedule every)",
            )

    def _fresh(self, number: int, found: Found) -> nn.ModuleDict:
        settings = self.settings
        generator = torch_generator(self._seed, "lora_fusion", number)
        scaling = scaling_of(settings.alpha, settings.r, settings.rslora)
        parts = {}
        for site, layer in found:
            A = fresh_down(settings.r, layer.in_features, generator)
            B = fresh_down(settings.r, layer.out_features, generator).T.contiguous()
            parts[key_of(site.path)] = Factors(A, B, scaling)
        return nn.ModuleDict(parts)

    def _refresh(self, number: int) -> None:
        """Give LoRA ``number`` the start that every LoRA has: A random, B zero."""
        generator = torch_generator(self._seed, "lora_fusion", "start", number)
        for part in self._parts(number).values():
            part.A.copy_(fresh_down(part.A.shape[0], part.A.shape[1], generator))
            part.B.zero_()

    def _restart(self) -> None:
        """Mix all LoRAs alike, with the magnitudes that the weights then have."""
        with torch.no_grad():
            self.mix.w.fill_(1.0 / len(self.pool))
            for key, magnitude in self.mix.m.items():
                magnitude.copy_(row_norms(self._linears[key].weight, *self._factors(key)))

    def _parts(self, number: int) -> dict[str, Factors]:
        return dict(self.pool[number].items())  # type: ignore[operator]

    def _factors(self, key: str) -> tuple[Tensor, Tensor]:
        """Return A, shape (rank, inputs), and B, shape (outputs, rank), whose product is the change at a site."""
        if self.alone is not None:
            part: Factors = self.pool[self.alone][key]  # type: ignore[index]
            return part.A, part.B * part.scaling
        held = {i: part[key] for i, part in enumerate(self.pool) if key in part}  # type: ignore[operator, index]
        weights = self.mix.w[list(held), self._column[key]]
        return mixture(list(held.values()), weights, self.settings.mode)

    def _terms(self, key: str, layer: nn.Linear) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the factors of a site and what every output is multiplied with; in full precision."""
        with autocast(layer.weight.device, "fp32"):
            A, B = self._factors(key)
            if self.alone is not None or not self.settings.magnitude:
                return A, B, None
            return A, B, self.mix.m[key] / row_norms(layer.weight, A, B)

    def _mixed(self, key: str, layer: nn.Linear) -> Callable[..., Tensor]:
        def run(call: Callable[..., Tensor], tokens: Tensor, **options: Any) -> Tensor:
            A, B, gain = self._terms(key, layer)
            wide = add_low_rank(call(tokens, **options), linear(tokens, A), B, 1.0)
            if gain is None:
                return wide
            if layer.bias is None:
                return (wide * gain).to(wide.dtype)
            # the bias is part of what came out and must not be scaled
            return torch.addcmul(layer.bias * (1.0 - gain), wide, gain).to(wide.dtype)

        return run

    def _folding(self, key: str, name: str) -> Callable[[dict[str, Tensor]], None]:
        def fold(state: dict[str, Tensor]) -> None:
            A, B, gain = self._terms(key, self._linears[key])
            weight = state[name] + B @ A
            state[name] = weight if gain is None else gain[:, None] * weight

        return fold
