"""Where and how to compute: devices, native precisions, running out of memory."""

from __future__ import annotations

from pathlib import Path

import torch

from backbones.core.errors import FrostlineError


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
    """Tell whether ``device`` multiplies bf16 natively; emulation is several times slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether ``error`` says that memory ran out, on any device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
