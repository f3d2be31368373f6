"""Several processes, as torchrun starts them: who this one is, equal starts, summed gradients."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta

import torch
from torch import distributed, nn

from backbones.core.errors import FrostlineError


def join() -> None:
    """Join the processes that torchrun has started, if any: gloo on the CPU, nccl on CUDA devices.

    Raises:
        FrostlineError: more processes on this machine than it has CUDA devices.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        cuda, local = torch.cuda.is_available(), int(os.environ.get("LOCAL_RANK", "0"))
        if cuda and local >= torch.cuda.device_count():
            raise FrostlineError(
                f"process {local} of this machine has no device: there are {torch.cuda.device_count()}. Pass torchrun "
                f"--nproc-per-node {torch.cuda.device_count()}."
            )
        if cuda:
            torch.cuda.set_device(local)
        distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=timedelta(minutes=30))


def leave() -> None:
    """Leave the group again."""
    if _together():
        distributed.destroy_process_group()


def rank() -> int:
    """Return the number of this process, 0 if it is alone."""
    return distributed.get_rank() if _together() else 0


def world() -> int:
    """Return the number of processes, 1 if this one is alone."""
    return distributed.get_world_size() if _together() else 1


def share(params: Mapping[str, nn.Parameter]) -> None:
    """Give every process the weights of the first."""
    if _together():
        for param in params.values():
            distributed.broadcast(param.data, src=0)


def add(params: Mapping[str, nn.Parameter], losses: Mapping[str, float]) -> dict[str, float]:
    """Sum gradients and losses over all processes, in place and as returned; a process may have had no part."""
    if not _together():
        return dict(losses)
    for param in params.values():
        if param.grad is None:
            param.grad = torch.zeros_like(param)
        distributed.all_reduce(param.grad)
    every: list[dict[str, float] | None] = [None] * world()
    distributed.all_gather_object(every, dict(losses))
    names = list(dict.fromkeys(name for each in every for name in each or {}))
    return {name: sum((each or {}).get(name, 0.0) for each in every) for name in names}


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
