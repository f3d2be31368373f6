"""Students: a smaller model of the teacher's own class, random or begun from some of the teacher's layers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from backbones.base import Backbone
from backbones.core.errors import FrostlineError, unknown
from backbones.core.preprocess import Preprocessing
from backbones.core.seed import derive, lent_generator
from backbones.core.settings import Settings
from backbones.lifecycle.distill.trace import Trace
from backbones.pat.attention import BLANK
from backbones.text import Reading, from_encoder, set_depth
from backbones.vit import from_timm, from_transformers, timm_config

STARTS = {
    "layers": "copies of the teacher's tensors of the mapped layers, where the shapes agree; else random",
    "random": "random weights, as the model's class draws them",
}


class Shape(Settings):
    """Size of a student; what is None is taken from the teacher.

    Args:
        layers: blocks.
        width: of tokens and features.
        heads: of every attention.
        inner: width inside the feed-forward networks; None keeps the teacher's ratio to the width.
    """

    layers: int
    width: int | None = None
    heads: int | None = None
    inner: int | None = None


@dataclass(frozen=True)
class Student:
    """A student and how many of its tensors were copied from the teacher."""

    backbone: Backbone
    copied: int
    tensors: int


def build_student(
    teacher: Backbone, shape: Shape, layers: Sequence[int], start: str = "layers", seed: int = 0
) -> Student:
    """Return a student of the teacher's class, with its preprocessing and its way of reading features.

    Args:
        teacher: a text encoder or a vision transformer of transformers, or one of timm.
        shape: its size.
        layers: g(1), ..., g(M), see ``layer_map``: where copies come from.
        start: see ``STARTS``.
        seed: of random weights.

    Raises:
        FrostlineError: a width that its heads do not divide, or a class that cannot be built in another size.
    """
    if start not in STARTS:
        raise unknown("start", start, STARTS)
    size = resolve(teacher, shape)
    with lent_generator(derive(seed, "student")):
        module = _smaller(teacher, size).to(teacher.device)
    copied = _copy_layers(teacher, module, layers) if start == "layers" else 0
    return Student(_view(teacher, module, size), copied, len(module.state_dict()))


@dataclass(frozen=True)
class Size:
    """A student's size in full."""

    layers: int
    width: int
    heads: int
    inner: int


def resolve(teacher: Backbone, shape: Shape) -> Size:
    """Return the size of a student in full.

    Raises:
        FrostlineError: numbers below 1, or a width that the heads do not divide; the nearest widths are named.
    """
    own = size_of(teacher)
    width = shape.width or own.width
    heads = shape.heads or own.heads
    inner = shape.inner or max(1, round(width * own.inner / own.width))
    size = Size(shape.layers, width, heads, inner)
    if min(size.layers, size.width, size.heads, size.inner) < 1:
        raise FrostlineError(f"a student of {size}: every number must be 1 or more.")
    if width % heads:
        low = max(1, width // heads) * heads
        raise FrostlineError(
            f"a width of {width} is no multiple of its {heads} heads; the nearest widths are {low} and {low + heads}. "
            "(Heads are as many as the teacher's, so that their scores can be compared; --heads gives others.)"
        )
    return size


def size_of(backbone: Backbone) -> Size:
    """Return the size of a backbone: heads and inner width of its first block."""
    first = backbone.sites("fc1", 0)[0]
    layer: Any = backbone.module.get_submodule(first.path)
    return Size(backbone.depth, backbone.width, heads_of(backbone), int(layer.out_features))


def heads_of(backbone: Backbone) -> int:
    """Return the heads of the attention in the first block: what the scores of one blank input show."""
    batch = backbone.preprocessing([BLANK[backbone.modality]]).to(backbone.device)
    with Trace(backbone, [0], embedding=False, hidden=False) as trace, torch.no_grad():
        return int(trace.run(batch)[1].scores[0].shape[1])


def _smaller(teacher: Backbone, size: Size) -> nn.Module:
    module: Any = teacher.module
    if hasattr(module, "config"):
        return _smaller_transformers(module, size)
    import timm

    assert isinstance(teacher.preprocessing, Preprocessing)
    stated = timm_config(module, teacher.name, teacher.preprocessing)
    changed = {
        "depth": size.layers,
        "embed_dim": size.width,
        "num_heads": size.heads,
        "mlp_ratio": size.inner / size.width,
    }
    arguments = {**stated["model_args"], **changed}
    found: nn.Module = timm.create_model(
        stated["architecture"], num_classes=0, pretrained_cfg=stated["pretrained_cfg"], **arguments
    )
    return found


def _smaller_transformers(module: Any, size: Size) -> nn.Module:
    config = copy.deepcopy(module.config)
    set_depth(config, range(size.layers))
    config.hidden_size = size.width
    config.num_attention_heads = size.heads
    names = [name for name in ("intermediate_size", "hidden_dim", "d_ff") if hasattr(config, name)]
    if names:
        setattr(config, names[0], size.inner)
    elif size.inner % size.width == 0:
        config.mlp_ratio = size.inner // size.width
    else:
        raise FrostlineError(
            f"{type(module).__name__} has an inner width that is a whole multiple of its width {size.width}; "
            f"{size.inner} is none."
        )
    found: Any = type(module)(config)
    if getattr(found, "pooler", None) is not None:
        found.pooler = None  # the loaders drop it too: features do not need it
    return found  # type: ignore[no-any-return]


def _view(teacher: Backbone, module: Any, size: Size) -> Backbone:
    name = f"{teacher.name}, {size.layers} layers of {size.width}"
    prepare: Any = teacher.preprocessing
    if teacher.modality == "text":
        reading = teacher.reading
        assert isinstance(reading, Reading)
        dense = reading.dense if size.width == teacher.width else None  # of the teacher's width
        how, unit = reading.pooling, reading.normalised
        return from_encoder(module, name, prepare, pooling=how, normalised=unit, dense=dense)
    return (from_transformers if hasattr(module, "config") else from_timm)(module, name, prepare)


def _copy_layers(teacher: Backbone, module: nn.Module, layers: Sequence[int]) -> int:
    """Copy tensors of equal name and shape, of mapped layers for the blocks; returns how many."""
    root = teacher.sites("block", 0)[0].path.rpartition(".")[0]
    frozen, own = teacher.frozen_state(), module.state_dict()
    found: dict[str, Tensor] = {}
    for name, tensor in own.items():
        source = name
        if name.startswith(f"{root}."):
            number, _, rest = name.removeprefix(f"{root}.").partition(".")
            source = f"{root}.{layers[int(number)] - 1}.{rest}"
        if source in frozen and frozen[source].shape == tensor.shape:
            found[name] = frozen[source].clone()
    module.load_state_dict({**own, **found})
    return len(found)


def check_student(student: Backbone, teacher: Backbone) -> None:
    """Raise FrostlineError unless a student that was made elsewhere reads inputs as its teacher does.

    Tokenizers, or preprocessing of images, number of tokens and modality have to be the same.
    """
    if student.modality != teacher.modality:
        raise FrostlineError(
            f"the student {student.name!r} takes {student.modality}s, the teacher {teacher.name!r} "
            f"{teacher.modality}s; pass two of a kind."
        )
    mine, theirs = student.preprocessing.described(), teacher.preprocessing.described()
    if mine.get("tokenizer") != theirs.get("tokenizer"):
        raise FrostlineError(
            f"the tokenizers of the student {student.name!r} and the teacher {teacher.name!r} differ: the same text "
            "has other tokens in each, so that layers cannot be compared token by token. Pass a student with the "
            "teacher's tokenizer, or leave --student out to build one."
        )
    different = sorted(key for key in theirs if mine.get(key) != theirs[key] and key != "bucket")
    if different:
        key = different[0]
        raise FrostlineError(
            f"student and teacher prepare inputs differently: {key} is {mine.get(key)!r} for the student and "
            f"{theirs[key]!r} for the teacher. Load both with the same options (--max-tokens, --image-size)."
        )
    if teacher.modality == "image" and student.tokens != teacher.tokens:
        raise FrostlineError(
            f"an image has {student.tokens} tokens in the student and {teacher.tokens} in the teacher; choose models "
            "of one patch size and of as many special tokens."
        )
