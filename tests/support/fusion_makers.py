"""Pools of LoRAs in miniature, for the tests of their fusion."""

import torch

from backbones.core.seed import torch_generator
from backbones.pat.peft_files import write_peft


def paths_of(backbone, roles=("qkv", "proj")):
    return {s.path: backbone.module.get_submodule(s.path) for s in backbone.all_sites() if s.role in roles}


def write_lora(folder, backbone, *, r=3, alpha=6.0, seed=0, roles=("qkv", "proj"), prefix="", **config):
    """Write a LoRA of random factors in PEFT's format."""
    generator = torch_generator(seed, "adapter")
    tensors = {}
    for path, layer in paths_of(backbone, roles).items():
        name = f"base_model.model.{prefix}{path}"
        tensors[f"{name}.lora_A.weight"] = 0.2 * torch.randn(r, layer.in_features, generator=generator)
        tensors[f"{name}.lora_B.weight"] = 0.2 * torch.randn(layer.out_features, r, generator=generator)
    write_peft(folder, {"peft_type": "LORA", "r": r, "lora_alpha": alpha, **config}, tensors)
    return str(folder)


def write_pool(folder, backbone, ranks=(3, 3), **values):
    """Write LoRAs of these ranks for a backbone and return their folders."""
    return tuple(
        write_lora(folder / f"{backbone.name}-{i}", backbone, r=r, seed=i, alpha=3.0 + i, **values)
        for i, r in enumerate(ranks)
    )
