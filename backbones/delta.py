"""Delta: trainable parameters put on sites by five verbs; every change can be undone exactly."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from backbones.base import Backbone, Site
from backbones.core.artifacts import digest_json, digest_tensors
from backbones.core.errors import FrostlineError
from backbones.core.settings import Settings
from backbones.wraps import Rule, Wrap, rule_on, wrap_in

Rewrite = Callable[[Tensor], Tensor]
Fold = Callable[[dict[str, Tensor]], None]
# In a forward pass, rules make the weights, wraps act around what the weights do, hooks act on what comes out of that,
# whatever was attached first: folding goes in the same order.
RULES, WRAPS, HOOKS = range(3)


class Delta(nn.Module):
    """Trainable, removable parameters on a frozen backbone.

    Subclasses create their parameters, then call the verbs in ``__init__``; where that fails, whatever it raises, all
    that the verbs have done is undone. Only settings and ``state_dict`` are ever saved: the hooks are closures and are
    made again by growing.

    Args:
        backbone: the backbone to act on; it is not a submodule of the delta.
        settings: what grew it; part of its fingerprint, since outputs may depend on more than the trained tensors.

    Attributes:
        notes: what whoever read it from a file wants the user to know, such as tensors that were left out.
    """

    notes: tuple[str, ...] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = _whole_or_not(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, backbone: Backbone, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        # object.__setattr__ keeps nn.Module from taking the backbone in as a submodule
        object.__setattr__(self, "backbone", backbone)
        self._undo: list[Callable[[], None]] = []
        self._layers: list[int] = []
        self._folds: list[tuple[int, Fold | None]] = []

    backbone: Backbone

    def stages(self, experience: int) -> int:
        """Return in how many stages experience ``experience`` trains this delta; each has all the epochs."""
        return 1

    def enter(self, experience: int, stage: int) -> None:
        """Get ready for a stage of training; called before the first as well.

        A delta may exchange its trainable parameters here. Its ``state_dict`` after training must have the shapes that
        it has after growing, so that a run can be resumed.
        """

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

    def after(self, site: Site, fn: Rewrite, *, fold: Fold | None = None) -> None:
        """Rewrite the hidden states that leave ``site``; of a tuple, its first item.

        Args:
            site: where.
            fn: the rewriting.
            fold: does the same to the frozen weights, see ``merged``; None: this cannot be folded in.
        """

        def hook(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
            return (fn(output[0]), *output[1:]) if isinstance(output, tuple) else fn(output)

        handle = self._module(site).register_forward_hook(hook)
        self._note(site, handle.remove, fold, HOOKS)

    def around(self, site: Site, fn: Wrap, *, fold: Fold | None = None) -> None:
        """Run ``fn(call, *args, **kwargs)`` in place of the forward of ``site``; ``call`` is what was there before.

        Args:
            site: where.
            fn: may change what goes in, what comes out, or what surrounds the call; the last attached is outermost.
            fold: does the same to the frozen weights, see ``merged``; None: this cannot be folded in.
        """
        self._note(site, wrap_in(self._module(site), fn), fold, WRAPS)

    def reparam(self, site: Site, name: str, rule: Rule) -> None:
        """Replace the tensor ``name`` of ``site`` by ``rule(frozen tensor)``.

        Rules on one tensor apply one after the other, as long as none of them replaces the tensor outright
        (``rule.replaces``). A delta that is refused here is taken off whole, so that the backbone is left as it was.

        Raises:
            FrostlineError: the tensor does not exist, or one of two rules on it replaces it.
        """
        module = self._module(site)
        try:
            undo = rule_on(module, name, rule, site.path)
        except FrostlineError:
            self.detach()
            raise
        key = f"{site.path}.{name}"

        def fold(state: dict[str, Tensor]) -> None:
            state[key] = rule(state[key])

        self._note(site, undo, fold, RULES)

    def swap(self, site: Site, make: Callable[[nn.Module], nn.Module]) -> None:
        """Replace the module of ``site`` by ``make(module)``."""
        parent_path, _, leaf = site.path.rpartition(".")
        parent = self.backbone.module.get_submodule(parent_path)
        old = self._module(site)
        setattr(parent, leaf, make(old))
        self._note(site, lambda: setattr(parent, leaf, old))

    def __enter__(self) -> Self:
        """Lend this delta for a block of code; afterwards everything that was done with its verbs is undone."""
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def detach(self) -> None:
        """Undo every change, last first; outputs and weights are again what they were, bit for bit."""
        while self._undo:
            self._undo.pop()()
        self._folds.clear()
        self.backbone.deltas.discard(self)

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

    @property
    def mergeable(self) -> bool:
        """Whether every change can be folded into the frozen weights."""
        return all(fold is not None for _, fold in self._folds)

    def merged(self) -> dict[str, Tensor]:
        """Return the weights of the backbone with this delta folded in: every tensor by its own name, detached.

        The plain model with these weights gives, in fp32 and up to rounding, the features that the backbone gives with
        the delta on it.

        Raises:
            FrostlineError: this delta does more than changing weights.
        """
        if not self.mergeable:
            raise FrostlineError(
                f"{type(self.settings).__name__} cannot be folded into weights: it changes more than weights. Keep its "
                "delta beside the backbone, or use a mergeable PAT (cil-run --list pats says which)."
            )
        state = self.backbone.frozen_state()
        with torch.no_grad():
            for _, fold in sorted(self._folds, key=lambda entry: entry[0]):
                assert fold is not None
                fold(state)
            return {name: tensor.detach().clone() for name, tensor in state.items()}

    def fingerprint(self) -> str:
        """Return the digest of the trained state and of the settings; ``""`` while nothing is changed."""
        if not self.attached:
            return ""
        kind = f"{type(self.settings).__module__}:{type(self.settings).__qualname__}"
        return digest_json([kind, self.settings.model_dump(mode="json"), digest_tensors(self.state_dict())])

    def _module(self, site: Site) -> nn.Module:
        return self.backbone.module.get_submodule(site.path)

    def _note(self, site: Site, undo: Callable[[], None], fold: Fold | None = None, order: int = HOOKS) -> None:
        self._undo.append(undo)
        self.backbone.deltas.add(self)
        self._folds.append((order, fold))
        self._layers.append(self.backbone.bound(site))


def _whole_or_not(init: Callable[..., None]) -> Callable[..., None]:
    """Let a constructor that fails undo what it has done to the backbone."""

    @functools.wraps(init)
    def guarded(self: Delta, *args: Any, **named: Any) -> None:
        try:
            init(self, *args, **named)
        except BaseException:
            if "_undo" in vars(self):
                Delta.detach(self)
            raise

    return guarded
