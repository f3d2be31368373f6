"""Steps along the nearest orthogonal matrix of the momentum, for the matrices inside the blocks.

The method is Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"), with the step size
of Liu et al. 2025, "Muon is scalable for LLM training". It is written here because torch's own computes in bfloat16
whatever the device, which is slow on most CPUs, and one matrix at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn


def orthogonalise(matrices: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """Return matrices of the same singular vectors whose singular values lie near 1 (about 0.7 to 1.2).

    Args:
        matrices: float, shape (n, rows, columns).
        rounds: iterations of the odd quintic polynomial 3.4445 s - 4.7750 s^3 + 2.0315 s^5.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.transpose(1, 2) if tall else x


class Orthogonal(torch.optim.Optimizer):
    """Muon for groups of equally shaped matrices.

    Args:
        groups: dicts with ``params`` and ``parts``: each matrix is cut into so many row blocks (3 for q, k, v).
        lr: step size; an update has the root mean square 0.2 lr, as AdamW's has about.
        momentum: of the gradient, in Nesterov's form.
        decay: decoupled weight decay.
    """

    def __init__(
        self, groups: Sequence[dict[str, Any]], lr: float, momentum: float = 0.95, decay: float = 0.05
    ) -> None:
        super().__init__(list(groups), {"lr": lr, "momentum": momentum, "decay": decay, "parts": 1})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient; ``closure`` is not supported and ignored."""
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            if not params:
                continue
            updates = []
            for param in params:
                held = self.state[param].setdefault("momentum", torch.zeros_like(param))
                held.lerp_(param.grad, 1 - group["momentum"])
                updates.append(param.grad.lerp(held, group["momentum"]))
            rows, columns = params[0].shape[0] // group["parts"], params[0].shape[1]
            turned = orthogonalise(torch.stack(updates).view(-1, rows, columns)).reshape(len(params), *params[0].shape)
            for param, update in zip(params, turned, strict=True):
                param.mul_(1 - group["lr"] * group["decay"])
                param.add_(update, alpha=-group["lr"] * 0.2 * max(rows, columns) ** 0.5)


def optimisers(model: VisionTransformer, extra: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Split a ViT: Orthogonal at ``lr`` for the matrices of its blocks, AdamW at half of it for the rest and ``extra``.

    Each group has an optimiser of its own, so that threads can share the steps out.
    """
    blocks: list[Any] = list(model.blocks)
    groups: list[dict[str, Any]] = [
        {"params": [block.attn.qkv.weight for block in blocks], "parts": 3},
        {"params": [block.attn.proj.weight for block in blocks]},
        {"params": [block.mlp.fc1.weight for block in blocks]},
        {"params": [block.mlp.fc2.weight for block in blocks]},
    ]
    held = {id(param) for group in groups for param in group["params"]}
    rest = [param for param in [*model.parameters(), *extra.parameters()] if id(param) not in held]
    return [
        *(Orthogonal([group], lr) for group in groups),
        torch.optim.AdamW(rest, lr=lr / 2, betas=(0.9, 0.98), weight_decay=0.01),
    ]
