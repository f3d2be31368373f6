"""Layer mixing: the last block gives a mean of what the blocks give."""

import pytest
import torch

from backbones.core.errors import FrostlineError
from backbones.encoder import Encoder
from backbones.pat.mix import Mix
from backbones.pat.stack import make_pat
from backbones.testing import check_pat, raw_batch, tiny_bert, tiny_transformers_vit, tiny_vit

GROW = {"timm": tiny_vit, "registers": lambda: tiny_vit(registers=2, average=True), "bert": tiny_bert}


def features(backbone, delta=None):
    return Encoder(backbone, delta, precision="fp32").features(raw_batch(backbone))


def test_the_mean_is_that_of_the_states_that_transformers_reports():
    backbone = tiny_bert(pooling="cls")
    raw = raw_batch(backbone, 3)
    batch = backbone.preprocessing(raw)
    states = backbone.module(input_ids=batch[:, 0], attention_mask=batch[:, 1], output_hidden_states=True).hidden_states
    wanted = (0.2 * states[1] + 0.3 * states[2] + 0.5 * states[3])[:, 0]
    delta = Mix().grow(backbone, 0)
    with torch.no_grad():
        delta.weights.copy_(torch.tensor([0.2, 0.3, 0.5]).log())
    torch.testing.assert_close(backbone.features(batch), wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", GROW)
def test_all_weight_on_the_last_block_is_the_backbone_itself(kind):
    backbone = GROW[kind]()
    base = features(backbone)
    delta = Mix().grow(backbone, 0)
    with torch.no_grad():
        delta.weights[:-1] = -1e4
    assert torch.equal(features(backbone, delta), base)


@pytest.mark.parametrize("layers, count", [("all", 3), ("1", 2), ("0,2", 2)])
def test_the_last_block_is_always_mixed_in(layers, count):
    backbone = tiny_transformers_vit()
    pat = Mix(layers=layers)
    assert pat.parameter_count(backbone) == count
    check_pat(pat, backbone, raw_batch(backbone))


@pytest.mark.parametrize("make", GROW.values(), ids=GROW)
def test_the_last_block_alone_is_refused(make):
    backbone = make()
    with pytest.raises(FrostlineError, match=r"needs two blocks or more, but layers '2'.*such as 0-2"):
        Mix(layers="2").grow(backbone, 0)


def test_layers_out_of_range_are_refused():
    with pytest.raises(FrostlineError, match="layers run from 0 to 2"):
        Mix(layers="3").grow(tiny_vit(), 0)


@pytest.mark.parametrize("kind", GROW)
@pytest.mark.parametrize("name", ["vpt+mix", "mix+vpt"])
@pytest.mark.parametrize("layers", ["all", "1-2"])
def test_prompts_take_no_part_in_the_mean_whatever_comes_first(kind, name, layers):
    backbone = GROW[kind]()
    pat = make_pat(name, {"vpt.length": 2, "vpt.layers": layers})
    check_pat(pat, backbone, raw_batch(backbone))


@pytest.mark.parametrize("kind", GROW)
def test_the_order_of_prompts_and_mixing_makes_no_difference(kind):
    backbone = GROW[kind]()
    found = []
    for name in ("vpt+mix", "mix+vpt"):
        delta = make_pat(name, {"vpt.layers": "1-2"}).grow(backbone, 0)
        with torch.no_grad():
            delta.parts["vpt"].prompts.fill_(0.1)
        found.append(features(backbone, delta))
        delta.detach()
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-5)
