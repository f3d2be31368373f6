"""The embedding scorer on encoders of many families: small random ones, saved and loaded as a user's folder is."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from zeroshot.scorers.embedding import Embedding
from zeroshot.testing import check_scorer
from zeroshot.testing_models import wordpiece

SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 200,
    "pad_token_id": 0,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "ModernBert": {**SHAPE, "local_attention": 16, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2},
    "DebertaV2": {**SHAPE, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 32},
    "MPNet": {**SHAPE, "pad_token_id": 1},
    "Albert": {**SHAPE, "embedding_size": 16},
    "Electra": {**SHAPE, "embedding_size": 16},
    "XLMRoberta": {**SHAPE, "pad_token_id": 1},
    "T5Encoder": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_contract(family: str, tmp_path: Path) -> None:
    tokenizer = wordpiece(160)
    config = getattr(transformers, family.removesuffix("Encoder") + "Config")(
        vocab_size=len(tokenizer), **FAMILIES[family]
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        module = getattr(transformers, f"{family}Model")(config)
    module.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    check_scorer(Embedding(lm=str(tmp_path), device="cpu"))
