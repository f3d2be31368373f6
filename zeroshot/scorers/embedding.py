"""The offline default: how close a mention is to the words for a role, and what English grammar says of its place.

The score of a label is the sum of two parts, both in nats. The first is the cosine similarity, divided by a
temperature, between two views of the mention (its own words; its words as the encoder sees them in their sentence) and
the views of the label (its name, its description, a hypothesis). The second is the log-odds of cues.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, model_validator

from backbones.core.artifacts import digest_json
from backbones.core.samples import Progress, silent
from backbones.core.settings import Settings
from backbones.lm import load_language_model
from zeroshot.scorers.base import Request
from zeroshot.scorers.cues import cue, outsider
from zeroshot.scorers.known import check_labels
from zeroshot.scorers.sentences import fit, fit_context
from zeroshot.scorers.vectors import Key, Vectors

ANY_ROLE = (
    "agent", "person who does it", "person affected", "thing affected", "recipient", "participant", "place", "origin",
    "destination", "instrument", "means", "topic", "cause", "result", "time", "amount",
)  # fmt: skip
"""What roles are called in any ontology: a mention that is no closer to the roles of its event than to these is none
of them in particular."""

FORMAT = 2  # of the scores: raised when equal settings come to give other numbers


class Embedding(Settings):
    """Scores labels by similarity of sentence embeddings and by cues of grammar; one forward for each new text.

    Temperature and weights were chosen by log-likelihood and accuracy on development data: part of GENEVA val, PHEE dev
    and CrudeOil, and sentences written for it. The log-odds of cues are general reasoning, weighted 0.7 as a whole.

    Args:
        lm: a text encoder: ``minilm``, a folder or a hub name.
        device, precision: see backbones.lm.load_language_model.
        chunk: tokens of one forward pass, None for a good number.
        temperature: difference of cosine similarity that is worth one nat.
        mention, context: weights of the mention's own words and of its words in their sentence.
        name, description: weights of the label's name and description (the name again where there is none).
        hypothesis: own sentence for labels, with ``{role}``, ``{span}`` and ``{event}``, such as
            ``"{span} is the {role} of the {event}"``; an event type's own sentence comes before it.
        hypothesis_weight: weight of that sentence, where there is one.
        cues: weight of the grammar's log-odds (English texts), 0 to switch them off.
        none_bias: log-odds added to "no role at all".
    """

    scores_none: ClassVar[bool] = True

    lm: str = "minilm"
    device: str = "auto"
    precision: str = "fp32"
    chunk: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=0.07, gt=0)
    mention: float = Field(default=1.0, ge=0)
    context: float = Field(default=1.0, ge=0)
    name: float = Field(default=1.0, ge=0)
    description: float = Field(default=2.0, ge=0)
    hypothesis: str | None = None
    hypothesis_weight: float = Field(default=1.0, ge=0)
    cues: float = Field(default=0.7, ge=0)
    none_bias: float = 0.0
    _vectors: Vectors | None = PrivateAttr(default=None)
    _notes: dict[str, None] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _something_is_compared(self) -> Self:
        if self.mention + self.context == 0:
            raise ValueError("mention and context are both 0, so no view of the mention is left; raise one of them")
        if self.name + self.description == 0:
            raise ValueError("name and description are both 0, so no view of the label is left; raise one of them")
        return self

    def fingerprint(self) -> str:
        """Return a digest of the encoder and of every setting that decides scores."""
        settings = self.model_dump(exclude={"lm", "device", "chunk"})
        model = self._encoder().model
        return digest_json(
            {"scorer": "embedding", "format": FORMAT, "model": model.fingerprint, "dtype": str(model.dtype)} | settings
        )

    def load(self) -> None:
        """Load the encoder, which is done at first use otherwise."""
        self._encoder()

    def score(self, requests: Sequence[Request], progress: Progress = silent) -> NDArray[np.float64]:
        """Return log-scores: float64, shape (len(requests),), nats up to a constant for each cell."""
        self._notes.clear()
        asked = list(dict.fromkeys(requests))
        if not asked:
            return np.zeros(0)
        near = self._closeness(asked, progress) / self.temperature
        for number, request in enumerate(asked):
            if request.label:
                near[number] += self.cues * cue(request) if self.cues else 0.0
            else:
                near[number] += outsider(request) + self.none_bias
            if self.cues and request.kind == "role" and request.language != "en":
                self._notes["cues of grammar are for English; texts in other languages are scored without them"] = None
        place = {request: number for number, request in enumerate(asked)}
        return near[[place[request] for request in requests]]

    def notes(self) -> tuple[str, ...]:
        """Return what was cut or left out in the last call."""
        return tuple(self._notes)

    def _closeness(self, requests: Sequence[Request], progress: Progress) -> NDArray[np.float64]:
        """Return the mean similarity of all views, -1 to 1."""
        vectors = self._encoder()
        places = dict.fromkeys((request.text, request.span) for request in requests)
        mentions = {place: self._mention(*place) for place in places}
        labels = [self._label(request) for request in requests]
        self._notes.update(dict.fromkeys(check_labels(vectors.model, requests, self._reads(labels))))
        keys = dict.fromkeys(key for each in (*mentions.values(), *labels) for key, _ in each)
        rows = dict(zip(keys, vectors.of(list(keys), progress), strict=True))

        def mixed(views: Sequence[tuple[Key, float]]) -> NDArray[np.float64]:
            total = sum(weight for _, weight in views)
            return np.asarray(sum(rows[key].astype(np.float64) * (weight / total) for key, weight in views))

        ours = {place: mixed(views) for place, views in mentions.items()}
        theirs = {views: mixed(views) for views in dict.fromkeys(map(tuple, labels))}
        pairs = zip(requests, labels, strict=True)
        return np.array([float(ours[each.text, each.span] @ theirs[tuple(views)]) for each, views in pairs])

    def _mention(self, text: str, span: tuple[int, int]) -> list[tuple[Key, float]]:
        views: list[tuple[Key, float]] = []
        if self.mention:
            views.append(((self._short(text[slice(*span)], "mention"), None), self.mention))
        if self.context:
            found = fit_context(text, span, self._encoder().fits)
            if found.cut:
                self._notes["a sentence longer than the encoder's window was cut around its mention"] = None
            views.append(((found.text, found.span), self.context))
        return views

    def _label(self, request: Request) -> list[tuple[Key, float]]:
        if not request.label:
            return [((word, None), 1.0) for word in ANY_ROLE]
        views: list[tuple[Key, float]] = []
        if self.name:
            views.append(((self._short(request.label, "label"), None), self.name))
        if self.description:
            views.append(((self._short(request.description or request.label, "label"), None), self.description))
        sentence = request.hypothesis or self.hypothesis
        if sentence and self.hypothesis_weight and request.kind == "role":
            views.append(((self._short(_filled(sentence, request), "hypothesis"), None), self.hypothesis_weight))
        return views

    def _reads(self, labels: Sequence[list[tuple[Key, float]]]) -> list[tuple[int, ...]]:
        """Return the tokens of all views of each label, one view after the other."""
        texts = list(dict.fromkeys(text for views in labels for (text, _), _ in views))
        rows = dict(zip(texts, self._encoder().model.encode(texts, special=False)[0], strict=True))
        return [tuple(token for (text, _), _ in views for token in rows[text]) for views in labels]

    def _short(self, text: str, what: str) -> str:
        short = fit(text, self._encoder().fits)
        if short != text:
            self._notes[f"a {what} longer than the encoder's window was cut short"] = None
        return short

    def _encoder(self) -> Vectors:
        if self._vectors is None:
            model = load_language_model(self.lm, "encoder", device=self.device, precision=self.precision)
            self._vectors = Vectors(model, self.chunk)
        return self._vectors


def _filled(template: str, request: Request) -> str:
    """Fill the template in one pass, so that braces in texts stay what they are."""
    values = {"{role}": request.label, "{span}": request.text[slice(*request.span)], "{event}": request.event}
    return re.sub(r"\{(?:role|span|event)\}", lambda match: values[match[0]], template)
