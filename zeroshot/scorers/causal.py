"""The causal scorer: a causal language model reads the cloze prompt and its surprise is the score.

Source: Lin, Zhang, Song, Findings of EACL 2023 (arXiv 2302.04459), there with GPT-J 6B.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from pydantic import PrivateAttr

from backbones.core.errors import unknown
from backbones.core.launch import fitting, is_out_of_memory
from backbones.core.samples import Progress
from backbones.lm import Kind
from zeroshot.scorers.language import LanguageScorer, Question
from zeroshot.scorers.proofs import Proofs, differ, some_of
from zeroshot.scorers.routes import ROUTES, Answers
from zeroshot.scorers.tree import Tree, grow

TOLERANCE = {torch.float32: 5e-5, torch.bfloat16: 0.5}  # nats by which a route may differ on one token


class Causal(LanguageScorer):
    """Cloze prompts under a causal language model.

    Modes: ``paper``: mean log-probability of all tokens of the new passage but the first (minus the published loss).
    ``label``: sum over the label's tokens. ``label+suffix``: sum over them and the next ``suffix`` tokens.

    Texts are tokenised whole and laid into a tree, so that prefix, passage and cloze are encoded once for all labels
    of all arguments of an event; what follows the last scored token is not encoded. The way that this is done is
    compared with plain passes at the first tree, at each that is longer or wider than all before, and wherever a limit
    of the model's attention comes between (see zeroshot.scorers.proofs); where they differ a slower way is taken, with
    a note. Equal requests get equal answers to 1e-5 whatever else is in the call.

    See LanguageScorer for the settings.

    Args:
        route: ``"auto"``, or a name of zeroshot.scorers.routes.ROUTES to try first.
    """

    kind: ClassVar[Kind] = "causal"

    route: str = "auto"

    _proofs: Proofs = PrivateAttr(default_factory=Proofs)

    def trees(self, questions: Sequence[Question]) -> list[tuple[Tree, list[int]]]:
        """Return trees that hold all questions, each with the numbers of its questions in the order of its paths."""
        ends = [self._scored(question) for question in questions]
        groups: dict[tuple[object, ...], list[int]] = {}
        for number, question in enumerate(questions):
            # Models that rescale positions of long inputs do so for all that is encoded together.
            limits = bisect_left(self.model.thresholds, ends[number].stop)
            groups.setdefault((question.context, question.ids[0], limits), []).append(number)
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
        return scores

    def _tree(self, tree: Tree) -> Answers:
        """Return the answers of the first route that gives those of plain passes on trees like this one."""
        if self.route not in ("auto", *ROUTES):
            raise unknown("route", self.route, ["auto", *ROUTES])
        *names, last = ROUTES if self.route == "auto" else list(ROUTES)[list(ROUTES).index(self.route) :]
        for name in names:
            known = self._proofs.known(name, self.model, tree)
            if known:
                return self._run(name, tree)
            answers = self._prove(name, tree) if known is None else None
            if answers is not None:
                return answers
            reason = self._proofs.reasons[name]
            self._note(f"{self.model.name!r} cannot be scored by the route {name!r} ({reason}); a slower one is taken.")
        return self._run(last, tree)

    def _run(self, route: str, tree: Tree) -> Answers:
        budget = self.batch_tokens
        while True:
            work = partial(self._all, route, tree, budget)
            if (answers := fitting(work, smallest=budget <= 1)) is not None:
                return answers
            budget //= 2
            self._note(f"memory ran out: batches were halved to {budget} tokens (see batch_tokens).")

    def _all(self, route: str, tree: Tree, budget: int) -> Answers:
        answers: Answers = {}
        for part in ROUTES[route](self.model, tree, budget):
            answers.update(part)
        return answers

    def _prove(self, name: str, tree: Tree) -> Answers | None:
        """Return the answers of a route if it agrees with plain passes on a few texts of the tree; keep the proof."""
        reason = None
        try:
            answers = self._run(name, tree)
        except Exception as error:  # models refuse what they do not know in any way
            if is_out_of_memory(error):
                raise
            reason = f"{type(error).__name__}: {(str(error).strip() or 'no reason').splitlines()[0][:120]}"
        else:
            sample, numbers = some_of(tree)
            gap = differ(answers, self._run("whole", sample), numbers)
            if gap > TOLERANCE.get(self.model.dtype, 0.5):
                reason = f"scores would differ by {gap:.2g} nats"
        self._proofs.keep(name, self.model, tree, reason)
        return answers if reason is None else None
