"""Where and how to compute: devices, native precisions, running out of memory."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeVar

import torch

from backbones.core.errors import FrostlineError, unknown

Result = TypeVar("Result")
PRECISIONS = ("auto", "fp32", "bf16")


def pick_device(name: str) -> torch.device:
    """Return the device called ``name``: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.

    Raises:
        FrostlineError: the name is no device, or this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        if device.type == "meta":
            raise RuntimeError("it holds shapes without values")
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise FrostlineError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); pass cpu or auto."
        ) from error
    return device


def native_bf16(device: torch.device) -> bool:
    """Tell whether ``device`` multiplies bf16 natively; emulation is several times slower than fp32.

    ``$FROSTLINE_NATIVE_BF16``, 1 or 0, is the answer where it is set: so that one machine can do what another does.

    Raises:
        FrostlineError: another value of it.
    """
    said = os.environ.get("FROSTLINE_NATIVE_BF16")
    if said not in (None, "0", "1"):
        raise FrostlineError(f"FROSTLINE_NATIVE_BF16={said!r}: it is 1 (bf16 is native), 0 (it is not) or not set.")
    if said is not None:
        return said == "1"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def pick_precision(name: str, device: torch.device) -> str:
    """Return ``"fp32"`` or ``"bf16"``: what ``name`` asks for; ``"auto"`` is bf16 where it is native.

    Raises:
        FrostlineError: another name.
    """
    if name not in PRECISIONS:
        raise unknown("precision", name, PRECISIONS)
    return ("bf16" if native_bf16(device) else "fp32") if name == "auto" else name


def emulation(precision: str, device: torch.device) -> tuple[str, ...]:
    """Return the remark that ``device`` emulates ``precision``, if it does."""
    if precision != "bf16" or native_bf16(device):
        return ()
    return (f"{device} does not multiply bf16 natively: it is emulated, which is slower than fp32",)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the context in which ``precision`` is computed; fp32 also means so inside another such context."""
    if precision != "bf16" and not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def fitting(work: Callable[[], Result], *, smallest: bool) -> Result | None:
    """Return what ``work`` returns, or None if memory ran out: the failed pass is freed by then, so a smaller one fits.

    Args:
        work: a pass whose inputs can be divided; it returns something.
        smallest: whether they cannot be divided further; running out is then raised.
    """
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if smallest or not is_out_of_memory(error):
            raise
    # The error is gone here, and with it the frames that held the tensors of the pass.
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether ``error`` says that memory ran out, on any device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
