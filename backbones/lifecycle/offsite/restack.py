"""A backbone with other blocks: fewer of them, or shells where blocks are absent."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from backbones.base import Backbone, Beside, Site, passed
from backbones.text import set_depth


class Shell(nn.Module):
    """Stands where a block is absent: hidden states pass through.

    Args:
        beside: of the backbone, see there.
        like: a block of it, whose kind of attention the model may ask for.
    """

    def __init__(self, beside: Beside | None, like: nn.Module) -> None:
        super().__init__()
        self._beside = beside
        self.__dict__.update({name: value for name, value in vars(like).items() if isinstance(value, str)})

    def forward(self, tokens: Tensor, *args: Any, **_named: Any) -> Any:
        """Return what enters, as a block returns it."""
        return passed(self._beside, self, tokens, args)


def restack(backbone: Backbone, blocks: Sequence[int | None]) -> Backbone:
    """Return a backbone with blocks of this one, and all that lies outside the blocks; no tensor is shared.

    Args:
        backbone: with nothing on it; left as it is.
        blocks: for each block of the new backbone which one of this it is; None: a shell, whose only site is
            ``block``, so that the others keep their numbers.
    """
    root = backbone.sites("block")[0].path.rpartition(".")[0]
    parent_path, _, leaf = root.rpartition(".")
    parent, held = backbone.module.get_submodule(parent_path), backbone.module.get_submodule(root)
    old: list[nn.Module] = list(held)  # type: ignore[call-overload]
    new = [_block(old, blocks, place, backbone.beside) for place in range(len(blocks))]
    container: Any = nn.Sequential(*new) if isinstance(held, nn.Sequential) else nn.ModuleList(new)
    setattr(parent, leaf, container)  # for the copy alone: what is left out is never copied
    try:
        module = copy.deepcopy(backbone.module)
    finally:
        setattr(parent, leaf, held)
    _tell_depth(module, blocks)
    return Backbone(
        name=backbone.name,
        module=module,
        sites=_sites(backbone, root, blocks),
        width=backbone.width,
        tokens=backbone.tokens,
        prefix_tokens=backbone.prefix_tokens,
        patch=backbone.patch,
        preprocessing=backbone.preprocessing,
        read=backbone._read,
        modality=backbone.modality,
        special=backbone._special,
        special_tokens=backbone.special_tokens,
        notes=backbone.notes,
        beside=backbone.beside,
        lengthens=backbone.lengthens,
    )


def _block(old: Sequence[nn.Module], blocks: Sequence[int | None], place: int, beside: Beside | None) -> nn.Module:
    number = blocks[place]
    if number is None:
        return Shell(beside, old[0])
    # a block that comes twice is copied by itself: within one copying, one object would stay one
    return copy.deepcopy(old[number]) if number in blocks[:place] else old[number]


def _tell_depth(module: Any, blocks: Sequence[int | None]) -> None:
    config = getattr(module, "config", None)
    if config is not None:  # of transformers
        set_depth(config, blocks)
    if isinstance(getattr(module, "feature_info", None), list):  # of timm: one entry for each block
        module.feature_info = module.feature_info[: len(blocks)]


def _sites(backbone: Backbone, root: str, blocks: Sequence[int | None]) -> tuple[Site, ...]:
    every = backbone.all_sites()
    first = next(number for number, site in enumerate(every) if site.layer is not None)
    outside = [(number < first, site) for number, site in enumerate(every) if site.layer is None]
    inside: list[Site] = []
    for place, source in enumerate(blocks):
        start = f"{root}.{place}"
        if source is None:
            inside.append(Site("block", place, start))
            continue
        lead = f"{root}.{source}"
        own = [site for site in every if site.layer == source]
        inside += [Site(site.role, place, start + site.path.removeprefix(lead)) for site in own]
    below, above = ([site for is_below, site in outside if is_below is side] for side in (True, False))
    return (*below, *inside, *above)
