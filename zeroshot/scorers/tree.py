"""Token trees: many texts that begin alike, each shared stretch once, so that it is encoded once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Tree:
    """Sequences as a tree of tokens; parents come before their children, node 0 is the root.

    Args:
        tokens: token of each node; parents: index of the parent (-1 for the root); depths: 0 for the root.
        paths: for each sequence its nodes, root first.
        wanted: nodes whose log-probability is asked for.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    depths: tuple[int, ...]
    paths: tuple[tuple[int, ...], ...]
    wanted: frozenset[int]

    @cached_property
    def children(self) -> dict[int, list[int]]:
        """Node -> its wanted children: what must be read off the node's answer."""
        found: dict[int, list[int]] = {}
        for node in sorted(self.wanted):
            found.setdefault(self.parents[node], []).append(node)
        return found

    @cached_property
    def shared(self) -> tuple[int, ...]:
        """The root and every node that at least two sequences pass, parents first."""
        passes = np.zeros(len(self.tokens), dtype=np.int64)
        for path in set(self.paths):
            passes[list(path)] += 1
        passes[0] = 2
        return tuple(int(node) for node in np.flatnonzero(passes >= 2))

    @cached_property
    def tails(self) -> tuple[tuple[int, ...], ...]:
        """What each sequence has for itself alone, in the order of ``paths``; sequences that have nothing are left out.

        A tail begins after a shared node and is a chain.
        """
        shared = set(self.shared)
        alone = (tuple(node for node in path if node not in shared) for path in dict.fromkeys(self.paths))
        return tuple(tail for tail in alone if tail)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """The longest path, and how many shared nodes lie beside the longest shared path: what attention meets."""
        return 1 + max(self.depths), len(self.shared) - 1 - max(self.depths[node] for node in self.shared)

    @cached_property
    def together(self) -> int:
        """Most tokens that one pass over shared nodes and the next over a tail hold between them."""
        return len(self.shared) + max(map(len, self.tails), default=0)

    @cached_property
    def ancestors(self) -> NDArray[np.bool_]:
        """For each shared node the shared nodes that it sees, itself among them: bool, shape (shared, shared)."""
        place = {node: index for index, node in enumerate(self.shared)}
        seen = np.zeros((len(place), len(place)), dtype=np.bool_)
        for index, node in enumerate(self.shared):
            if node:
                seen[index] = seen[place[self.parents[node]]]
            seen[index, index] = True
        return seen


def grow(sequences: Sequence[Sequence[int]], wanted: Sequence[Iterable[int]]) -> Tree:
    """Return the tree of sequences that all begin with the same token.

    Args:
        sequences: token ids, each at least one.
        wanted: for each sequence the positions (1 or more) whose log-probabilities are asked for.
    """
    tokens, parents, depths = [sequences[0][0]], [-1], [0]
    table: dict[tuple[int, int], int] = {}
    paths: list[tuple[int, ...]] = []
    asked: set[int] = set()
    for sequence, places in zip(sequences, wanted, strict=True):
        path = [0]
        for token in sequence[1:]:
            key = (path[-1], token)
            node = table.get(key)
            if node is None:
                node = table[key] = len(tokens)
                tokens.append(token)
                parents.append(path[-1])
                depths.append(len(path))
            path.append(node)
        paths.append(tuple(path))
        asked.update(path[place] for place in places)
    return Tree(tuple(tokens), tuple(parents), tuple(depths), tuple(paths), frozenset(asked))
