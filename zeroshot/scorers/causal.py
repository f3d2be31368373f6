"""The causal scorer: a causal language model reads the cloze prompt and its surprise is the score.

Source: Lin, Zhang, Song, Findings of EACL 2023 (arXiv 2302.04459), there with GPT-J 6B.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import PrivateAttr

from backbones.core.errors import unknown
from backbones.core.launch import is_out_of_memory
from backbones.core.samples import Progress
from backbones.lm import Kind
from zeroshot.scorers.language import LanguageScorer, Question
from zeroshot.scorers.routes import ROUTES, Answers, differ
from zeroshot.scorers.tree import Tree, grow

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.5}  # nats by which a route may differ on one token


class Causal(LanguageScorer):
    """Cloze prompts under a causal language model.

    Modes: ``paper``: mean log-probability of all tokens of the new passage but the first (minus the published loss).
    ``label``: sum over the label's tokens. ``label+suffix``: sum over them and the next ``suffix`` tokens.

    Texts are tokenised whole and laid into a tree, so that prefix, passage and cloze are encoded once for all labels
    of all arguments of an event; what follows the last scored token is not encoded. The first time a model is used the
    way that this is done is compared with plain passes; where they differ a slower way is taken, with a note. Equal
    requests get equal answers to 1e-5 whatever else is in the call.

    See LanguageScorer for the settings.

    Args:
        route: ``"auto"``, or a name of zeroshot.scorers.routes.ROUTES to try first.
    """

    kind: ClassVar[Kind] = "causal"

    route: str = "auto"

    _proven: str | None = PrivateAttr(default=None)
    _route_notes: list[str] = PrivateAttr(default_factory=list)

    def trees(self, questions: Sequence[Question]) -> list[tuple[Tree, list[int]]]:
        """Return trees that hold all questions, each with the numbers of its questions in the order of its paths."""
        ends = [self._scored(question) for question in questions]
        groups: dict[tuple[object, ...], list[int]] = {}
        for number, question in enumerate(questions):
            groups.setdefault((question.context, question.ids[0]), []).append(number)
        return [(grow([questions[n].ids[: ends[n].stop] for n in g], [ends[n] for n in g]), g) for g in groups.values()]

    def _scored(self, question: Question) -> range:
        """Return the positions whose log-probabilities make the score; the first token of a text has none."""
        if self.mode == "paper":
            return range(1, len(question.ids))
        end = question.label[1] + (self.suffix if self.mode == "label+suffix" else 0)
        return range(max(1, question.label[0]), max(question.label[1], min(end, question.content)))

    def _answer(self, questions: Sequence[Question], progress: Progress) -> list[float]:
        scores = [0.0] * len(questions)
        done = 0
        for tree, numbers in self.trees(questions):
            answers = self._tree(tree)
            for number, path in zip(numbers, tree.paths, strict=True):
                places = self._scored(questions[number])
                total = sum(answers[path[place]] for place in places)
                scores[number] = total / max(1, len(places)) if self.mode == "paper" else total
            done += len(numbers)
            progress("scoring", done, len(questions))
        for note in self._route_notes:
            self._note(note)
        return scores

    def _tree(self, tree: Tree) -> Answers:
        if self._proven is None:
            self._proven = self._prove(tree)
        return self._run(self._proven, tree)

    def _run(self, route: str, tree: Tree) -> Answers:
        budget = self.batch_tokens
        while True:
            answers: Answers = {}
            try:
                for part in ROUTES[route](self.model, tree, budget):
                    answers.update(part)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or budget <= 1:
                    raise
                budget //= 2
                self._note(f"memory ran out: batches were halved to {budget} tokens (see batch_tokens).")
            else:
                return answers

    def _prove(self, tree: Tree) -> str:
        """Return the first route that agrees with plain passes on a few texts of ``tree``."""
        names = list(ROUTES)
        if self.route != "auto":
            if self.route not in ROUTES:
                raise unknown("route", self.route, ["auto", *ROUTES])
            names = names[names.index(self.route) :]
        sample = _some(tree)
        plain = self._run("whole", sample)
        for name in names[:-1]:
            try:
                gap = differ(self._run(name, sample), plain)
            except Exception as error:  # models refuse what they do not know in any way
                if is_out_of_memory(error):
                    raise
                why = f"{type(error).__name__}: {(str(error).strip() or 'no reason').splitlines()[0][:120]}"
            else:
                if gap <= TOLERANCE.get(self.model.dtype, 0.5):
                    return name
                why = f"scores would differ by {gap:.2g} nats"
            self._route_notes.append(
                f"{self.model.name!r} cannot be scored by the route {name!r} ({why}); a slower one is taken."
            )
        return names[-1]


def _some(tree: Tree) -> Tree:
    """Return the tree of the first, second and last sequence: labels of one argument, and another argument."""
    last = len(tree.paths) - 1
    paths = [tree.paths[index] for index in sorted({0, 1 if last else 0, last})]
    sequences = [[tree.tokens[node] for node in path] for path in paths]
    return grow(sequences, [[at for at, node in enumerate(path) if node in tree.wanted] for path in paths])
