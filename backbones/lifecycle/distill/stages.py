"""The stages of a distillation: layers first, then answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled
from backbones.core.samples import Progress, silent
from backbones.encoder import answered, by_group
from backbones.lifecycle.distill.answers import Answers
from backbones.lifecycle.distill.losses import Matching, prediction_losses
from backbones.lifecycle.distill.trace import Trace, real_tokens
from backbones.training.loop import Course, Recipe, Say, mute, train

Vary = Callable[[Tensor, torch.Generator], Tensor]
Losses = dict[str, Tensor]


def match_layers(
    student: Backbone,
    answers: Answers,
    matching: Matching,
    samples: Sequence[Any],
    recipe: Recipe,
    *,
    vary: Vary | None = None,
    dropout: bool = False,
    checkpoint: Path | None = None,
    progress: Progress = silent,
    say: Say = mute,
    phase: str = "layers",
) -> Course:
    """Train a student in place to compute in its layers what its teacher does in the mapped ones.

    Args:
        student: trained, all of it, with the projections in ``matching``.
        answers: of the teacher.
        matching: the losses.
        samples: raw inputs; no label is needed.
        recipe: how long.
        vary: maps a preprocessed batch and a generator to another one that both see; the teacher is then asked afresh.
        dropout: whether the student's dropout is on, if it has any.
        checkpoint, progress, say, phase: see ``train``.

    Raises:
        FrostlineError: no sample, or see ``train`` and ``Matching``.
    """
    if len(samples) == 0:
        raise FrostlineError("the corpus is empty: there is nothing to distil on. Pass texts or images.")
    if not matching.terms.intermediate:
        raise FrostlineError("the weights of embedding, hidden and attention are all 0: there are no layers to match.")
    own = [mine for mine, _ in matching.pairs]
    terms = matching.terms
    trace = Trace(student, own, embedding=terms.embedding > 0, hidden=terms.hidden > 0, scores=terms.attention > 0)
    matching.to(student.device)

    def one(batch: Tensor, rows: list[int]) -> Losses:
        theirs = answers.seen(batch, None if vary else rows)
        _, mine = trace.run(batch)
        return matching(mine, theirs, real_tokens(student, batch))  # type: ignore[no-any-return]

    params = _named("student", student.module) | _named("matching", matching)
    with trace:
        return train(
            params,
            _by_length(student, samples, one, vary),
            len(samples),
            recipe,
            modules=[student.module] if dropout else [],
            checkpoint=checkpoint,
            keep=True,
            progress=progress,
            say=say,
            phase=phase,
        )


def match_answers(
    student: Backbone,
    head: nn.Linear,
    answers: Answers,
    data: Labelled,
    matching: Matching,
    recipe: Recipe,
    *,
    head_rate: float = 1.0,
    vary: Vary | None = None,
    dropout: bool = False,
    checkpoint: Path | None = None,
    progress: Progress = silent,
    say: Say = mute,
    phase: str = "answers",
) -> Course:
    """Train a student and its head in place to answer as its teacher does.

    Args:
        student: trained, all of it.
        head: of the student, (width, classes); trained.
        answers: of the teacher, with its head.
        data: inputs; their labels count for the term ``hard`` alone.
        matching: holds the weights of the terms.
        recipe: how long.
        head_rate: factor on the rate of the head.
        vary, dropout, checkpoint, progress, say, phase: see ``match_layers``.

    Raises:
        FrostlineError: no term of the answers has a weight, or see ``train``.
    """
    terms = matching.terms
    if not (terms.soft or terms.hard):
        raise FrostlineError("the weights of soft and hard are both 0: there are no answers to match.")
    labels = torch.tensor(data.labels)

    def one(batch: Tensor, rows: list[int]) -> Losses:
        theirs = answers.logits(batch, None if vary else rows)
        wanted = labels[rows].to(batch.device)
        return prediction_losses(answered(head, student.features(batch)), theirs, wanted, terms)

    params = _named("student", student.module) | _named("head", head.to(student.device))
    return train(
        params,
        _by_length(student, data.samples, one, vary),
        len(data),
        recipe,
        modules=[student.module] if dropout else [],
        rates={"head.": head_rate},
        checkpoint=checkpoint,
        keep=True,
        progress=progress,
        say=say,
        phase=phase,
    )


def _named(prefix: str, module: nn.Module) -> dict[str, nn.Parameter]:
    return {f"{prefix}.{name}": param for name, param in module.named_parameters()}


def _by_length(
    student: Backbone, samples: Sequence[Any], one: Callable[[Tensor, list[int]], Losses], vary: Vary | None
) -> Callable[[list[int], torch.Generator], Losses]:
    """Return a loss over rows: inputs of one length go forward together, every input counts the same."""

    def loss(rows: list[int], generator: torch.Generator) -> Losses:
        raw = [samples[row] for row in rows]
        found: Losses = {}
        for _, places in by_group(student.preprocessing.groups(raw)):
            batch = student.preprocessing([raw[place] for place in places]).to(student.device)
            batch = batch if vary is None else vary(batch, generator)
            share = len(places) / len(rows)
            for name, value in one(batch, [rows[place] for place in places]).items():
                found[name] = found[name] + share * value if name in found else share * value
        return found

    return loss
