"""Varied texts: words replaced by what a masked language model, or the words' own vectors, would put there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled
from backbones.core.samples import Progress, silent
from backbones.core.seed import numpy_generator
from backbones.core.settings import Settings
from backbones.core.tokens import tokenize, tokenize_pairs
from backbones.lm import LanguageModel

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
# Articles, pronouns, prepositions, conjunctions, auxiliaries, and all that negates: in their place any other word turns
# what is said, often into its opposite, and the label is wrong.
FUNCTION = frozenset(
    """
    a an the this that these those such same each every either neither both all any some another other what which whose
    i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers
    herself it its itself they them their theirs themselves who whom whoever one oneself someone somebody something
    anyone anybody anything everyone everybody everything there here
    no not nor none never nobody nothing nowhere neither cannot without hardly barely scarcely rarely seldom unless
    except lest nay non aint arent cant couldnt didnt doesnt dont hadnt hasnt havent isnt mustnt shouldnt wasnt werent
    wont wouldnt few little less least only but yet though although however despite instead
    about above across after against along among around as at before behind below beneath beside besides between beyond
    by down during for from in inside into like near of off on onto out outside over past per since through throughout
    till to toward towards under underneath until unto up upon via with within than then
    and or so if because while whereas whether when whenever where wherever why how once again too very just also even
    am is are was were be been being do does did doing done have has had having can could may might must shall should
    will would ought need dare used let
    """.split()  # noqa: SIM905 (nobody reads 250 quoted words)
)
BATCH = 64  # masked texts a forward pass
BLOCK = 512  # words whose neighbours are sought at a time


class Variants(Settings):
    """How texts are varied (TinyBERT, section 3.2); the defaults are the paper's.

    Args:
        count: variants of each text.
        share: probability that a word is replaced.
        candidates: how many of the likeliest words one is drawn from.
    """

    count: int = Field(default=20, ge=1)
    share: float = Field(default=0.4, gt=0, le=1)
    candidates: int = Field(default=15, ge=1)


@dataclass(frozen=True)
class Words:
    """The whole words of a vocabulary: tokens that make a word by themselves.

    Attributes:
        ids: int64, shape (words,).
        texts: as they are written, in the same order.
    """

    ids: Tensor
    texts: tuple[str, ...]

    @staticmethod
    def of(tokenizer: Any) -> Words:
        """Find the tokens that are what their own text is cut into, letters alone, and no function words."""
        special = set(tokenizer.all_special_ids)
        known = {n: tokenizer.decode([n]).strip() for n in range(len(tokenizer)) if n not in special}
        known = {
            n: text for n, text in known.items() if n not in special and WORD.fullmatch(text) and not is_function(text)
        }
        numbers = list(known)
        spaced = tokenize(tokenizer, [f" {known[n]}" for n in numbers], add_special_tokens=False)["input_ids"]
        whole = [n for n, ids in zip(numbers, spaced, strict=True) if list(ids) == [n]]
        return Words(torch.tensor(whole, dtype=torch.int64), tuple(known[n] for n in whole))


@dataclass(frozen=True)
class _Input:
    """Token ids that the model reads, where those of the text to vary stand in it, and the parts they belong to."""

    ids: list[int]
    offsets: list[Any]
    types: list[int] | None


def is_function(word: str) -> bool:
    """Tell whether a word is a function word of English or negates."""
    plain = word.lower().replace("’", "'")
    return plain in FUNCTION or plain.endswith("n't") or plain.partition("'")[0] in FUNCTION


class Varier:
    """Draws variants of texts.

    A word that is one token of the language model is replaced by one of the words that the model finds likeliest
    with the word masked and the original text beside it, as in the paper's code: the word itself is always one of
    them, and the others fit it. Function words and whatever negates (``FUNCTION``, and all that ends in ``n't``)
    are never replaced and never put in another's place. Any other word is replaced by one of its neighbours, by the
    cosine of input embeddings (of a word of several tokens, their mean), where the paper takes GloVe vectors.
    Without a language model all words have neighbours.

    Args:
        tokenizer: of the embeddings, and of the language model if there is one.
        embeddings: input embeddings, float, shape (tokens, width).
        model: a masked language model, None for neighbours alone.
        settings: how.

    Raises:
        FrostlineError: a model that is no masked one.
    """

    def __init__(
        self, tokenizer: Any, embeddings: Tensor, model: LanguageModel | None = None, settings: Variants | None = None
    ) -> None:
        if model is not None and model.kind != "masked":
            raise FrostlineError(f"{model.name!r} was loaded as {model.kind}; texts are varied by a masked model.")
        self.tokenizer, self.model = tokenizer, model
        self.settings = settings or Variants()
        self.words = Words.of(tokenizer)
        self._table = embeddings.detach().float().cpu()
        self._unit = normalize(self._table[self.words.ids], dim=1)
        self._near: dict[str, tuple[str, ...]] = {}

    @staticmethod
    def from_model(model: LanguageModel, settings: Variants | None = None) -> Varier:
        """Return a varier by a masked language model and its own input embeddings."""
        return Varier(model.tokenizer, model.module.get_input_embeddings().weight, model, settings)

    def candidates(self, texts: Sequence[str], progress: Progress = silent) -> list[list[tuple[int, int, list[str]]]]:
        """Return for each text its words but function words as (start, end, what may stand there), likeliest first."""
        spans = [[hit.span() for hit in WORD.finditer(text) if not is_function(hit.group())] for text in texts]
        masked = self._by_model(texts, spans, progress) if self.model is not None else {}
        left = {
            text[start:end].lower()
            for row, text in enumerate(texts)
            for start, end in spans[row]
            if (row, start) not in masked
        }
        self._seek(sorted(left - self._near.keys()))
        return [
            [
                (start, end, masked.get((row, start)) or list(self._near.get(texts[row][start:end].lower(), ())))
                for start, end in spans[row]
            ]
            for row in range(len(texts))
        ]

    def vary(self, texts: Sequence[str], seed: int, progress: Progress = silent) -> list[list[str]]:
        """Return variants of each text; ``count`` of each, some of which may be equal.

        Args:
            texts: n texts.
            seed: of the draws.
            progress: told of the masked texts that the model has seen.
        """
        found = []
        for row, words in enumerate(self.candidates(texts, progress)):
            generator = numpy_generator(seed, "variants", row)
            found.append([self._variant(texts[row], words, generator) for _ in range(self.settings.count)])
        return found

    def _variant(self, text: str, words: Sequence[tuple[int, int, list[str]]], generator: Any) -> str:
        parts, at = [], 0
        for start, end, others in words:
            parts.append(text[at:start])
            replaced = bool(others) and generator.random() < self.settings.share
            parts.append(others[int(generator.integers(len(others)))] if replaced else text[start:end])
            at = end
        return "".join([*parts, text[at:]])

    def _by_model(
        self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]], progress: Progress
    ) -> dict[tuple[int, int], list[str]]:
        """Return (text, start of the word) -> the model's words, for words that are one token."""
        assert self.model is not None
        inputs = self._inputs(texts)
        jobs = [
            (row, start, place)
            for row, text in enumerate(texts)
            for start, end in spans[row]
            if (place := _only_token(inputs[row].offsets, start, end, text)) is not None
            and (self.model.window is None or len(inputs[row].ids) <= self.model.window)
        ]
        jobs.sort(key=lambda job: len(inputs[job[0]].ids))  # equal lengths together
        found: dict[tuple[int, int], list[str]] = {}
        for first in range(0, len(jobs), BATCH):
            part = jobs[first : first + BATCH]
            guessed = self._guess([(inputs[row], place) for row, _, place in part])
            for (row, start, _), words in zip(part, guessed, strict=True):
                found[row, start] = words
            progress("varying texts", min(first + BATCH, len(jobs)), len(jobs))
        return found

    def _inputs(self, texts: Sequence[str]) -> list[_Input]:
        """Return what the model reads: each text, and it once more beside; alone where both do not fit."""
        assert self.model is not None
        config = self.model.module.config
        typed = getattr(config, "type_vocab_size", 0) > 1
        wanted = {"return_offsets_mapping": True, "return_token_type_ids": typed}
        single = tokenize(self.tokenizer, texts, **wanted)
        double = tokenize_pairs(self.tokenizer, texts, texts, **wanted)
        found = []
        for row in range(len(texts)):
            fits = self.model.window is None or len(double["input_ids"][row]) <= self.model.window
            made = double if fits else single
            parts = made.sequence_ids(row)
            offsets = [
                span if part == 0 else (0, 0) for span, part in zip(made["offset_mapping"][row], parts, strict=True)
            ]
            found.append(_Input(made["input_ids"][row], offsets, made["token_type_ids"][row] if typed else None))
        return found

    def _guess(self, part: Sequence[tuple[_Input, int]]) -> list[list[str]]:
        assert self.model is not None
        longest = max(len(read.ids) for read, _ in part)
        batch = torch.full((len(part), longest), int(self.tokenizer.pad_token_id))
        seen, types = torch.zeros(2, len(part), longest, dtype=torch.int64)
        for number, (read, place) in enumerate(part):
            length = len(read.ids)
            batch[number, :length] = torch.tensor(read.ids)
            batch[number, place] = int(self.tokenizer.mask_token_id)
            seen[number, :length] = 1
            types[number, :length] = torch.tensor(read.types or [0] * length)
        given = {"input_ids": batch, "attention_mask": seen}
        if part[0][0].types is not None:
            given["token_type_ids"] = types
        device = self.model.device
        with torch.inference_mode():
            logits = self.model.module(**{name: value.to(device) for name, value in given.items()}).logits.float().cpu()
        places = torch.tensor([place for _, place in part])
        scores = logits[torch.arange(len(part)), places][:, self.words.ids]
        own = torch.tensor([read.ids[place] for read, place in part])[:, None] == self.words.ids
        best = scores.topk(min(self.settings.candidates, scores.shape[1]), dim=1).indices
        if best.shape[1] > 1:  # a poor model may not find the word itself
            lost = own.any(dim=1) & ~own.gather(1, best).any(dim=1)
            best[lost, -1] = own.int().argmax(dim=1)[lost]
        return [[self.words.texts[word] for word in row] for row in best.tolist()]

    def _seek(self, words: Sequence[str]) -> None:
        """Find the neighbours of words among the whole words of the vocabulary."""
        for first in range(0, len(words), BLOCK):
            part = words[first : first + BLOCK]
            cut = tokenize(self.tokenizer, [f" {word}" for word in part], add_special_tokens=False)["input_ids"]
            means = torch.stack([self._table[torch.tensor(ids)].mean(dim=0) for ids in cut])
            near = (normalize(means, dim=1) @ self._unit.T).topk(
                min(self.settings.candidates + 1, len(self._unit)), dim=1
            )
            for word, row in zip(part, near.indices.tolist(), strict=True):
                others = [self.words.texts[number] for number in row if self.words.texts[number].lower() != word]
                self._near[word] = tuple(others[: self.settings.candidates])


def with_variants(data: Labelled, varier: Varier, seed: int = 0, progress: Progress = silent) -> Labelled:
    """Return texts and their variants, each with the label of what it was made from; a variant is there once.

    Raises:
        FrostlineError: data of images.
    """
    if data.modality != "text":
        raise FrostlineError("images are varied by flips and shifts while they are trained on; --augment is for texts.")
    texts = [str(text) for text in data.samples]
    found, labels = list(texts), data.labels.tolist()
    for label, text, variants in zip(data.labels.tolist(), texts, varier.vary(texts, seed, progress), strict=True):
        fresh = [variant for variant in dict.fromkeys(variants) if variant != text]
        found += fresh
        labels += [label] * len(fresh)
    return Labelled(found, _int64(labels), data.classes, data.modality)


def _int64(values: Sequence[int]) -> Any:
    return torch.tensor(values, dtype=torch.int64).numpy()


def _only_token(offsets: Sequence[Any], start: int, end: int, text: str) -> int | None:
    """Return the place of the token that is the word, None for a word of several tokens or within a longer one."""
    inside = [place for place, (a, b) in enumerate(offsets) if a < end and b > start]
    if len(inside) != 1:
        return None
    a, b = offsets[inside[0]]
    return inside[0] if text[a:b].strip() == text[start:end] else None
