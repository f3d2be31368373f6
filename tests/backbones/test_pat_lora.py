"""LoRA: what it adds, its formula, folding, and PEFT as the reference."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pat_checks import features, nudged, plain_features

from backbones.core.errors import FrostlineError
from backbones.core.seed import torch_generator
from backbones.encoder import Encoder
from backbones.pat.lora import Lora
from backbones.pat.lowrank import add_low_rank, key_of, path_of
from backbones.testing import check_pat, raw_batch, tiny_bert, tiny_vit
from backbones.text import from_encoder

MAKERS = {"vit": tiny_vit, "bert": tiny_bert}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize(
    "values",
    [
        {"roles": "fc1,fc2", "r": 3},
        {"roles": ["qkv", "proj", "fc1", "fc2"], "layers": "1-2"},
        {"layers": "2", "dropout": 0.4},
        {"rslora": True, "alpha": 4},
    ],
    ids=str,
)
def test_every_setting_meets_the_contract(kind, values):
    backbone = MAKERS[kind]()
    check_pat(Lora.parse(values, "PAT 'lora'"), backbone, raw_batch(backbone))


@pytest.mark.parametrize("kind", MAKERS)
def test_merged_weights_give_the_same_features(kind):
    backbone = MAKERS[kind]()
    delta = nudged(Lora(roles=("qkv", "proj", "fc1", "fc2"), rslora=True).grow(backbone, 0))
    attached, state = features(backbone), delta.merged()
    delta.detach()
    assert not torch.allclose(features(backbone), attached, atol=1e-2)
    torch.testing.assert_close(plain_features(backbone, state), attached, atol=1e-5, rtol=0)


TARGETS = {
    "vit": r".*\.(attn\.qkv|attn\.proj|mlp\.fc1)",
    "bert": r".*\.(query|key|value|attention\.output\.dense|intermediate\.dense)",
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("rslora", [False, True])
def test_peft_gives_the_same_features_with_the_same_tensors(kind, rslora):
    peft = pytest.importorskip("peft")
    backbone, other = MAKERS[kind](), MAKERS[kind]()
    delta = nudged(Lora(r=5, alpha=7.0, rslora=rslora, roles=("qkv", "proj", "fc1")).grow(backbone, 0))
    config = peft.LoraConfig(r=5, lora_alpha=7.0, use_rslora=rslora, target_modules=TARGETS[kind])
    with torch.random.fork_rng():
        model = peft.get_peft_model(copy.deepcopy(other.module), config)
    wanted = dict(model.named_parameters())
    names = {f"base_model.model.{path}.lora_{'AB'[i]}.default.weight" for path in delta.sites for i in (0, 1)}
    assert names == {name for name in wanted if "lora_" in name}
    with torch.no_grad():
        for path, pair in delta.sites.items():
            for letter, tensor in zip("AB", pair, strict=True):
                wanted[f"base_model.model.{path}.lora_{letter}.default.weight"].copy_(tensor)
    other.module = model.base_model.model.eval()
    torch.testing.assert_close(features(backbone), features(other), atol=1e-6, rtol=1e-5)
    assert delta.parameter_count == model.get_nb_trainable_parameters()[0]


def test_a_starts_as_in_peft_and_b_at_zero():
    backbone = tiny_vit()
    delta = Lora(r=64, roles=("fc1", "fc2")).grow(backbone, 0)
    for A, B in delta.sites.values():
        bound = 1 / math.sqrt(A.shape[1])  # Kaiming-uniform, a = sqrt(5)
        assert A.abs().max() <= bound
        assert A.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert not B.any()


def test_dropout_acts_in_training_only():
    backbone = tiny_vit()
    delta = nudged(Lora(dropout=0.5).grow(backbone, 0)).train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert not torch.equal(features(backbone), features(backbone))
    delta.eval()
    assert torch.equal(features(backbone), features(backbone))


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    wide=st.integers(1, 6),
    rank=st.integers(1, 4),
    scaling=st.floats(-3, 3),
)
def test_the_product_is_added_whatever_the_leading_shape(shape, wide, rank, scaling):
    generator = torch_generator(0, "product")
    out, inner = torch.randn(*shape, wide, generator=generator), torch.randn(*shape, rank, generator=generator)
    up = torch.randn(wide, rank, generator=generator)
    torch.testing.assert_close(add_low_rank(out, inner, up, scaling), out + scaling * (inner @ up.T))
    assert torch.equal(add_low_rank(out, inner, torch.zeros_like(up), scaling), out)


def t5_sized():
    """A stand-in with the matrices of T5-large: 48 blocks, 1024 wide, 144 matrices (72 attentions, two of each)."""
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=1024, num_hidden_layers=48, num_attention_heads=16, vocab_size=8)
    with torch.device("meta"):
        module = BertModel(config, add_pooling_layer=False)
    return from_encoder(module, "as wide as T5-large", tiny_bert().preprocessing)


def test_counts_of_the_published_t5_large():
    backbone = t5_sized()
    assert len(backbone.sites("qkv")) == 144
    assert Lora(r=16, roles=("qkv",)).parameter_count(backbone) == 4_718_592


def test_keys_of_sites_are_reversible():
    assert path_of(key_of("encoder.layer.0.attention.output.dense")) == "encoder.layer.0.attention.output.dense"


def test_training_moves_only_the_factors():
    backbone = tiny_bert()
    before = backbone.fingerprint()
    delta = Lora(layers="1-2").grow(backbone, 0)
    optimizer = torch.optim.SGD(delta.parameters(), lr=0.5)
    loss = backbone.features(backbone.preprocessing(raw_batch(backbone)))[:, :3].sum()
    loss.backward()
    optimizer.step()
    assert any(B.any() for _, B in delta.sites.values())
    assert delta.first_layer == 1
    delta.detach()
    assert backbone.fingerprint() == before


@pytest.mark.parametrize(
    "values, words",
    [
        ({"roles": "qvk"}, ["qvk", "qkv"]),
        ({"r": 0}, ["r = 0"]),
        ({"roles": ""}, ["roles"]),
        ({"rank": 4}, ["rank", "Known keys", "dropout"]),
        ({"layers": "3"}, ["'3'", "0 to 2"]),
    ],
    ids=str,
)
def test_wrong_settings_are_named(values, words):
    with pytest.raises(FrostlineError) as caught:
        Lora.parse(values, "PAT 'lora'").parameter_count(tiny_vit())
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_backbone_without_linear_layers_is_refused():
    backbone = tiny_vit()
    backbone._sites = tuple(site for site in backbone.all_sites() if site.role != "fc1")
    with pytest.raises(FrostlineError, match=r"needs the site 'fc1'.*tiny-vit.*qkv"):
        Lora(roles=("qkv", "fc1")).grow(backbone, 0)


def test_attaching_again_and_again_leaves_the_outputs():
    backbone = tiny_vit()
    encoder, raw = Encoder(backbone, precision="fp32"), raw_batch(backbone)
    before = encoder.features(raw)
    for seed in range(50):
        nudged(Lora().grow(backbone, seed)).detach()
    assert torch.equal(encoder.features(raw), before)
