"""What masked and causal scorers share: settings, loading, prompts, windows, and where the label's tokens lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, field_validator

from backbones.core.artifacts import digest_json
from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.core.settings import Settings
from backbones.lm import Kind, LanguageModel, load_language_model
from zeroshot.scorers.base import Request
from zeroshot.scorers.fitting import NEAR, fit_requests
from zeroshot.scorers.known import check_labels
from zeroshot.scorers.prompts import NOTHING, Rendered, Template, make_template

VERSION = 1  # of the way scores are made, in fingerprints


@dataclass(frozen=True)
class Question:
    """A rendered and tokenised request.

    Args:
        ids: tokens of the whole text, special tokens included.
        label: tokens of the label, end-exclusive.
        content: one after the last token that is no special token.
        context: text, trigger and event; questions that share it begin alike.
    """

    ids: tuple[int, ...]
    label: tuple[int, int]
    content: int
    context: tuple[object, ...]


class LanguageScorer(Settings):
    """Settings of a scorer that asks a language model (see the subclasses).

    Args:
        lm: a folder, a Hugging Face name, or ``minilm-mlm``, a small masked language model that ships with us.
        mode: what of the text is scored (see the subclasses).
        suffix: tokens after the label that ``label+suffix`` scores with it.
        template: a name of zeroshot.scorers.prompts.PREFIXES, a prefix prompt of one's own, or a whole frame.
        device, precision: see backbones.lm.load_language_model.
        window: most tokens of one input, None for the model's own limit.
        batch_tokens: tokens of one forward pass, padding included; halved when memory runs out.
        allow_missing_head: let weights without a language-model head pass, with a note; for trials.
    """

    kind: ClassVar[Kind]

    lm: str | None = None
    mode: Literal["paper", "label", "label+suffix"] = "paper"
    suffix: int = Field(default=8, ge=1)
    template: str = "expressed"
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    window: int | None = Field(default=None, ge=16)
    batch_tokens: int = Field(default=2048, ge=16)
    allow_missing_head: bool = False

    _given: LanguageModel | None = PrivateAttr(default=None)
    _notes: dict[str, None] = PrivateAttr(default_factory=dict)

    @field_validator("template")
    @classmethod
    def _template_parses(cls, words: str) -> str:
        try:
            make_template(words)
        except FrostlineError as error:
            raise ValueError(str(error)) from None
        return words

    def with_model(self, model: LanguageModel) -> Self:
        """Return the same scorer on a model that is already loaded."""
        scorer = type(self).model_validate({**self.model_dump(), "lm": model.name})
        scorer._given = model
        return scorer

    @cached_property
    def model(self) -> LanguageModel:
        """The language model, loaded at first use; raises FrostlineError if it cannot be."""
        if self._given is not None:
            return self._given
        if self.lm is None:
            raise FrostlineError(
                f"the scorer {self.kind!r} needs a language model: pass --lm with a folder or a Hugging Face name, "
                "or use the scorer 'embedding', which brings its own."
            )
        return load_language_model(
            self.lm,
            self.kind,
            device=self.device,
            precision=self.precision,
            allow_missing_head=self.allow_missing_head,
        )

    @cached_property
    def prompt(self) -> Template:
        """The template that ``template`` names or spells."""
        return make_template(self.template)

    @property
    def limit(self) -> int | None:
        """Most tokens of one input, None for no limit."""
        stated = [size for size in (self.window, self.model.window) if size is not None]
        return min(stated) if stated else None

    def fingerprint(self) -> str:
        """Return the digest of weights, prompt, mode, window and precision."""
        parts = [VERSION, self.kind, self.model.fingerprint, self.mode, self.limit, str(self.model.dtype)]
        suffix = self.suffix if self.mode == "label+suffix" else None
        return digest_json([*parts, suffix, self.prompt.prefix, self.prompt.frame, NOTHING])

    def notes(self) -> tuple[str, ...]:
        """Return what a user must know of the last call."""
        return tuple(self._notes)

    def load(self) -> None:
        """Load the language model, which is done at first use otherwise."""
        self.model.device  # noqa: B018 (a cached property)

    def score(self, requests: Sequence[Request], progress: Progress = silent) -> NDArray[np.float64]:
        """Return one log-score per request (see zeroshot.scorers.base.Scorer).

        Equal requests get equal answers to 1e-5 whatever else is in the call: batches and shared contexts change the
        order of sums, nothing else (in bf16 that is worth a hundredth of a nat or more).

        Raises:
            FrostlineError: a model that cannot be loaded, a label without tokens, or scores that are not finite.
        """
        self._notes = dict.fromkeys(self.model.notes)
        unique = list(dict.fromkeys(requests))
        if not unique:
            return np.zeros(0)
        questions = self.questions(unique)
        for note in check_labels(self.model, unique, [each.ids[slice(*each.label)] for each in questions]):
            self._note(note)
        with torch.inference_mode():
            answers = self._answer(questions, progress)
        wrong = [request for request, answer in zip(unique, answers, strict=True) if not np.isfinite(answer)]
        if wrong:
            raise FrostlineError(
                f"{self.model.name!r} gave scores that are not finite for {len(wrong)} of {len(unique)} questions, "
                f"first for the label {wrong[0].label!r}. Its weights may be damaged, or too large for "
                f"{self.model.dtype}: pass --precision fp32 or another model."
            )
        table = dict(zip(unique, answers, strict=True))
        return np.array([table[request] for request in requests], dtype=np.float64)

    def _answer(self, questions: Sequence[Question], progress: Progress) -> list[float]:
        raise NotImplementedError

    def _note(self, text: str) -> None:
        self._notes[text] = None

    def questions(self, requests: Sequence[Request]) -> list[Question]:
        """Render, window and tokenise requests."""
        limit = self.limit
        asked = list(requests)
        texts = [self.prompt.render(request) for request in asked]
        rows, offsets = self.model.encode([text.text for text in texts])
        near = [] if limit is None else [at for at, row in enumerate(rows) if len(row) + NEAR > limit]
        if limit is not None and near:
            shortened, notes = fit_requests([requests[at] for at in near], self.model, self.prompt, limit)
            for note in notes:
                self._note(note)
            for at, request in zip(near, shortened, strict=True):
                asked[at], texts[at] = request, self.prompt.render(request)
            cut_rows, cut_offsets = self.model.encode([texts[at].text for at in near])
            for at, row, offset in zip(near, cut_rows, cut_offsets, strict=True):
                rows[at], offsets[at] = row, offset
        questions = [self._locate(*item) for item in zip(asked, texts, rows, offsets, strict=True)]
        for request, question in zip(requests, questions, strict=True):
            if limit is not None and len(question.ids) > limit:
                raise FrostlineError(
                    f"the prompt about {request.text[slice(*request.span)][:40]!r} and {request.label[:40]!r} has "
                    f"{len(question.ids)} tokens, the window of {self.model.name!r} {limit}. "
                    "Shorten the label or the template, or use a model with a longer window."
                )
        return questions

    def _locate(self, request: Request, text: Rendered, ids: list[int], offsets: list[tuple[int, int]]) -> Question:
        start, end = text.span
        found = [at for at, (a, b) in enumerate(offsets) if a < end and b > start and a < b]
        if not found:
            raise FrostlineError(
                f"the tokenizer of {self.model.name!r} has no token for the label {text.label!r}; use other words."
            )
        content = max(at for at, (a, b) in enumerate(offsets) if a < b) + 1
        context = (request.text, request.trigger, request.event)
        return Question(tuple(ids), (found[0], found[-1] + 1), content, context)
