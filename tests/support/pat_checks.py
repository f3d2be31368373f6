"""What tests of single PATs share: published models without weights, trained-looking deltas, plain copies."""

import torch

from backbones.core.preprocess import Preprocessing
from backbones.core.seed import torch_generator
from backbones.testing import raw_batch, tiny_bert, tiny_clip, tiny_distilbert, tiny_roberta, tiny_vit
from backbones.text import from_encoder
from backbones.vit import from_timm

SMALL = {
    "vit": tiny_vit,
    "vit with registers": lambda: tiny_vit(registers=2, average=True),
    "clip": tiny_clip,
    "bert": tiny_bert,
    "roberta": tiny_roberta,
    "distilbert": tiny_distilbert,
}


def bert_large():
    """BERT-large without weights; its tokenizer is that of a miniature, [CLS] text [SEP]."""
    from transformers import BertConfig, BertModel

    with torch.device("meta"):
        config = BertConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
        module = BertModel(config, add_pooling_layer=False)
    return from_encoder(module, "bert-large", tiny_bert().preprocessing)


def vit_base():
    """ViT-B/16 without weights."""
    import timm

    with torch.device("meta"):
        module = timm.create_model("vit_base_patch16_224", pretrained=False, num_classes=0)
    return from_timm(module, "vit-b", Preprocessing(224))


def batch_of(backbone, count=5):
    return backbone.preprocessing(raw_batch(backbone, count))


def features(backbone, count=5):
    with torch.no_grad():
        return backbone.features(batch_of(backbone, count))


def nudged(delta, size=0.1):
    """Move every trainable tensor away from its start."""
    generator = torch_generator(0, "nudged")
    with torch.no_grad():
        for parameter in delta.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return delta


def entering_block(backbone, layer, count=5):
    """Return what enters a block: the last state that any pre-hook attached so far leaves, and the batch."""
    from backbones.core.settings import Settings
    from backbones.delta import Delta

    seen = []
    probe = Delta(backbone, Settings())
    probe.before(backbone.sites("block", layer)[0], lambda tokens: seen.append(tokens.clone()) or tokens)
    try:
        features(backbone, count)
    finally:
        probe.detach()
    return seen[0]


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
