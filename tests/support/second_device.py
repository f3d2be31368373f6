"""A second device where there is none: its tensors hold values on the CPU, and refuse to meet tensors of the CPU.

As on a real one, a computation whose operands lie on two devices raises, and so do numpy and files; numbers, moving and
indices of the CPU are let through. The device is called ``far``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "far"
aten = torch.ops.aten
MOVES = {aten._to_copy.default, aten.copy_.default, aten._copy_from.default}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._unsafe_index.Tensor}


class Far(torch.Tensor):
    """A tensor on the second device."""

    near: torch.Tensor
    made = 0  # how many there have been

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> Far:
        found = torch.Tensor._make_wrapper_subclass(
            cls, near.size(), strides=near.stride(), storage_offset=near.storage_offset(), dtype=near.dtype,
            layout=near.layout, device=torch.device(NAME, 0), requires_grad=near.requires_grad,
        )  # fmt: skip
        found.near = near
        Far.made += 1
        return found

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def storage(self) -> Any:  # by which those who save see what is shared
        return self.near.storage()

    def tolist(self) -> Any:
        return self.near.tolist()

    def __repr__(self) -> str:
        return f"Far({self.near!r})"


class _Present(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    far = [tensor for tensor in tensors if isinstance(tensor, Far)]
    named = kwargs.get("device")
    wanted = bool(far) if named is None else torch.device(named).type == NAME
    near = [tensor for tensor in tensors if not isinstance(tensor, Far) and tensor.dim()]
    if far and near and func not in MOVES and not (func in INDEXING and isinstance(args[0], Far)):
        raise RuntimeError(f"{func}: operands on two devices, {NAME} and cpu")
    if func is aten.copy_.default and not isinstance(args[0], Far):
        wanted = False
    plain_args, plain_kwargs = tree_map_only(Far, lambda tensor: tensor.near, (args, kwargs))
    if named is not None and wanted:
        plain_kwargs["device"] = torch.device("cpu")
    out = func(*plain_args, **plain_kwargs)
    if not wanted:
        return out
    out = tree_map_only(torch.Tensor, lambda tensor: tensor if isinstance(tensor, Far) else Far(tensor), out)
    return return_and_correct_aliasing(func, args, kwargs, out) if far else out


class _Module(_DummyBackendModule):  # what torch asks of a device
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


def _no_grad(mode: bool = True) -> Any:
    return torch.no_grad() if mode else torch.enable_grad()


@contextmanager
def second_device() -> Iterator[torch.device]:
    """Lend the second device. A process that has done so once keeps the name: do it in one of its own."""
    _setup_privateuseone_for_python_backend(NAME, _Module())
    torch.inference_mode = _no_grad  # views of tensors like ours cannot be made in inference mode
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor makes it here and moves it, as far as it is asked
    try:
        with _Present():
            yield torch.device(NAME, 0)
    finally:
        torch._C._set_only_lift_cpu_tensors(before)
