"""What the teacher says of each image, computed once and kept on disk.

The teacher only looks: no weight of it enters a student. Its answers are approximately the same under the flips,
shifts and colour changes that the student sees, so one pass serves every epoch (Beyer et al. 2022, "Knowledge
distillation: a good teacher is patient and consistent", let the teacher see the same view instead).
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from backbones.core.artifacts import digest_json, digest_tensors, load_tensors, write_json
from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.recipes.images import to_unit

CHUNK = 1024


@dataclass(frozen=True)
class Teacher:
    """A frozen ViT with its classifier.

    Attributes:
        model: a timm VisionTransformer with a class token, for square images of ``size`` pixels.
        head: its classifier.
        size: side of its input in pixels.
        digest: hex digest of its weights.
    """

    model: VisionTransformer
    head: nn.Linear
    size: int
    digest: str


def load_teacher(path: Path, size: int) -> Teacher:
    """Read a ViT in timm's names; its shape is taken from the tensors, position embeddings are resampled.

    Args:
        path: safetensors file with ``patch_embed``, ``blocks.*``, ``norm`` and ``head``; heads are 64 wide.
        size: side of the square input in pixels; a multiple of the patch.

    Raises:
        FrostlineError: the file is missing or does not hold a timm ViT with a head, or ``size`` does not divide.
    """
    tensors, _ = load_tensors(path)
    try:
        width, _, patch, _ = tensors["patch_embed.proj.weight"].shape
        classes, _ = tensors["head.weight"].shape
        depth = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
    except (KeyError, ValueError) as error:
        raise FrostlineError(
            f"{path} lacks {error}; pass --teacher FILE.safetensors with a timm ViT and its classification head."
        ) from None
    if size % patch:
        raise FrostlineError(f"--teacher-size {size} is no multiple of the teacher's patch of {patch} pixels.")
    grid = size // patch
    weights = {name: tensor.float() for name, tensor in tensors.items()}
    weights["pos_embed"] = resample_abs_pos_embed(weights["pos_embed"], new_size=[grid, grid], num_prefix_tokens=1)
    model = VisionTransformer(
        img_size=size,
        patch_size=patch,
        embed_dim=width,
        depth=depth,
        num_heads=max(1, width // 64),
        num_classes=classes,
    )
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise FrostlineError(f"{path} does not fit timm's VisionTransformer: {error}") from None
    model.eval().requires_grad_(False)
    return Teacher(model, cast(nn.Linear, model.head), size, digest_tensors(tensors))


def look(teacher: Teacher, images: torch.Tensor, grid: int) -> torch.Tensor:
    """Return the teacher's answers: the final class token, then patch tokens before its last block.

    The class token is what the classifier reads. The last block's own patch tokens had no part in the teacher's
    training, so the layer before speaks for patches, each normalised over channels.

    Args:
        teacher: see load_teacher.
        images: float, shape (n, 3, s, s), in [-1, 1]; enlarged bicubically to the teacher's size.
        grid: the patch tokens are averaged or repeated to grid x grid.

    Returns:
        Tensor of shape (n, 1 + grid * grid, width).
    """
    model = teacher.model
    large = nn.functional.interpolate(images, size=teacher.size, mode="bicubic", align_corners=False).clamp_(-1, 1)
    x = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(large))))
    for block in model.blocks[:-1]:
        x = block(x)
    final = model.norm(model.blocks[-1](x))[:, :1]
    patches = nn.functional.layer_norm(x[:, 1:], x.shape[-1:])
    side = round(patches.shape[1] ** 0.5)
    if side != grid:
        square = patches.transpose(1, 2).reshape(len(patches), -1, side, side)
        patches = nn.functional.adaptive_avg_pool2d(square, grid).flatten(2).transpose(1, 2)
    return torch.cat([final, patches], dim=1)


def cached_targets(
    teacher: Teacher,
    images: NDArray[np.uint8],
    images_digest: str,
    order: NDArray[np.int64],
    count: int,
    grid: int,
    folder: Path,
    device: torch.device,
    batch: int = 16,
    workers: int = 1,
    progress: Progress = silent,
) -> NDArray[np.float16]:
    """Return ``look`` for ``images[order[:count]]`` from the cache, going on where an earlier call was stopped.

    Args:
        teacher: see load_teacher.
        images: uint8, shape (n, s, s, 3).
        images_digest: digest of ``images``.
        order: int64, shape (m,): in which order images are seen and stored.
        count: how many of them are wanted now, at most m; a later call may want more.
        grid: see look.
        folder: where the cache lies: one ``.npy`` and a note of how far it goes.
        device: where the teacher computes; bf16 is used on CUDA.
        batch: images per forward.
        workers: threads that take batches in turn; on a shared machine better than threads inside one forward.
        progress: told of every chunk.

    Returns:
        float16 memory map of shape (count, 1 + grid * grid, width).
    """
    key = digest_json([teacher.digest, teacher.size, grid, images_digest, digest_json(order.tolist())])
    note = folder / f"targets-{key[:16]}.json"
    store = note.with_suffix(".npy")
    shape = (len(order), 1 + grid * grid, teacher.model.embed_dim)
    done = int(json.loads(note.read_text())["done"]) if note.exists() and store.exists() else 0
    folder.mkdir(parents=True, exist_ok=True)
    mode = "r+" if done else "w+"
    targets = np.lib.format.open_memmap(store, mode=mode, dtype=np.float16, shape=None if done else shape)
    home = next(teacher.model.parameters()).device
    teacher.model.to(device)

    def answer(start: int) -> None:
        some = slice(start, min(start + batch, stop))
        amp = torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")
        with torch.inference_mode(), amp:
            answers = look(teacher, to_unit(images[order[some]], device), grid)
            targets[some] = answers.to("cpu", torch.float16).numpy()

    with ThreadPoolExecutor(workers) as pool:
        while done < count:
            stop = min(done + CHUNK, count)
            list(pool.map(answer, range(done, stop, batch)))
            targets.flush()
            done = stop
            write_json(note, {"done": done})
            progress("teacher", done, count)
    teacher.model.to(home)
    return cast("NDArray[np.float16]", targets[:count])
