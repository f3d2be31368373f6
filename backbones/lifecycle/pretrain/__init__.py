"""Pre-training: text encoders on plain text, vision transformers on labelled images."""

from __future__ import annotations

from backbones.core.lazy import lazy

__all__ = ["Augmentation", "ImagePlan", "Pretrained", "Stops", "TextPlan", "pretrain_images", "pretrain_text"]

_HOMES = {
    "Augmentation": "backbones.lifecycle.pretrain.views",
    "ImagePlan": "backbones.lifecycle.pretrain.images",
    "Pretrained": "backbones.lifecycle.pretrain.course",
    "Stops": "backbones.lifecycle.pretrain.course",
    "TextPlan": "backbones.lifecycle.pretrain.text",
    "pretrain_images": "backbones.lifecycle.pretrain.images",
    "pretrain_text": "backbones.lifecycle.pretrain.text",
}
__getattr__, __dir__ = lazy(__name__, _HOMES)
