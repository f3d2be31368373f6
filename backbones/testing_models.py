"""Tiny backbones with random weights, and raw inputs for them: what contracts and tests run on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from backbones.base import Backbone
from backbones.core.preprocess import Preprocessing
from backbones.core.seed import lent_generator, numpy_generator, torch_generator
from backbones.core.tokens import TextPreprocessing
from backbones.text import from_encoder
from backbones.vit import from_timm, from_transformers

WORDS = [
    "a",
    "the",
    "cat",
    "dog",
    "red",
    "blue",
    "runs",
    "sleeps",
    "where",
    "is",
    "my",
    "card",
    "bank",
    "money",
    "please",
    "book",
    "flight",
    "to",
    "rome",
    "now",
    "tomorrow",
]
SHAPE = {"num_hidden_layers": 3, "num_attention_heads": 2, "hidden_size": 24, "intermediate_size": 48}


def tiny_vit(*, registers: int = 0, average: bool = False, depth: int = 3, seed: int = 0) -> Backbone:
    """Return a random timm ViT: 16 px, patch 4, 24 wide.

    Args:
        registers: register tokens after the class token.
        average: average pooling instead of the class token.
        depth: number of blocks.
        seed: of its weights.
    """
    from timm.models.vision_transformer import VisionTransformer

    module = VisionTransformer(
        img_size=16,
        patch_size=4,
        embed_dim=24,
        depth=depth,
        num_heads=2,
        num_classes=0,
        reg_tokens=registers,
        global_pool="avg" if average else "token",
        fc_norm=False,
    )
    _randomise(module, seed)
    return from_timm(module, "tiny-vit", Preprocessing(16))


def tiny_transformers_vit(*, depth: int = 3, seed: int = 0) -> Backbone:
    """Return a random transformers ViT: 16 px, patch 4, 24 wide."""
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=24,
        num_hidden_layers=depth,
        num_attention_heads=2,
        intermediate_size=48,
        image_size=16,
        patch_size=4,
    )
    module = ViTModel(config, add_pooling_layer=False)
    _randomise(module, seed)
    return from_transformers(module, "tiny-hf-vit", Preprocessing(16))


def tiny_clip(*, seed: int = 0) -> Backbone:
    """Return a random vision tower of CLIP: 16 px, patch 4, 24 wide, 3 deep."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    module = CLIPVisionModel(CLIPVisionConfig(image_size=16, patch_size=4, **SHAPE))
    _randomise(module, seed)
    return from_transformers(module, "tiny-clip", Preprocessing(16))


def tiny_bert(*, pooling: str = "mean", seed: int = 0) -> Backbone:
    """Return a random BERT of 3 blocks, 24 wide, with a tokenizer of a few words; [CLS] text [SEP]."""
    from transformers import BertConfig, BertModel

    tokenizer = _tokenizer("[CLS]", "[SEP]", "[PAD]", "[UNK]")
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=40, pad_token_id=0, **SHAPE)
    return _text(BertModel(config, add_pooling_layer=False), tokenizer, "tiny-bert", pooling, seed)


def tiny_roberta(*, pooling: str = "mean", seed: int = 0) -> Backbone:
    """Return a random RoBERTa of 3 blocks, 24 wide; <s> text </s></s>, its padding is token 1."""
    from transformers import RobertaConfig, RobertaModel

    tokenizer = _tokenizer("<s>", "</s> </s>", "<pad>", "<unk>")
    config = RobertaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=42, pad_token_id=tokenizer.pad_token_id, **SHAPE
    )
    return _text(RobertaModel(config, add_pooling_layer=False), tokenizer, "tiny-roberta", pooling, seed)


def tiny_distilbert(*, pooling: str = "mean", seed: int = 0) -> Backbone:
    """Return a random DistilBERT of 3 blocks, 24 wide."""
    from transformers import DistilBertConfig, DistilBertModel

    tokenizer = _tokenizer("[CLS]", "[SEP]", "[PAD]", "[UNK]")
    config = DistilBertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=40, dim=24, n_layers=3, n_heads=2, hidden_dim=48
    )
    return _text(DistilBertModel(config), tokenizer, "tiny-distilbert", pooling, seed)


_T5 = {"d_model": 24, "d_kv": 12, "d_ff": 48, "num_layers": 3, "num_heads": 2, "relative_attention_num_buckets": 8}
_DISENTANGLED = {
    "relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "type_vocab_size": 0,
}  # fmt: skip
ENCODERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "albert": ("AlbertModel", "AlbertConfig", {**SHAPE, "embedding_size": 16}),
    "deberta-v2": ("DebertaV2Model", "DebertaV2Config", {**SHAPE, "conv_kernel_size": 3}),
    "deberta-v3": ("DebertaV2Model", "DebertaV2Config", {**SHAPE, **_DISENTANGLED}),
    "electra": ("ElectraModel", "ElectraConfig", {**SHAPE, "embedding_size": 16}),
    "flan-t5": ("T5EncoderModel", "T5Config", {**_T5, "feed_forward_proj": "gated-gelu"}),
    "modernbert": ("ModernBertModel", "ModernBertConfig", {**SHAPE, "local_attention": 8}),
    "mpnet": ("MPNetModel", "MPNetConfig", SHAPE),
    "mt5": ("MT5EncoderModel", "MT5Config", _T5),
    "t5": ("T5EncoderModel", "T5Config", _T5),
    "umt5": ("UMT5EncoderModel", "UMT5Config", _T5),
    "xlm-roberta": ("XLMRobertaModel", "XLMRobertaConfig", SHAPE),
}  # family: (model, configuration, numbers)


def tiny_encoder(family: str, *, pooling: str = "mean", seed: int = 0) -> Backbone:
    """Return a random text encoder of 3 blocks, 24 wide, of one of the families ``ENCODERS``.

    The encoders of T5's kin open a text with no special token: text </s>.
    """
    import transformers

    model, config, numbers = ENCODERS[family]
    tokenizer = _tokenizer("" if "t5" in family else "[CLS]", "[SEP]", "[PAD]", "[UNK]")
    pad, positions = tokenizer.pad_token_id, {} if "t5" in family else {"max_position_embeddings": 64}
    special = {"cls_token_id": 0, "sep_token_id": 2, "bos_token_id": 0, "eos_token_id": 2}
    made = getattr(transformers, config)(
        vocab_size=len(tokenizer),
        pad_token_id=pad,
        **positions,
        **numbers,
        **(special if family == "modernbert" else {}),
    )
    with lent_generator(seed):  # overwritten below
        module = getattr(transformers, model)(made)
    if getattr(module, "pooler", None) is not None:
        module.pooler = None
    return _text(module, tokenizer, f"tiny-{family}", pooling, seed)


def _text(module: Any, tokenizer: Any, name: str, pooling: str, seed: int) -> Backbone:
    _randomise(module, seed)
    return from_encoder(module, name, TextPreprocessing(tokenizer, 40, bucket=4), pooling=pooling)


def _tokenizer(opening: str, closing: str, pad: str, unknown: str) -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    special = list(dict.fromkeys([*opening.split(), pad, *closing.split(), unknown]))
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    model = Tokenizer(WordLevel(vocabulary, unk_token=unknown))
    model.pre_tokenizer = Whitespace()
    model.post_processor = TemplateProcessing(
        single=f"{opening} $A {closing}".strip(), special_tokens=[(word, vocabulary[word]) for word in special]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=model,
        cls_token=opening or None,
        sep_token=closing.split()[0],
        pad_token=pad,
        unk_token=unknown,
        model_max_length=40,
    )


def _randomise(module: torch.nn.Module, seed: int) -> None:
    generator = torch_generator(seed, "tiny")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, 0.2, generator=generator)


def image_batch(backbone: Backbone, count: int = 5, seed: int = 0) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Return random raw images of several sizes, uint8 of shape (height, width, 3)."""
    generator = numpy_generator(seed, "images")
    sides = [(8 + 4 * (i % 3), 8 + 4 * (i % 2)) for i in range(count)]
    return [generator.integers(0, 256, (*side, 3), dtype=np.uint8) for side in sides]


def text_batch(backbone: Backbone, count: int = 5, seed: int = 0) -> list[str]:
    """Return random raw texts of 1 to 13 words."""
    generator = numpy_generator(seed, "texts")
    return [" ".join(generator.choice(WORDS, 1 + (5 * i) % 13)) for i in range(count)]


def raw_batch(backbone: Backbone, count: int = 5, seed: int = 0) -> list[Any]:
    """Return random raw inputs of what the backbone takes."""
    made: dict[str, Any] = {"image": image_batch, "text": text_batch}
    found: list[Any] = made[backbone.modality](backbone, count, seed)
    return found
