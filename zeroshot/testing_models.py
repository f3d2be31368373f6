"""Miniatures of language models: random weights, a few thousand parameters, own tokenizers; written to a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from backbones.core.seed import lent_generator, torch_generator

SENTENCES = (
    "This is an attack event whose occurrence is most clearly expressed by the word fired.",
    "Two soldiers were injured and any other victim was taken to a hospital in the capital on Monday.",
    "The company bought a smaller firm for 20 million dollars, and any other buyer left the market.",
    "A man threw stones at the police; the attacker was arrested near the bridge and any other place was calm.",
    "Any other instrument, weapon, vehicle, facility, person, organization, location or agent was not named.",
    "The minister met the workers at the airport, because the target of the strike was the job title.",
)
SPECIAL = {
    "bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    "roberta": ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
}
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def tiny_bert(folder: Path, *, window: int = 160, seed: int = 0, head: bool = True) -> Path:
    """Write a random BERT with a wordpiece tokenizer to ``folder`` and return it; ``head``: masked-LM or none."""
    from transformers import BertConfig, BertForMaskedLM, BertModel

    tokenizer = wordpiece(window)
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=window, pad_token_id=0, **SHAPE)
    return _save(folder, tokenizer, BertForMaskedLM if head else BertModel, config, seed)


def tiny_roberta(folder: Path, *, window: int = 160, seed: int = 0) -> Path:
    """Write a random RoBERTa with a byte-level tokenizer to ``folder`` and return it."""
    from transformers import RobertaConfig, RobertaForMaskedLM

    tokenizer = byte_level(window, SPECIAL["roberta"])
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=window + 2,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        type_vocab_size=1,
        **SHAPE,
    )
    return _save(folder, tokenizer, RobertaForMaskedLM, config, seed)


def tiny_gpt2(folder: Path, *, window: int = 160, seed: int = 0) -> Path:
    """Write a random GPT-2 with a byte-level tokenizer to ``folder`` and return it."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = byte_level(window, ("<|endoftext|>",))
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=window, n_embd=32, n_layer=2, n_head=2, **ends)
    return _save(folder, tokenizer, GPT2LMHeadModel, config, seed)


def tiny_neox(folder: Path, *, window: int = 160, seed: int = 0) -> Path:
    """Write a random GPT-NeoX with a byte-level tokenizer to ``folder`` and return it."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    tokenizer = byte_level(window, ("<|endoftext|>",))
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    config = GPTNeoXConfig(vocab_size=len(tokenizer), max_position_embeddings=window, **SHAPE, **ends)
    return _save(folder, tokenizer, GPTNeoXForCausalLM, config, seed)


def tiny_bloom(folder: Path, *, window: int = 160, seed: int = 0) -> Path:
    """Write a random BLOOM, whose positions are biases of the attention and not inputs, and return the folder."""
    from transformers import BloomConfig, BloomForCausalLM

    tokenizer = byte_level(window, ("<|endoftext|>",))
    config = BloomConfig(
        vocab_size=len(tokenizer), hidden_size=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0, pad_token_id=0
    )
    return _save(folder, tokenizer, BloomForCausalLM, config, seed)


MASKED: dict[str, Callable[..., Path]] = {"bert": tiny_bert, "roberta": tiny_roberta}
CAUSAL: dict[str, Callable[..., Path]] = {"gpt2": tiny_gpt2, "neox": tiny_neox, "bloom": tiny_bloom}


def wordpiece(window: int) -> Any:
    """Return a lower-case wordpiece tokenizer of letters and a few whole words, as BERT's."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    marks = "!\"#$%&'()*+,-./:;<=>?@[]_`{|}~…"
    words = sorted({word.strip(".,;").lower() for line in SENTENCES for word in line.split()})
    kept = [word for index, word in enumerate(words) if index % 3]  # the others are split into letters
    pieces = [*SPECIAL["bert"], *letters, *marks, *(f"##{letter}" for letter in letters), "##er", "##ed"]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys([*pieces, *kept]))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL["bert"], strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=window, **names)


def byte_level(window: int, special: tuple[str, ...]) -> Any:
    """Return a byte-level BPE tokenizer trained on a few sentences; RoBERTa's special tokens enclose an input."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    masked = "<mask>" in special
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    names = {"bos_token": special[0], "eos_token": special[0]}
    if masked:
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
        names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=window, **names)


def _save(folder: Path, tokenizer: Any, kind: Any, config: Any, seed: int) -> Path:
    with lent_generator(0):  # building draws weights that the next lines replace
        module = kind(config)
    generator = torch_generator(seed, "tiny language model")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, 0.15, generator=generator)
    folder.mkdir(parents=True, exist_ok=True)
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
