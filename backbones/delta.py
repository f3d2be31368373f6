"""Delta: trainable parameters put on sites by four verbs; every change can be undone exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from backbones.base import Backbone, Site
from backbones.core.artifacts import digest_json, digest_tensors
from backbones.core.errors import FrostlineError
from backbones.core.settings import Settings

Rewrite = Callable[[Tensor], Tensor]


class Delta(nn.Module):
    """Trainable, removable parameters on a frozen backbone.

    Subclasses create their parameters, then call the verbs in ``__init__``. Only settings and ``state_dict`` are ever
    saved: the hooks are closures and are made again by growing.

    Args:
        backbone: the backbone to act on; it is not a submodule of the delta.
        settings: what grew it; part of its fingerprint, since outputs may depend on more than the trained tensors.
    """

    def __init__(self, backbone: Backbone, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        # object.__setattr__ keeps nn.Module from taking the backbone in as a submodule
        object.__setattr__(self, "backbone", backbone)
        self._undo: list[Callable[[], None]] = []
        self._layers: list[int] = []

    backbone: Backbone

    def before(self, site: Site, fn: Rewrite, *, first: bool = False) -> None:
        """Rewrite the hidden states that enter ``site``: fn maps (batch, tokens, width) to the like.

        Args:
            site: where.
            fn: the rewriting; with several at one site the earliest attached runs first.
            first: run before those that are attached already.
        """

        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (fn(args[0]), *args[1:]), kwargs
            key = next(name for name, value in kwargs.items() if isinstance(value, Tensor))
            return args, {**kwargs, key: fn(kwargs[key])}

        handle = self._module(site).register_forward_pre_hook(hook, with_kwargs=True, prepend=first)
        self._note(site, handle.remove)

    def after(self, site: Site, fn: Rewrite) -> None:
        """Rewrite the hidden states that leave ``site``; of a tuple, its first item."""

        def hook(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
            return (fn(output[0]), *output[1:]) if isinstance(output, tuple) else fn(output)

        handle = self._module(site).register_forward_hook(hook)
        self._note(site, handle.remove)

    def reparam(self, site: Site, name: str, rule: nn.Module) -> None:
        """Replace the tensor ``name`` of ``site`` by ``rule(frozen tensor)``.

        A delta that is refused here is taken off whole, so that the backbone is left as it was before.

        Raises:
            FrostlineError: the tensor does not exist or has a rule already (stack the PATs so that one composes both).
        """
        module = self._module(site)
        if parametrize.is_parametrized(module, name):
            self.detach()
            raise FrostlineError(
                f"{site.path}.{name} already has a rule; two rules on one tensor overlap: put one PAT there, or stack."
            )
        if not isinstance(getattr(module, name, None), Tensor):
            self.detach()
            raise FrostlineError(f"{site.path} ({type(module).__name__}) has no tensor {name!r} to put a rule on.")
        order = list(module._parameters)
        parametrize.register_parametrization(module, name, rule)
        self._note(site, lambda: _unrule(module, name, order))

    def swap(self, site: Site, make: Callable[[nn.Module], nn.Module]) -> None:
        """Replace the module of ``site`` by ``make(module)``."""
        parent_path, _, leaf = site.path.rpartition(".")
        parent = self.backbone.module.get_submodule(parent_path)
        old = self._module(site)
        setattr(parent, leaf, make(old))
        self._note(site, lambda: setattr(parent, leaf, old))

    def detach(self) -> None:
        """Undo every change, last first; outputs and weights are again what they were, bit for bit."""
        while self._undo:
            self._undo.pop()()

    @property
    def attached(self) -> bool:
        """Whether any change is in force."""
        return bool(self._undo)

    @property
    def first_layer(self) -> int:
        """The lowest block that this delta touches; ``backbone.depth`` if it touches none."""
        return min(self._layers, default=self.backbone.depth)

    @property
    def parameter_count(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.parameters())

    def fingerprint(self) -> str:
        """Return the digest of the trained state and of the settings; ``""`` while nothing is changed."""
        if not self.attached:
            return ""
        kind = f"{type(self.settings).__module__}:{type(self.settings).__qualname__}"
        return digest_json([kind, self.settings.model_dump(mode="json"), digest_tensors(self.state_dict())])

    def _module(self, site: Site) -> nn.Module:
        return self.backbone.module.get_submodule(site.path)

    def _note(self, site: Site, undo: Callable[[], None]) -> None:
        self._undo.append(undo)
        # A site outside the blocks: the embedding lies below block 0, the final norm above the last block.
        below = 0 if site.role == "embed" else self.backbone.depth
        self._layers.append(site.layer if site.layer is not None else below)


def _unrule(module: nn.Module, name: str, order: list[str]) -> None:
    with torch.no_grad():
        parametrize.remove_parametrizations(module, name, leave_parametrized=False)
    for key in order:  # torch appends the tensor as the last one; optimizers and files know parameters by their order
        if key in module._parameters:
            module._parameters[key] = module._parameters.pop(key)
