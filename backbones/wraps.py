"""Rules on tensors and wraps around modules: how the verbs of a delta change a torch module and change it back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from backbones.core.errors import FrostlineError

Wrap = Callable[..., Any]
Undo = Callable[[], None]


class Rule(Protocol):
    """An ``nn.Module`` that maps a tensor to another of the same shape.

    Attributes:
        replaces: whether its result does not depend on what it is given, so that no other rule can share the tensor.
    """

    replaces: bool

    def __call__(self, tensor: Tensor) -> Tensor: ...


class _Chain(nn.Module):
    """The rules of one tensor, applied one after the other."""

    def __init__(self, order: list[str]) -> None:
        super().__init__()
        self.rules = nn.ModuleList()
        self.order = order  # of the module's parameters before

    def forward(self, tensor: Tensor) -> Tensor:
        for rule in self.rules:
            tensor = rule(tensor)
        return tensor


def rule_on(module: nn.Module, name: str, rule: Rule, path: str) -> Undo:
    """Put ``rule`` on the tensor ``name`` of ``module``; returns what takes it off again, bit for bit.

    Raises:
        FrostlineError: no such tensor, or two rules of which one replaces the tensor.
    """
    if parametrize.is_parametrized(module, name):
        chain = _chain(module, name)
        if rule.replaces or any(other.replaces for other in chain.rules):
            raise FrostlineError(
                f"two rules on the tensor {path}.{name}, and one of them replaces it: they overlap. Keep one of "
                "the two PATs, or give them different layers or roles."
            )
    elif not isinstance(getattr(module, name, None), Tensor):
        raise FrostlineError(f"{path} ({type(module).__name__}) has no tensor {name!r} to put a rule on.")
    else:
        chain = _Chain(list(module._parameters))
        parametrize.register_parametrization(module, name, chain)
    assert isinstance(rule, nn.Module)
    chain.rules.append(rule)
    return lambda: _rule_off(module, name, rule)


def _chain(module: nn.Module, name: str) -> _Chain:
    held = cast("dict[str, Any]", module.parametrizations)
    return cast(_Chain, held[name][0])


def _rule_off(module: nn.Module, name: str, rule: nn.Module) -> None:
    chain = _chain(module, name)
    chain.rules = nn.ModuleList([other for other in chain.rules if other is not rule])
    if len(chain.rules):
        return
    with torch.no_grad():
        parametrize.remove_parametrizations(module, name, leave_parametrized=False)
    for key in chain.order:  # torch appends the tensor as the last one; optimizers and files know parameters by order
        if key in module._parameters:
            module._parameters[key] = module._parameters.pop(key)


class _Wrapped:
    """A forward with wraps around it; stands in for the module's own as long as there is one."""

    def __init__(self, inner: Callable[..., Any], before: Any) -> None:
        self.inner = inner
        self.before = before  # what stood in the module's own dictionary, None for nothing
        self.wraps: list[Wrap] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(len(self.wraps), args, kwargs)

    def _run(self, depth: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not depth:
            return self.inner(*args, **kwargs)
        return self.wraps[depth - 1](lambda *a, **k: self._run(depth - 1, a, k), *args, **kwargs)


def wrap_in(module: nn.Module, wrap: Wrap) -> Undo:
    """Run ``wrap(call, *args, **kwargs)`` in place of the module's forward; returns what undoes it."""
    wrapped = module.__dict__.get("forward")
    if not isinstance(wrapped, _Wrapped):
        wrapped = _Wrapped(module.forward, wrapped)
        module.__dict__["forward"] = wrapped
    chosen = wrapped

    def undo() -> None:
        chosen.wraps = [other for other in chosen.wraps if other is not wrap]
        if chosen.wraps or module.__dict__.get("forward") is not chosen:
            return
        if chosen.before is None:
            del module.__dict__["forward"]
        else:
            module.__dict__["forward"] = chosen.before

    chosen.wraps.append(wrap)
    return undo
