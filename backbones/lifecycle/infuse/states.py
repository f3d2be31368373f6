"""Hidden states that leave the last block of a backbone, with and without what a delta adds there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from backbones.base import Backbone


@contextmanager
def tapped(backbone: Backbone) -> Iterator[Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """Look at what leaves the last block for a while.

    Yields:
        A function from a batch to hidden states, (batch, tokens, width): those that the frozen block gives, and those
        that leave it after all deltas.
    """
    held: dict[str, Tensor] = {}
    last = backbone.module.get_submodule(backbone.sites("block")[-1].path)
    hooks = [
        last.register_forward_hook(_keeping(held, "frozen"), prepend=True),
        last.register_forward_hook(_keeping(held, "left")),
    ]

    def states(batch: Tensor) -> tuple[Tensor, Tensor]:
        backbone.features(batch)
        return held.pop("frozen"), held.pop("left")

    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()


def _keeping(held: dict[str, Tensor], name: str) -> Callable[[nn.Module, Any, Any], None]:
    def keep(_module: nn.Module, _args: Any, output: Any) -> None:
        held[name] = output[0] if isinstance(output, tuple) else output

    return keep
