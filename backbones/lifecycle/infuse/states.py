"""Hidden states of the tokens: those of the frozen blocks, and what leaves the last one with all deltas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from backbones.base import Backbone


class States(NamedTuple):
    """Hidden states of one batch, each of shape (batch, tokens, width).

    Attributes:
        frozen: what the last block gives before any delta there.
        blocks: the mean of what all blocks give, likewise.
        left: what leaves the last block after all deltas.
    """

    frozen: Tensor
    blocks: Tensor
    left: Tensor


@contextmanager
def tapped(backbone: Backbone) -> Iterator[Callable[[Tensor], States]]:
    """Look at what leaves the blocks for a while.

    Yields:
        A function from a batch to its hidden states.
    """
    seen: list[Tensor] = []
    left: list[Tensor] = []
    modules = [backbone.module.get_submodule(site.path) for site in backbone.sites("block")]
    hooks = [module.register_forward_hook(partial(_keep, seen), prepend=True) for module in modules]
    hooks.append(modules[-1].register_forward_hook(partial(_keep, left)))

    def states(batch: Tensor) -> States:
        seen.clear()  # what an interrupted forward pass has left
        left.clear()
        backbone.features(batch)
        found = States(seen[-1], sum(seen[1:], seen[0]) / len(seen), left[-1])
        seen.clear()
        left.clear()
        return found

    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()


def _keep(held: list[Tensor], _module: nn.Module, _args: Any, output: Any) -> None:
    held.append(output[0] if isinstance(output, tuple) else output)
