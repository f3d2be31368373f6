"""What tests of PATs share: backbones, published models without weights, trained-looking deltas, plain copies."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.core.errors import FrostlineError
from backbones.core.preprocess import Preprocessing
from backbones.core.seed import torch_generator
from backbones.testing import (
    raw_batch,
    tiny_bert,
    tiny_clip,
    tiny_distilbert,
    tiny_roberta,
    tiny_transformers_vit,
    tiny_vit,
)
from backbones.text import from_encoder
from backbones.vit import from_timm

MINIATURES = {
    "vit": tiny_vit,
    "vit with registers": lambda: tiny_vit(registers=2, average=True),
    "transformers vit": tiny_transformers_vit,
    "clip": tiny_clip,
    "bert": tiny_bert,
    "bert, cls": lambda: tiny_bert(pooling="cls"),
    "roberta": tiny_roberta,
    "distilbert": tiny_distilbert,
}
WIDTHS = {"qkv": 72, "proj": 24, "fc1": 96, "fc2": 24, "norm": 48}  # outputs in one block of tiny_vit
BLOCKS = {"all": [0, 1, 2], "1": [1], "0,2": [0, 2], "1-2": [1, 2]}


def bert_without_weights(**sizes):
    """A BERT of these sizes (BERT-base unless told) without weights; its tokenizer is that of a miniature."""
    from transformers import BertConfig, BertModel

    with torch.device("meta"):
        module = BertModel(BertConfig(**sizes), add_pooling_layer=False)
    return from_encoder(module, "bert", tiny_bert().preprocessing)


def bert_large():
    """BERT-large without weights."""
    return bert_without_weights(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)


def t5_sized():
    """A stand-in with the matrices of T5-large: 48 blocks, 1024 wide, 144 matrices (72 attentions, two of each)."""
    backbone = bert_without_weights(hidden_size=1024, num_hidden_layers=48, num_attention_heads=16, vocab_size=8)
    assert len(backbone.sites("qkv")) == 144
    return backbone


def vit_base():
    """ViT-B/16 without weights."""
    import timm

    with torch.device("meta"):
        module = timm.create_model("vit_base_patch16_224", pretrained=False, num_classes=0)
    return from_timm(module, "vit-b", Preprocessing(224))


def odd_vit(name, after=lambda module: None, **options):
    """A tiny ViT of timm with these options; ``after`` may change the module before sites are looked for."""
    from timm.models.vision_transformer import VisionTransformer

    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 2, "num_classes": 0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = VisionTransformer(**sizes, **options)
    after(module)
    return from_timm(module, name, Preprocessing(16))


def batch_of(backbone, count=5):
    return backbone.preprocessing(raw_batch(backbone, count))


def features(backbone, batch=None):
    with torch.no_grad():
        return backbone.features(batch_of(backbone) if batch is None else batch)


def plain_features(backbone, state):
    """Return the features of the plain module with other weights."""
    kept = {name: value.clone() for name, value in backbone.module.state_dict().items()}
    backbone.module.load_state_dict(state)
    try:
        return features(backbone)
    finally:
        backbone.module.load_state_dict(kept)


def written_into(plain, delta):
    """Write trained tensors over those of a plain backbone that have their names; return it."""
    with torch.no_grad():
        for name, value in delta.values.items():
            plain.module.get_parameter(name).copy_(value)
    return plain


def nudged(delta, size=0.1, seed=0):
    """Move every trainable tensor away from its start."""
    generator = torch_generator(seed, "nudged")
    with torch.no_grad():
        for parameter in delta.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return delta


def entering_block(backbone, layer):
    """Return what enters a block: the last state that any pre-hook attached so far leaves, and the batch."""
    from backbones.core.settings import Settings
    from backbones.delta import Delta

    seen = []
    probe = Delta(backbone, Settings())
    probe.before(backbone.sites("block", layer)[0], lambda tokens: seen.append(tokens.clone()) or tokens)
    try:
        features(backbone)
    finally:
        probe.detach()
    return seen[0]


def each_choice_of_roles(test):
    """Call a test with roles, layers, and whether roles are given as one string."""
    roles = st.lists(st.sampled_from(list(WIDTHS)), min_size=1, max_size=7)
    return settings(max_examples=25, deadline=None)(given(roles, st.sampled_from(list(BLOCKS)), st.booleans())(test))


def check_count_of_roles(kind, times, roles, layers, as_words):
    """Assert that a PAT with ``times`` numbers for each output is counted and placed by formula; return its delta."""
    backbone = tiny_vit()
    pat = kind.parse({"roles": ",".join(roles) if as_words else roles, "layers": layers}, "PAT")
    delta = pat.grow(backbone, 0)
    wanted = times * len(BLOCKS[layers]) * sum(WIDTHS[role] for role in set(roles))
    assert delta.parameter_count == pat.parameter_count(backbone) == wanted
    assert delta.first_layer == BLOCKS[layers][0]
    return delta


def check_refused(pat, backbone, words, error=FrostlineError):
    """Assert that growing and counting are refused alike, in these words, and that no hook is left behind."""
    for call in (lambda: pat.grow(backbone, 0), lambda: pat.parameter_count(backbone)):
        with pytest.raises(error, match=words):
            call()
    for module in backbone.module.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks and "forward" not in module.__dict__


def check_merged(pat, make):
    """Assert that a fresh plain model with the folded weights gives the features of the backbone with the delta."""
    backbone = make()
    base = features(backbone)
    delta = nudged(pat.grow(backbone, 0))
    wanted = features(backbone)
    assert not torch.allclose(wanted, base, atol=1e-3)
    assert delta.mergeable
    plain = make()
    plain.module.load_state_dict(delta.merged(), strict=True)
    assert torch.allclose(features(plain), wanted, rtol=0, atol=1e-5)
    assert torch.equal(features(backbone), wanted)  # folding left the backbone and the delta alone
    delta.detach()
    assert torch.equal(features(backbone), base)


def check_identity_in_bf16(pat, backbone):
    """Assert that half the precision does not undo the identity at the start, and that training changes features."""
    from backbones.encoder import Encoder

    raw = raw_batch(backbone)
    base = Encoder(backbone, precision="bf16").features(raw)
    delta = pat.grow(backbone, 0)
    encoder = Encoder(backbone, delta, precision="bf16")
    assert torch.equal(encoder.features(raw), base)
    nudged(delta)
    assert not torch.allclose(encoder.features(raw), base, atol=1e-2)


def check_gradients_are_its_own(pat, backbone):
    """Assert that training reaches every tensor of the delta and nothing else of the backbone."""
    delta = nudged(pat.grow(backbone, 0))
    own = {id(parameter) for parameter in delta.parameters()}
    found = backbone.features(batch_of(backbone))
    (found * torch.randn(found.shape, generator=torch_generator(0, "probe"))).sum().backward()
    assert all(parameter.grad is not None for parameter in delta.parameters())
    others = [parameter for parameter in backbone.module.parameters() if id(parameter) not in own]
    assert others and all(parameter.grad is None and not parameter.requires_grad for parameter in others)
    return delta
