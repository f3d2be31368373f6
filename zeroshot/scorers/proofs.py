"""Which ways of scoring a tree give a model's own numbers: proven against plain passes, for each shape of tree."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from backbones.lm import LanguageModel
from zeroshot.scorers.routes import Answers
from zeroshot.scorers.tree import Tree, grow

Shape = tuple[int, int]
"""The longest path of a tree, and how many shared nodes lie beside it: what a route does to attention grows with
both."""
Terms = tuple[object, ...]
"""What a proof holds for: a route, an attention, a precision, and the limits of attention that a tree exceeds."""
EVENLY = 4  # steps from the first sequence of a tree to its last, at which routes are compared


@dataclass
class Proofs:
    """What routes were proven and refused so far, and at which shapes."""

    held: dict[Terms, list[Shape]] = field(default_factory=dict)
    refused: dict[Terms, list[Shape]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def known(self, route: str, model: LanguageModel, tree: Tree) -> bool | None:
        """Tell whether a route may serve a tree, None if that is not known: no tree was as long and as wide."""
        terms, shape = _terms(route, model, tree), tree.shape
        if any(_within(other, shape) for other in self.refused.get(terms, ())):
            return False
        return True if any(_within(shape, other) for other in self.held.get(terms, ())) else None

    def keep(self, route: str, model: LanguageModel, tree: Tree, reason: str | None) -> None:
        """Remember that a route serves trees like ``tree``, or the reason why it does not."""
        table = self.held if reason is None else self.refused
        table.setdefault(_terms(route, model, tree), []).append(tree.shape)
        if reason is not None:
            self.reasons.setdefault(route, reason)


def _terms(route: str, model: LanguageModel, tree: Tree) -> Terms:
    attention = getattr(model.module.config, "_attn_implementation", None)
    limits = [bisect_left(model.thresholds, count) for count in (tree.shape[0], tree.together)]
    return (route, attention, model.dtype, *limits)


def _within(small: Shape, large: Shape) -> bool:
    return small[0] <= large[0] and small[1] <= large[1]


def some_of(tree: Tree) -> tuple[Tree, dict[int, int]]:
    """Return a tree of a few sequences of ``tree``, and its wanted nodes with their numbers in ``tree``.

    The first two (labels of one argument), some evenly from there to the last, the longest, and the one that passes the
    last shared node.
    """
    count, far = len(tree.paths), tree.shared[-1]
    picks = {0, min(1, count - 1), *(round(at * (count - 1) / EVENLY) for at in range(EVENLY + 1))}
    picks.add(max(range(count), key=lambda at: len(tree.paths[at])))
    picks.add(next(at for at, path in enumerate(tree.paths) if far in path))
    paths = [tree.paths[at] for at in sorted(picks)]
    sequences = [[tree.tokens[node] for node in path] for path in paths]
    small = grow(sequences, [[at for at, node in enumerate(path) if node in tree.wanted] for path in paths])
    numbers = {
        own: node for mine, path in zip(small.paths, paths, strict=True) for own, node in zip(mine, path, strict=True)
    }
    return small, {own: numbers[own] for own in small.wanted}


def differ(answers: Answers, plain: Answers, numbers: dict[int, int]) -> float:
    """Return the greatest difference of ``answers`` from plain ones, or infinity where one is missing or no number.

    Args:
        answers: of the whole tree; plain: of some of it; numbers: see some_of.
    """
    gaps = [abs(answers.get(node, float("nan")) - plain[own]) for own, node in numbers.items()]
    return max(gaps, default=0.0) if all(gap == gap for gap in gaps) else float("inf")
