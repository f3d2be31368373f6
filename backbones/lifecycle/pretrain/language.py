"""Language models to pre-train: a BERT from nothing or a masked model that is there, its loss, its held-out figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.core.seed import derive, lent_generator, torch_generator
from backbones.lifecycle.pretrain.masking import IGNORED, Masking
from backbones.lifecycle.pretrain.sequences import Batch
from backbones.lifecycle.pretrain.sizes import Shape

Batches = Callable[[Sequence[int], torch.Generator], Batch]


def build_bert(
    shape: Shape,
    vocabulary: int,
    length: int,
    *,
    next_sentence: bool = True,
    dropout: float = 0.1,
    pad: int = 0,
    seed: int = 0,
) -> Any:
    """Return a transformers BERT with random weights: ``BertForPreTraining``, or ``BertForMaskedLM`` without pairs.

    Args:
        shape: its numbers.
        vocabulary: tokens.
        length: most tokens of an input.
        next_sentence: with the pooler and the head that tell following texts from strange ones.
        dropout: share, in hidden states and attention.
        pad: token of padding.
        seed: of the weights.
    """
    from transformers import BertConfig, BertForMaskedLM, BertForPreTraining

    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=shape.width,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=length,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=pad,
    )
    with lent_generator(derive(seed, "bert")):
        return (BertForPreTraining if next_sentence else BertForMaskedLM)(config)


def open_language(name: str, *, next_sentence: bool | None, seed: int = 0) -> tuple[Any, Any, int, bool]:
    """Return a masked language model to go on with, its tokenizer, its window, and whether it learns next sentences.

    Args:
        name: a folder or a name on the hub, see ``backbones.lm``.
        next_sentence: None for what the model was trained with.
        seed: of a next-sentence head that the model lacks.

    Raises:
        FrostlineError: no masked language model, an encoder that is no backbone, or pairs for a model that is no BERT.
    """
    import transformers

    from backbones.lm import folder_of, isolated, load_language_model
    from backbones.text import LAYOUTS, no_layout

    loaded = load_language_model(name, "masked", device="cpu", instead="Pass --from a folder of a masked model")
    module = loaded.module
    encoder = type(module.base_model).__name__
    if encoder not in LAYOUTS:  # what comes out is to be a backbone
        raise no_layout(name, encoder)
    with_pairs = "BertForPreTraining" in (module.config.architectures or ())
    if next_sentence and module.config.model_type != "bert":
        raise FrostlineError(
            f"--from {name}: a {module.config.model_type!r} has no next-sentence task; leave it out "
            "(--no-next-sentence)."
        )
    wanted = with_pairs if next_sentence is None else next_sentence
    if wanted:
        with isolated(), lent_generator(derive(seed, "next sentence")):
            module = transformers.BertForPreTraining.from_pretrained(folder_of(name))
        module = module.float()
    return module.requires_grad_(True), loaded.tokenizer, loaded.window or 512, wanted


@contextmanager
def only(module: Any, places: Tensor) -> Iterator[None]:
    """Let the word head of a masked language model see chosen tokens alone: most of its work is for no use otherwise.

    Args:
        module: the model.
        places: bool, shape (n, t).
    """

    def pick(_: nn.Module, __: Any, output: Any) -> Any:
        output["last_hidden_state"] = output["last_hidden_state"][places][None]
        return output

    handle = module.base_model.register_forward_hook(pick)
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True)
class Answers:
    """What a model says of a batch.

    Args:
        logits: float, shape (m, vocabulary), at the hidden tokens; labels: int64, shape (m,).
        strange: float, shape (n, 2), None without pairs.
    """

    logits: Tensor
    labels: Tensor
    strange: Tensor | None


def ask(module: Any, batch: Batch, masking: Masking, generator: torch.Generator) -> Answers:
    """Hide words of ``batch`` and ask ``module`` for them."""
    device = next(module.parameters()).device
    hidden, labels = masking(batch.ids, batch.word, generator)
    asked = (labels != IGNORED).to(device)
    given: dict[str, Tensor] = {"input_ids": hidden, "attention_mask": batch.seen.long()}
    if batch.strange is not None:
        given["token_type_ids"] = batch.types
    with only(module, asked):
        output = module(**{key: value.to(device) for key, value in given.items()}, return_dict=True)
    logits = output["prediction_logits" if "prediction_logits" in output else "logits"][0]
    return Answers(logits, labels.to(device)[asked], output.get("seq_relationship_logits"))


def loss_of(
    module: Any, batches: Batches, masking: Masking
) -> Callable[[list[int], torch.Generator], dict[str, Tensor]]:
    """Return the loss of rows: mean over hidden tokens, and mean over pairs, in nats."""

    def loss(rows: list[int], generator: torch.Generator) -> dict[str, Tensor]:
        batch = batches(rows, generator)
        found = ask(module, batch, masking, generator)
        losses = {"words": cross_entropy(found.logits.float(), found.labels)}
        if batch.strange is not None and found.strange is not None:
            losses["next sentence"] = cross_entropy(found.strange.float(), batch.strange.to(found.strange.device))
        return losses

    return loss


@torch.no_grad()
def held_out(
    module: Any,
    batches: Batches,
    rows: Sequence[int],
    masking: Masking,
    *,
    size: int = 32,
    seed: int = 0,
    progress: Progress = silent,
) -> Mapping[str, float]:
    """Return figures of rows that are not trained on; the same words are hidden each time.

    Args:
        module: the model; its mode is put back after.
        batches: of the held-out data.
        rows: of them.
        masking: as in training.
        size: rows a forward pass.
        seed: of the choice.
        progress: told of rows.

    Returns:
        ``loss`` (nats a hidden token), ``accuracy`` of hidden tokens, ``next_sentence`` accuracy where there are pairs.
    """
    before = module.training
    module.eval()
    totals = torch.zeros(4, dtype=torch.float64)  # nats, right words, words, right pairs
    pairs = False
    try:
        for start in range(0, len(rows), size):
            generator = torch_generator(seed, "held out", start)
            part = rows[start : start + size]
            batch = batches(part, generator)
            found = ask(module, batch, masking, generator)
            nats = cross_entropy(found.logits.float(), found.labels, reduction="sum")
            right = (found.logits.argmax(1) == found.labels).sum()
            totals[:3] += torch.tensor([float(nats), float(right), len(found.labels)], dtype=torch.float64)
            if found.strange is not None and batch.strange is not None:
                pairs = True
                totals[3] += float((found.strange.argmax(1).cpu() == batch.strange).sum())
            progress("held-out words", start + len(part), len(rows))
    finally:
        module.train(before)
    nats_, right_, words, strange = totals.tolist()
    figures = {"loss": nats_ / words, "accuracy": right_ / words}
    return figures | ({"next_sentence": strange / len(rows)} if pairs else {})
