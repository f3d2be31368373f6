"""The student: a small timm ViT, started so that few steps go far, and its view of part of an image."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from backbones.core.seed import lent_generator

CELL = 2  # patches are dropped evenly: some of every CELL x CELL cell stay


def build_student(kwargs: dict[str, Any], images: torch.Tensor, generator: torch.Generator) -> VisionTransformer:
    """Build a ViT and draw its weights from ``generator``.

    Three starts replace timm's: patch filters that whiten real patches; sine-cosine position embeddings; queries,
    keys, values and projections whose products resemble those of trained attention (Trockman and Kolter 2023,
    "Mimetic initialization of self-attention layers").

    Args:
        kwargs: arguments of timm's VisionTransformer.
        images: float, shape (n, 3, s, s), in [-1, 1]: a sample to whiten.
        generator: CPU generator.
    """
    with lent_generator(0):  # timm draws from the global generator; whatever it drew is replaced
        model = VisionTransformer(**kwargs)
    width = model.embed_dim
    grid = model.patch_embed.grid_size[0]
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) / module.in_features**0.5)
        for block in cast("list[Any]", model.blocks):
            _mimic(block.attn.qkv, block.attn.proj, block.attn.num_heads, generator)
            block.mlp.fc2.weight.mul_(0.5)
        _whiten(cast(nn.Conv2d, model.patch_embed.proj), images, generator)
        waves = build_sincos2d_pos_embed([grid, grid], dim=width, interleave_sin_cos=False)
        cast(nn.Parameter, model.pos_embed)[0, -grid * grid :].copy_(0.5 * waves)
        if model.cls_token is not None:
            model.cls_token.copy_(0.5 * torch.randn(model.cls_token.shape, generator=generator))
    return model


def _mimic(qkv: nn.Linear, proj: nn.Linear, heads: int, generator: torch.Generator) -> None:
    width = qkv.in_features
    rank = width // heads
    eye = torch.eye(width)
    for head in range(heads):
        noise = torch.randn(width, width, generator=generator) / width**0.5
        left, scale, right = torch.linalg.svd(0.7 * noise + 0.7 * eye)
        rows = slice(head * rank, (head + 1) * rank)
        qkv.weight[:width][rows] = scale[:rank, None].sqrt() * left[:, :rank].T
        qkv.weight[width : 2 * width][rows] = scale[:rank, None].sqrt() * right[:rank]
    noise = torch.randn(width, width, generator=generator) / width**0.5
    left, scale, right = torch.linalg.svd(0.4 * noise - 0.4 * eye)
    proj.weight.copy_(left * scale.sqrt())
    qkv.weight[2 * width :] = scale[:, None].sqrt() * right


def _whiten(proj: nn.Conv2d, images: torch.Tensor, generator: torch.Generator) -> None:
    width, channels, patch, _ = proj.weight.shape
    patches = nn.functional.unfold(images, patch, stride=patch).transpose(1, 2).flatten(0, 1)
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    whitener = vectors / (values + 0.01 * values.mean()).sqrt()
    mixer = torch.randn(width, len(mean), generator=generator) / len(mean) ** 0.5
    filters = 0.5 * mixer @ whitener.T
    proj.weight.copy_(filters.view(width, channels, patch, patch))
    cast(nn.Parameter, proj.bias).copy_(-filters @ mean)


def choose_patches(count: int, grid: int, per_cell: int, generator: torch.Generator) -> torch.Tensor | None:
    """Draw which patches stay: ``per_cell`` of every 2 x 2 cell, so that no part of the image is unseen.

    Args:
        count: images.
        grid: patches along a side, even.
        per_cell: 1 to 4; 4 keeps all.
        generator: CPU generator.

    Returns:
        int64 indices of shape (count, per_cell * (grid / 2) ** 2), or None for all.
    """
    if per_cell >= CELL * CELL:
        return None
    index = torch.arange(grid * grid).view(grid // CELL, CELL, grid // CELL, CELL)
    cells = index.permute(0, 2, 1, 3).reshape(-1, CELL * CELL)
    picks = torch.rand(count, *cells.shape, generator=generator).argsort(-1)[..., :per_cell]
    return cells.expand(count, -1, -1).gather(2, picks).flatten(1)


def encode(model: VisionTransformer, images: torch.Tensor, kept: torch.Tensor | None) -> torch.Tensor:
    """Return the normalised class token and the kept patch tokens.

    Args:
        model: a ViT with one class token.
        images: float, shape (n, 3, s, s), in [-1, 1].
        kept: int64 indices of patches, shape (n, k), or None for all.

    Returns:
        Tensor of shape (n, 1 + k, width).
    """
    x = model._pos_embed(model.patch_embed(images))
    if kept is not None:
        patches = x[:, 1:].gather(1, kept[..., None].expand(-1, -1, x.shape[-1]))
        x = torch.cat([x[:, :1], patches], dim=1)
    return cast(torch.Tensor, model.norm(model.blocks(x)))


def cosine_ramp(done: float, warm_up: float = 0.04) -> float:
    """Return the factor of the learning rate after the share ``done`` of the work: linear up, then half a cosine."""
    if done < warm_up:
        return max(done, 1e-3) / warm_up
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warm_up) / (1 - warm_up))))
