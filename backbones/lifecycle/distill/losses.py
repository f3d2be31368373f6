"""The four losses of TinyBERT, of what a student and its teacher computed for the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.seed import torch_generator
from backbones.core.settings import Settings
from backbones.lifecycle.distill.trace import MASKED, Seen

INTERMEDIATE = ("embedding", "hidden", "attention")


class Terms(Settings):
    """Weights of the losses; a weight of 0 leaves a term out and computes nothing for it.

    Args:
        embedding: mean squared error of what enters the first block.
        hidden: mean squared error of what leaves the mapped layers, summed over layers.
        attention: mean squared error of the scores before the softmax, summed over layers.
        soft: cross-entropy with the teacher's probabilities.
        hard: cross-entropy with the labels; not in TinyBERT.
        temperature: both logits are divided by it in ``soft``.
        projection: ``"learned"`` maps the student's states to the teacher's by one matrix for the embedding and one
            for all layers, both thrown away after; ``"identity"`` compares them as they are.
    """

    embedding: float = Field(default=1.0, ge=0)
    hidden: float = Field(default=1.0, ge=0)
    attention: float = Field(default=1.0, ge=0)
    soft: float = Field(default=1.0, ge=0)
    hard: float = Field(default=0.0, ge=0)
    temperature: float = Field(default=1.0, gt=0)
    projection: Literal["learned", "identity"] = "learned"

    @model_validator(mode="after")
    def _something(self) -> Terms:
        if not any(getattr(self, name) for name in (*INTERMEDIATE, "soft", "hard")):
            raise ValueError("all weights are 0, so that nothing is learned; give one of them")
        return self

    def without(self, term: str) -> Terms:
        """Return the same with the weight of one term at 0."""
        return self.model_copy(update={term: 0.0})

    @property
    def intermediate(self) -> bool:
        """Whether any of the terms of the layers counts."""
        return any(getattr(self, name) > 0 for name in INTERMEDIATE)


class Matching(nn.Module):
    """Compares what a student computed with what its teacher did; holds the projections that are learned.

    Every input counts the same, whatever its length: means are taken over its own tokens (pairs of tokens), then over
    inputs. Padding does not count.

    Args:
        student: who learns.
        teacher: from whom.
        layers: g(1), ..., g(M), see ``layer_map``.
        terms: weights and the kind of projection.
        seed: of the projections, where widths differ; with equal widths they begin as the identity.

    Raises:
        FrostlineError: heads that differ in number, identity projections between different widths.
    """

    def __init__(
        self, student: Backbone, teacher: Backbone, layers: Sequence[int], terms: Terms, seed: int = 0
    ) -> None:
        super().__init__()
        self.terms = terms
        self.pairs = tuple((mine, theirs - 1) for mine, theirs in enumerate(layers))
        mine, theirs = student.width, teacher.width
        if terms.projection == "identity" and mine != theirs:
            raise FrostlineError(
                f"identity projections need equal widths: the student is {mine} wide, the teacher {theirs}. Pass "
                "projection learned."
            )
        self.embedding = _projection(mine, theirs, terms, terms.embedding, seed, "embedding")
        self.hidden = _projection(mine, theirs, terms, terms.hidden, seed, "hidden")

    def forward(self, mine: Seen, theirs: Seen, counted: Tensor | None = None) -> dict[str, Tensor]:
        """Return the weighted terms by name, each a scalar.

        Args:
            mine: what the student computed; theirs: what the teacher did, of the same inputs.
            counted: which tokens are no padding, bool, shape (n, tokens); None: all.

        Raises:
            FrostlineError: numbers of tokens or heads that differ.
        """
        terms, found = self.terms, {}
        if terms.embedding:
            assert mine.embedding is not None and theirs.embedding is not None
            found["embedding"] = terms.embedding * _apart(self.embedding(mine.embedding), theirs.embedding, counted)
        if terms.hidden:
            found["hidden"] = terms.hidden * _sum(
                _apart(self.hidden(mine.hidden[own]), theirs.hidden[other], counted) for own, other in self.pairs
            )
        if terms.attention:
            found["attention"] = terms.attention * _sum(
                _scores_apart(mine.scores[own], theirs.scores[other], counted) for own, other in self.pairs
            )
        return found


def soft_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the mean cross-entropy of the student's probabilities with the teacher's.

    Args:
        student: logits, float, shape (n, classes); teacher: the like.
        temperature: both are divided by it.
    """
    wanted = (teacher / temperature).softmax(dim=-1)
    return -(wanted * log_softmax(student / temperature, dim=-1)).sum(dim=-1).mean()


def prediction_losses(student: Tensor, teacher: Tensor, labels: Tensor, terms: Terms) -> dict[str, Tensor]:
    """Return the weighted terms of the answers by name; shapes (n, classes), (n, classes) and int64 (n,)."""
    found = {}
    if terms.soft:
        found["soft"] = terms.soft * soft_loss(student, teacher, terms.temperature)
    if terms.hard:
        found["hard"] = terms.hard * cross_entropy(student, labels)
    return found


def _projection(mine: int, theirs: int, terms: Terms, weight: float, seed: int, name: str) -> nn.Module:
    if terms.projection == "identity" or not weight:
        return nn.Identity()
    layer = nn.Linear(mine, theirs, bias=False, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        if mine == theirs:
            nn.init.eye_(layer.weight)
        else:
            layer.weight.normal_(0.0, mine**-0.5, generator=torch_generator(seed, "projection", name))
    return layer


def _apart(mine: Tensor, theirs: Tensor, counted: Tensor | None) -> Tensor:
    """Return the mean squared error of states, (n, tokens, width), over counted tokens (None: all) and width."""
    if mine.shape[1] != theirs.shape[1]:
        raise _other_tokens(mine.shape[1], theirs.shape[1])
    error = (mine.float() - theirs.float()).square().mean(dim=-1)
    if counted is None:
        return error.mean()
    return ((error * counted).sum(dim=1) / counted.sum(dim=1)).mean()


def _scores_apart(mine: Tensor, theirs: Tensor, counted: Tensor | None) -> Tensor:
    """Return the mean squared error of scores, (n, heads, tokens, tokens), over heads and pairs that attend."""
    if mine.shape[1] != theirs.shape[1]:
        raise FrostlineError(
            f"the student has {mine.shape[1]} heads and the teacher {theirs.shape[1]}: their scores cannot be "
            "compared head by head. Give the student as many heads, or set the weight of the attention term to 0."
        )
    if mine.shape != theirs.shape:
        raise _other_tokens(mine.shape[-1], theirs.shape[-1])
    pairs = theirs > MASKED
    if counted is not None:  # queries; keys that are padding are masked
        pairs = pairs & counted[:, None, :, None]
    # Masked scores are -inf on both sides: filled before the difference, so that no gradient is NaN.
    error = (mine.float().masked_fill(~pairs, 0.0) - theirs.float().masked_fill(~pairs, 0.0)).square()
    return (error.sum(dim=(1, 2, 3)) / pairs.sum(dim=(1, 2, 3))).mean()


def _other_tokens(mine: int, theirs: int) -> FrostlineError:
    return FrostlineError(
        f"the same input has {mine} tokens in the student and {theirs} in the teacher; they need one tokenizer, or one "
        "size of image and patch."
    )


def _sum(values: Any) -> Tensor:
    return torch.stack(list(values)).sum()
