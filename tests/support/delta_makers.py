"""Deltas that were moved from their start, on tiny models, and the same by PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from backbones.base import Backbone
from backbones.core.seed import torch_generator
from backbones.delta import Delta
from backbones.pat.stack import make_pat
from backbones.testing_models import (
    raw_batch,
    tiny_bert,
    tiny_distilbert,
    tiny_roberta,
    tiny_transformers_vit,
    tiny_vit,
)

MODELS = {
    "timm": tiny_vit,
    "bert": tiny_bert,
    "roberta": tiny_roberta,
    "distilbert": tiny_distilbert,
    "hf-vit": tiny_transformers_vit,
}


LAYERS = ("all", "1", "0,2")


def moved(delta: Delta, seed: int = 0) -> Delta:
    """Move every parameter away from its start."""
    generator = torch_generator(seed, "moved")
    with torch.no_grad():
        for parameter in delta.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return delta.eval()


def features(backbone: Backbone, module: Any = None) -> torch.Tensor:
    batch = backbone.preprocessing(raw_batch(backbone))
    with torch.no_grad():
        return backbone.features(batch) if module is None else backbone.reading(module, batch)


def trained(kind: str, pat: str, values: dict[str, Any]) -> tuple[Delta, torch.Tensor]:
    backbone = MODELS[kind]()
    delta = moved(make_pat(pat, values).grow(backbone, 3))
    return delta, features(backbone)


class Bare(torch.nn.Module):
    """What PEFT makes of a timm model: the calls that reading features needs, through PEFT's own forward hooks."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward_features(self, batch: torch.Tensor) -> torch.Tensor:
        return self.model.base_model.model.forward_features(batch)

    def forward_head(self, found: torch.Tensor, pre_logits: bool) -> torch.Tensor:
        return self.model.base_model.model.forward_head(found, pre_logits=pre_logits)


def by_peft(kind: str, folder: Path) -> torch.Tensor:
    """Features of the plain model with the adapter of ``folder`` put on by PEFT."""
    peft = pytest.importorskip("peft")
    backbone = MODELS[kind]()
    wrapped = peft.PeftModel.from_pretrained(backbone.module, str(folder)).eval()
    return features(backbone, Bare(wrapped) if kind == "timm" else wrapped)


def draw(module: torch.nn.Module, part: str, mean: float) -> None:
    """Draw the parameters whose names hold ``part`` from a normal distribution around ``mean``."""
    generator = torch_generator(0, "peft")
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if part in name:
                parameter.normal_(mean, 0.2, generator=generator)


def lora_of_peft(kind: str, folder: Path, **options: Any) -> torch.Tensor:
    """Let PEFT put random factors on the plain model and save them; returns its features."""
    peft = pytest.importorskip("peft")
    backbone = MODELS[kind]()
    with torch.random.fork_rng(devices=[]):
        wrapped = peft.get_peft_model(backbone.module, peft.LoraConfig(**options)).eval()
    draw(wrapped, "lora_", 0.0)
    wrapped.save_pretrained(str(folder))
    return features(backbone, Bare(wrapped) if kind == "timm" else wrapped)
