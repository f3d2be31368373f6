"""Every registered PAT meets the public contract on every kind of backbone."""

import pytest

from backbones.pat import PATS
from backbones.testing import (
    check_backbone,
    check_pat,
    raw_batch,
    tiny_bert,
    tiny_clip,
    tiny_distilbert,
    tiny_roberta,
    tiny_transformers_vit,
    tiny_vit,
)

BACKBONES = {
    "class token": lambda: tiny_vit(),
    "registers and average pooling": lambda: tiny_vit(registers=2, average=True),
    "transformers ViT": lambda: tiny_transformers_vit(),
    "CLIP's vision tower": lambda: tiny_clip(),
    "BERT": lambda: tiny_bert(),
    "BERT, [CLS]": lambda: tiny_bert(pooling="cls"),
    "RoBERTa": lambda: tiny_roberta(),
    "DistilBERT": lambda: tiny_distilbert(),
}


@pytest.mark.parametrize("kind", BACKBONES)
def test_backbones_meet_their_contract(kind):
    backbone = BACKBONES[kind]()
    check_backbone(backbone, raw_batch(backbone))


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("name", PATS.names())
def test_pats_meet_their_contract(name, kind):
    backbone = BACKBONES[kind]()
    check_pat(PATS.load(name)(), backbone, raw_batch(backbone))


@pytest.mark.parametrize(
    "settings",
    [
        {"depth": "shallow", "length": 3},
        {"projection": 5},
        {"layers": "1-2", "length": 2},
        {"depth": "shallow", "layers": "2"},
        {"dropout": 0.3},
        {"length": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["class token", "registers and average pooling", "CLIP's vision tower", "BERT"])
def test_vpt_settings_meet_the_contract(settings, kind):
    backbone = BACKBONES[kind]()
    pat = PATS.load("vpt").parse(settings, "PAT 'vpt'")
    check_pat(pat, backbone, raw_batch(backbone))
