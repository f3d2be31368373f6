"""Pre-training of vision transformers: supervised, with augmentation, on any labelled images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled, Task, check_task
from backbones.core.launch import pick_device
from backbones.core.preprocess import Preprocessing
from backbones.core.samples import Progress, silent
from backbones.core.seed import derive, lent_generator, numpy_generator
from backbones.core.settings import Settings
from backbones.lifecycle.pretrain.course import Job, Pretrained, Stops, Volume, rehearse, run, steps_of
from backbones.lifecycle.pretrain.sizes import VIT_SIZES, Shape, check_patches, choose_shape
from backbones.lifecycle.pretrain.views import Augmentation, view_of
from backbones.lifecycle.pretrain.workplace import Workplace
from backbones.training import ranks
from backbones.training.loop import Recipe, Say, mute
from backbones.training.saving import save_backbone
from backbones.vit import from_timm

HELD_ROWS = 2000  # of the held-out images are measured, at most
HELD_BATCH = 64
PROBED = 64  # images that a run that goes on is recognised by, about


class ImagePlan(Settings):
    """How large a vision transformer is, and how its images change.

    Args:
        size: see ``VIT_SIZES``.
        depth, width, heads, inner: in place of the numbers of ``size``.
        image_size: side of the input in pixels.
        patch: side of a patch in pixels, see ``check_patches``.
        dropout: share of blocks that are passed over in training (stochastic depth).
        augmentation: see Augmentation.
    """

    size: str = "ti"
    depth: int | None = None
    width: int | None = None
    heads: int | None = None
    inner: int | None = None
    image_size: int = Field(default=224, ge=1)
    patch: int | None = Field(default=None, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    augmentation: Augmentation = Augmentation()

    def shape(self) -> Shape:
        """Return the numbers of the model; raises FrostlineError if they do not fit together."""
        numbers = {"depth": self.depth, "width": self.width, "heads": self.heads, "inner": self.inner}
        return choose_shape(self.size, VIT_SIZES, **numbers)


def build_vit(plan: ImagePlan, classes: int, seed: int = 0) -> Any:
    """Return a timm VisionTransformer with random weights.

    Args:
        plan: its numbers.
        classes: of its head; 0 for none.
        seed: of the weights.

    Raises:
        FrostlineError: numbers that do not fit together.
    """
    from timm.models.vision_transformer import VisionTransformer

    shape = plan.shape()
    with lent_generator(derive(seed, "vit")):
        return VisionTransformer(
            img_size=plan.image_size,
            patch_size=check_patches(plan.image_size, plan.patch),
            embed_dim=shape.width,
            depth=shape.depth,
            num_heads=shape.heads,
            mlp_ratio=shape.inner / shape.width,
            num_classes=classes,
            drop_path_rate=plan.dropout,
        )


def pretrain_images(
    task: Task,
    out: Path | str,
    plan: ImagePlan,
    recipe: Recipe,
    *,
    stops: Stops | None = None,
    resume: bool = False,
    device: str = "auto",
    save_every: float = 120.0,
    progress: Progress = silent,
    say: Say = mute,
) -> Pretrained:
    """Pre-train a vision transformer on labelled images and write it, without its classifier, as a timm folder.

    Started by torchrun, the samples of a step are shared out; the result is that of one process with the same
    ``recipe.micro``.

    Args:
        task: images to learn from, and others of the same classes to measure on.
        out: folder to make, see Workplace; or, with ``resume``, the folder of a run that was stopped.
        plan: the model and its views.
        recipe: of the training.
        stops: which models are written on the way.
        resume: go on.
        device: see ``pick_device``.
        save_every: seconds between savings of the state.
        progress: told of the phases.
        say: told what a user should know before a long time passes.

    Raises:
        FrostlineError: texts, images of one class, numbers that do not fit together, a folder that exists or that
            holds another run.
    """
    out = Path(out)
    ranks.join()
    progress, say = (progress, say) if ranks.rank() == 0 else (silent, mute)
    plan.shape()
    check_patches(plan.image_size, plan.patch)
    check_task(task)
    if task.train.modality != "image":
        raise FrostlineError(f"{task.name} holds texts; a vision transformer takes images: pass class folders of them.")
    chosen = stops or Stops()
    numbers = {**plan.model_dump(exclude={"augmentation"}), **plan.augmentation.model_dump()}
    asked = {"kind": "images", "data": task.name, **numbers, **recipe.model_dump(), **chosen.model_dump()}
    place = Workplace(out, asked, resume=resume)
    with place.preparing():
        classes = list(task.train.classes)
        place.agree("data", {"images": len(task.train), "digest": _digest(task.train), "classes": classes})
        module = build_vit(plan, len(classes), recipe.seed).to(pick_device(device))
        job = _job(module, task, plan, recipe)
        steps_of(chosen, job.volume, recipe.length(job.rows))
        rehearse(job, place)
    size = sum(param.numel() for param in module.parameters()) / 1e6
    pixels = f"{plan.image_size} pixels"
    say(f"ViT, {size:.3g} million parameters, {pixels}; {len(task.train):,} images of {len(classes)} classes")
    return run(job, place, recipe, chosen, save_every=save_every, progress=progress, say=say)


def _digest(data: Labelled) -> str:
    """Return the hex digest of all labels and of some images: reading all of them would take long."""
    state = hashlib.sha256(data.labels.tobytes())
    for image in data.raw(range(0, len(data), max(1, len(data) // PROBED))):
        state.update(image.tobytes())
    return state.hexdigest()


def _job(module: Any, task: Task, plan: ImagePlan, recipe: Recipe) -> Job:
    change = plan.augmentation

    def loss(rows: list[int], generator: torch.Generator) -> Tensor:
        view = view_of(task.train, rows, plan.image_size, change, generator)
        device = next(module.parameters()).device
        return view.loss(module(view.images.to(device)).float(), change.smoothing)

    chosen = numpy_generator(recipe.seed, "held-out rows").permutation(len(task.test))[:HELD_ROWS]
    return Job(
        module=module,
        loss=loss,
        rows=len(task.train),
        volume=Volume(len(task.train), 1.0, recipe.batch, "images"),
        measure=partial(measure, module, task.test.take(chosen), Preprocessing(plan.image_size)),
        save=partial(_save, module, Preprocessing(plan.image_size)),
    )


@torch.no_grad()
def measure(module: Any, data: Labelled, prepare: Preprocessing) -> Mapping[str, float]:
    """Return ``loss`` (nats) and ``accuracy`` of a model with a classifier on images as they are."""
    before = module.training
    module.eval()
    nats = right = 0.0
    device = next(module.parameters()).device
    try:
        for start in range(0, len(data), HELD_BATCH):
            rows = range(start, min(start + HELD_BATCH, len(data)))
            logits = module(prepare(data.raw(rows)).to(device)).float().cpu()
            labels = torch.from_numpy(data.labels[rows.start : rows.stop])
            nats += float(cross_entropy(logits, labels, reduction="sum"))
            right += float((logits.argmax(1) == labels).sum())
    finally:
        module.train(before)
    return {"loss": nats / len(data), "accuracy": right / len(data)}


def _save(module: Any, prepare: Preprocessing, out: Path, facts: Mapping[str, Any]) -> str:
    """Write the model without its classifier; training goes on with the original."""
    whole = deepcopy(module).cpu().eval()
    whole.reset_classifier(0)
    return save_backbone(from_timm(whole, str(out), prepare), out, facts).usage
