"""Cloze questions: does a masked language model put the right word into the gap?

Petroni et al., "Language Models as Knowledge Bases?", EMNLP 2019, arXiv 1909.01066 (LAMA).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from backbones.core.errors import FrostlineError
from backbones.core.reading import parse_json, read_text
from backbones.core.samples import Progress, silent
from backbones.lm import LanguageModel

GAP = "[MASK]"
BATCH = 32
TOP = 10
SENTENCES = ("sentence", "masked_sentence", "text", "masked_sentences")
ANSWERS = ("answer", "obj_label")
RELATIONS = ("relation", "predicate_id", "pred")


@dataclass(frozen=True)
class Cloze:
    """One question.

    Args:
        sentence: with ``[MASK]`` exactly once.
        answer: what belongs there.
        relation: a group of questions, ``""`` where there are none.
    """

    sentence: str
    answer: str
    relation: str = ""


@dataclass(frozen=True)
class ClozeScore:
    """What a model knew.

    Args:
        ranks: of the right answer among the vocabulary, 1 is first, for each question asked; of equals the right one
            is last.
        relations: of each question asked.
        guesses: the token that the model puts first, for each question asked.
        left_out: reason -> answers that could not be asked for.
    """

    ranks: tuple[int, ...]
    relations: tuple[str, ...]
    guesses: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]

    def precision(self, k: int = 1) -> float:
        """Return the share of questions whose answer is among the first ``k`` tokens."""
        return sum(rank <= k for rank in self.ranks) / len(self.ranks)

    @property
    def mrr(self) -> float:
        """Mean of 1 / rank."""
        return sum(1 / rank for rank in self.ranks) / len(self.ranks)

    def by_relation(self) -> dict[str, tuple[int, float]]:
        """Return questions asked and P@1 of each relation."""
        found: dict[str, list[int]] = {}
        for relation, rank in zip(self.relations, self.ranks, strict=True):
            found.setdefault(relation, []).append(rank)
        return {key: (len(ranks), sum(rank == 1 for rank in ranks) / len(ranks)) for key, ranks in found.items()}

    def summary(self) -> dict[str, Any]:
        """Return the figures, and how many questions were left out, why, and the first answers of those."""
        relations = self.by_relation()
        return {
            "questions": len(self.ranks),
            "P@1": self.precision(1),
            f"P@{TOP}": self.precision(TOP),
            "MRR": self.mrr,
            "P@1, mean over relations": sum(share for _, share in relations.values()) / len(relations),
            "relations": len(relations),
            "left out": {reason: len(answers) for reason, answers in self.left_out.items()},
            "left out, such as": {reason: list(dict.fromkeys(a))[:5] for reason, a in self.left_out.items()},
        }


def read_cloze(path: Path | str) -> list[Cloze]:
    """Read questions from JSON lines: ``{"sentence": "Rome is in [MASK].", "answer": "Italy"}``.

    LAMA's own fields are read too: ``masked_sentences`` (a list, joined by blanks), ``obj_label``, ``predicate_id``.

    Raises:
        FrostlineError: a missing or empty file, or a row that is no such object; the row is named.
    """
    path = Path(path)
    try:
        lines = read_text(path).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise FrostlineError(f"{path} cannot be read as UTF-8 text ({error}); pass a file of JSON lines.") from error
    found = [_row(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not found:
        raise FrostlineError(f"{path} holds no question; each line is {_EXAMPLE}.")
    return found


_EXAMPLE = '{"sentence": "Rome is in [MASK].", "answer": "Italy"}'


def _row(path: Path, number: int, line: str) -> Cloze:
    try:
        row = parse_json(line)
    except ValueError as error:
        raise FrostlineError(f"{path}, row {number} is not JSON ({error}); a row is {_EXAMPLE}.") from error
    if not isinstance(row, dict):
        raise FrostlineError(f"{path}, row {number} is no object; a row is {_EXAMPLE}.")
    sentence, answer = _field(row, SENTENCES), _field(row, ANSWERS)
    if isinstance(sentence, list) and all(isinstance(part, str) for part in sentence):
        sentence = " ".join(sentence)
    for name, value, keys in (("sentence", sentence, SENTENCES), ("answer", answer, ANSWERS)):
        if not isinstance(value, str) or not value.strip():
            raise FrostlineError(
                f"{path}, row {number} has no {name}: none of {', '.join(keys)} holds a text. A row is {_EXAMPLE}."
            )
    if sentence.count(GAP) != 1:
        raise FrostlineError(
            f"{path}, row {number} has {GAP} {sentence.count(GAP)} times in {sentence[:60]!r}; it must stand there "
            "exactly once."
        )
    return Cloze(sentence, answer.strip(), str(_field(row, RELATIONS) or ""))


def _field(row: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((row[key] for key in keys if key in row), None)


def ask(model: LanguageModel, questions: Sequence[Cloze], progress: Progress = silent) -> ClozeScore:
    """Let a masked language model fill every gap.

    Only answers of a single token can be asked for. The answer competes with the whole vocabulary of the model, which
    is harder than LAMA's common one.

    Args:
        model: of kind ``"masked"``.
        questions: one or more.
        progress: told (phase, questions done, questions in all).

    Raises:
        FrostlineError: no question can be asked.
    """
    left_out: dict[str, list[str]] = {}
    ready: list[tuple[list[int], int, int, str]] = []
    for question, (ids, place, reason) in zip(questions, _places(model, questions), strict=True):
        if reason:
            left_out.setdefault(reason, []).append(question.answer)
        else:
            answer = ids[place]
            masked = [*ids[:place], int(model.tokenizer.mask_token_id), *ids[place + 1 :]]
            ready.append((masked, place, answer, question.relation))
    if not ready:
        said = "; ".join(f"{len(answers)} {reason}" for reason, answers in left_out.items())
        raise FrostlineError(f"none of {len(questions)} questions can be put to {model.name!r}: {said}.")
    ranks, guesses = [0] * len(ready), [0] * len(ready)
    order = sorted(range(len(ready)), key=lambda row: len(ready[row][0]))
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        for row, rank, guess in zip(rows, *_ranks(model, [ready[row] for row in rows]), strict=True):
            ranks[row], guesses[row] = rank, guess
        progress(f"cloze questions to {model.name}", min(start + BATCH, len(order)), len(order))
    return ClozeScore(
        tuple(ranks),
        tuple(entry[3] for entry in ready),
        tuple(model.tokenizer.convert_ids_to_tokens(guesses)),
        {reason: tuple(answers) for reason, answers in left_out.items()},
    )


def _places(model: LanguageModel, questions: Sequence[Cloze]) -> Iterator[tuple[list[int], int, str]]:
    """Yield, of each question with its answer filled in, its tokens, the place of the answer, or why there is none."""
    texts = [question.sentence.replace(GAP, question.answer) for question in questions]
    unknown = model.tokenizer.unk_token_id
    for question, text, ids, offsets in zip(questions, texts, *model.encode(texts), strict=True):
        begin = question.sentence.index(GAP)
        end = begin + len(question.answer)
        # Some tokenizers count the blank in front as part of a word; special tokens lie at (0, 0).
        touched = [i for i, (low, high) in enumerate(offsets) if low < end and high > begin]
        whole = len(touched) == 1 and text[slice(*offsets[touched[0]])].strip() == text[begin:end]
        if not whole:
            yield ids, -1, "of several tokens"
        elif ids[touched[0]] == unknown:
            yield ids, -1, "not in the vocabulary"
        elif model.window is not None and len(ids) > model.window:
            yield ids, -1, f"in sentences of more than {model.window} tokens"
        else:
            yield ids, touched[0], ""


def _ranks(model: LanguageModel, batch: Sequence[tuple[list[int], int, int, str]]) -> tuple[list[int], list[int]]:
    longest = max(len(ids) for ids, *_ in batch)
    pad = model.tokenizer.pad_token_id or 0
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row, *_ in batch], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row, *_ in batch], device=model.device)
    with torch.inference_mode():
        logits = model.module(input_ids=ids, attention_mask=mask).logits
    places = torch.tensor([place for _, place, *_ in batch], device=model.device)
    answers = torch.tensor([answer for _, _, answer, _ in batch], device=model.device)
    at_gap = logits[torch.arange(len(batch), device=model.device), places].float()
    right = at_gap.gather(1, answers[:, None])
    return (at_gap >= right).sum(dim=1).tolist(), at_gap.argmax(dim=1).tolist()
