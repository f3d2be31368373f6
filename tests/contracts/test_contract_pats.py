"""Every registered PAT meets the public contract on every kind of backbone."""

import pytest

from backbones.pat import PATS
from backbones.testing import check_backbone, check_pat, image_batch, tiny_transformers_vit, tiny_vit

BACKBONES = {
    "class token": lambda: tiny_vit(),
    "registers and average pooling": lambda: tiny_vit(registers=2, average=True),
    "transformers": lambda: tiny_transformers_vit(),
}


@pytest.mark.parametrize("kind", BACKBONES)
def test_backbones_meet_their_contract(kind):
    backbone = BACKBONES[kind]()
    check_backbone(backbone, image_batch(backbone))


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("name", PATS.names())
def test_pats_meet_their_contract(name, kind):
    backbone = BACKBONES[kind]()
    check_pat(PATS.load(name)(), backbone, image_batch(backbone))


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
@pytest.mark.parametrize("kind", BACKBONES)
def test_vpt_settings_meet_the_contract(settings, kind):
    backbone = BACKBONES[kind]()
    pat = PATS.load("vpt").parse(settings, "PAT 'vpt'")
    check_pat(pat, backbone, image_batch(backbone))
