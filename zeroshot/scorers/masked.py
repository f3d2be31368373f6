"""The masked scorer: the label's tokens are masked in a cloze prompt and a masked language model guesses them.

Source: Lin, Zhang, Song, Findings of EACL 2023 (arXiv 2302.04459) and its released code (BERT-large).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from backbones.core.launch import fitting
from backbones.core.samples import Progress
from backbones.lm import Kind
from zeroshot.scorers.forward import batches, filler, logprobs, pad
from zeroshot.scorers.language import LanguageScorer, Question


@dataclass
class Row:
    """One masked input and what is read off it.

    Args:
        ids: tokens with masks in place.
        wanted: (number of the question, position, token, weight of its log-probability).
    """

    ids: tuple[int, ...]
    wanted: list[tuple[int, int, int, float]] = field(default_factory=list)


class Masked(LanguageScorer):
    """Cloze prompts under a masked language model.

    Modes: ``paper``: mean log-probability of the label's tokens, each with a mask of its own, all masked at once (the
    released code). ``label``: their sum, the log-probability of the whole label. ``label+suffix``: that, plus the sum
    over the next ``suffix`` tokens, all masked at once while the label is seen (how well the passage follows from it;
    one more forward per label).

    Labels of equal token count leave the same masked input, so one row serves them all, roles and entity types alike;
    the head is computed at masks alone. Equal requests get equal answers to 1e-5 whatever else is in the call.

    See LanguageScorer for the settings.
    """

    kind: ClassVar[Kind] = "masked"

    def rows(self, questions: Sequence[Question]) -> list[Row]:
        """Return the masked inputs that answer the questions, each once."""
        table: dict[tuple[int, ...], Row] = {}
        for number, question in enumerate(questions):
            first, last = question.label
            weight = 1.0 / (last - first) if self.mode == "paper" else 1.0
            self._mask(table, number, question, range(first, last), weight)
            if self.mode == "label+suffix":
                self._mask(table, number, question, range(last, min(last + self.suffix, question.content)), 1.0)
        return list(table.values())

    def _mask(
        self, table: dict[tuple[int, ...], Row], number: int, question: Question, places: range, weight: float
    ) -> None:
        if not places:
            return
        ids = list(question.ids)
        ids[places.start : places.stop] = [self.model.tokenizer.mask_token_id] * len(places)
        row = table.setdefault(tuple(ids), Row(tuple(ids)))
        row.wanted.extend((number, place, question.ids[place], weight) for place in places)

    def _answer(self, questions: Sequence[Question], progress: Progress) -> list[float]:
        rows = self.rows(questions)
        answers = [0.0] * len(questions)
        done = 0
        for batch in batches([len(row.ids) for row in rows], self.batch_tokens):
            self._batch([rows[index] for index in batch], answers)
            done += len(batch)
            progress("scoring", done, len(rows))
        return answers

    def _batch(self, rows: list[Row], answers: list[float]) -> None:
        found = fitting(partial(self._forward, rows), smallest=len(rows) == 1)
        if found is None:
            self._note(f"memory ran out: batches of {self.batch_tokens} tokens were halved (see batch_tokens).")
            self._batch(rows[::2], answers)
            self._batch(rows[1::2], answers)
            return
        wanted = (item for row in rows for item in row.wanted)
        for (number, _, _, weight), value in zip(wanted, found, strict=True):
            answers[number] += weight * value

    def _forward(self, rows: Sequence[Row]) -> list[float]:
        """Return the log-probability of every wanted token, row by row."""
        model = self.model
        ids, mask = pad([row.ids for row in rows], filler(model), model.device)
        places = sorted({(at, place) for at, row in enumerate(rows) for _, place, _, _ in row.wanted})
        number = {place: index for index, place in enumerate(places)}
        wanted = [(number[at, place], token) for at, row in enumerate(rows) for _, place, token, _ in row.wanted]
        return logprobs(model, places, wanted, input_ids=ids, attention_mask=mask)[0]
