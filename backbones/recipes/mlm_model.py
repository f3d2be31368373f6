"""What is trained on a frozen text encoder for a masked language model: a PAT, a head, a vector for the mask token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, linear

from backbones.base import Backbone
from backbones.core.seed import torch_generator
from backbones.core.tokens import TextPreprocessing
from backbones.delta import Delta
from backbones.pat.stack import make_pat

PAT = "lora+layernorm+bitfit"
WITHIN = ("qkv", "proj", "fc1", "fc2")


class Head(nn.Module):
    """BERT's masked-language-model head: dense, GELU, LayerNorm, then the word embeddings plus a bias.

    The word embeddings stay frozen; a product of two thin matrices may be added to them for the output alone.

    Args:
        words: the frozen word embeddings, float32, shape (vocabulary, width).
        counts: how often each token is in the training text, shape (vocabulary,): the bias starts at the logarithm of
            its smoothed share.
        rank: of the product added to the word embeddings, 0 for none.
        seed: of the product's factors.
    """

    def __init__(self, words: Tensor, counts: Tensor, rank: int = 0, seed: int = 0) -> None:
        super().__init__()
        width = words.shape[1]
        self.register_buffer("words", words.detach().clone(), persistent=False)
        self.dense = nn.Parameter(torch.eye(width))
        self.dense_bias = nn.Parameter(torch.zeros(width))
        self.gain = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))
        share = (counts.float() + 0.5) / (counts.float() + 0.5).sum()
        self.bias = nn.Parameter(share.log() - share.log().mean())
        if rank:
            thin = torch.randn(rank, width, generator=torch_generator(seed, "output")) / width**0.5
            self.thin = nn.Parameter(thin)
            self.tall = nn.Parameter(torch.zeros(len(words), rank))

    words: Tensor

    def forward(self, states: Tensor) -> Tensor:
        """Return logits, shape (n, vocabulary), of hidden states, shape (n, width)."""
        states = gelu(linear(states, self.dense, self.dense_bias))
        states = layer_norm(states, self.gain.shape, self.gain, self.shift, 1e-12)
        scores = torch.addmm(self.bias, states, self.words.T)
        return torch.addmm(scores, linear(states, self.thin), self.tall.T) if hasattr(self, "thin") else scores


def tokenizer_of(backbone: Backbone) -> Any:
    """Return the tokenizer of a text backbone."""
    preprocessing = backbone.preprocessing
    assert isinstance(preprocessing, TextPreprocessing)
    return preprocessing.tokenizer


class Learner(nn.Module):
    """A frozen encoder with all that is trained on it.

    Args:
        backbone: a text encoder of transformers with BERT's names.
        counts: see Head.
        rank: of the low-rank term beside every linear layer; output_rank: see Head.
        seed: of the starts.
        values: settings of the PAT beyond that.
    """

    def __init__(
        self,
        backbone: Backbone,
        counts: Tensor,
        rank: int,
        output_rank: int = 0,
        seed: int = 0,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        object.__setattr__(self, "backbone", backbone)
        module: Any = backbone.module
        table: Tensor = module.embeddings.word_embeddings.weight
        settings = {
            "lora": {"r": rank, "alpha": float(rank), "roles": WITHIN},
            "layernorm": {"embedding_norm": True},
            "bitfit": {"roles": WITHIN},
            **(values or {}),
        }
        pat: Any = make_pat(PAT, settings)
        self.delta: Delta = pat.grow(backbone, seed)
        self.head = Head(table, counts, output_rank, seed)
        self.mask = nn.Parameter(torch.zeros(table.shape[1]))
        self.mask_id = int(tokenizer_of(backbone).mask_token_id)

    backbone: Backbone

    def forward(self, ids: Tensor, places: Tensor) -> Tensor:
        """Return logits (n, vocabulary) at the ``places`` (n, of ids flattened) of ``ids`` (rows, length), unpadded."""
        module: Any = self.backbone.module
        words = module.embeddings.word_embeddings(ids)
        words = words + (ids == self.mask_id)[..., None] * self.mask
        states = module(inputs_embeds=words).last_hidden_state
        logits: Tensor = self.head(states.flatten(0, 1)[places])
        return logits
