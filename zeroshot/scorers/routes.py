"""Three ways to score a token tree under a causal model, fastest first; every one gives the same numbers.

``packed``: all shared stretches of a tree in one pass (each token sees its ancestors alone: a 4-D mask, positions by
depth), then all tails on its cache. ``tails``: for each branching point its stem in one pass, then the tails on its
cache, with masks and positions that every model with a cache takes. ``whole``: every text from its beginning.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from backbones.lm import LanguageModel
from zeroshot.scorers.forward import batches, filler, logprobs, pad
from zeroshot.scorers.tree import Tree

Answers = dict[int, float]
"""Node -> log-probability of its token after its ancestors, in nats."""
Route = Callable[[LanguageModel, Tree, int], Iterator[Answers]]


def packed(model: LanguageModel, tree: Tree, budget: int) -> Iterator[Answers]:
    """Yield answers; the model must take a 4-D mask, position ids and a cache, and attend to all that it is shown."""
    shared, tails = tree.shared, tree.tails
    if tree.together > min(model.thresholds, default=tree.together):
        raise ValueError(f"{tree.together} tokens together, and its attention is limited to {model.thresholds[0]}")
    seen = torch.from_numpy(tree.ancestors).to(model.device)
    cells = [(node, 0, at) for at, node in enumerate(shared)]
    inputs = {"attention_mask": _additive(seen, model)[None, None], **_tokens(model, tree, [shared])}
    answers, cache = _read(model, tree, cells, use_cache=bool(tails), **inputs)
    yield answers
    place = {node: index for index, node in enumerate(shared)}
    for batch in batches([len(tail) for tail in tails], budget):
        chains = [tails[index] for index in batch]
        longest = max(map(len, chains))
        causal = torch.ones(longest, longest, dtype=torch.bool, device=model.device).tril()
        stems = seen[[place[tree.parents[chain[0]]] for chain in chains]]
        past = stems[:, None].expand(-1, longest, -1)
        mask = torch.cat([past, causal[None].expand(len(chains), -1, -1)], dim=-1)
        # Fillers come last, so that no token sees them; what they answer is not read.
        inputs = {"attention_mask": _additive(mask, model)[:, None], **_tokens(model, tree, chains)}
        cells = [(node, row, at) for row, chain in enumerate(chains) for at, node in enumerate(chain)]
        yield _read(model, tree, cells, cache=_repeat(cache, len(chains)), **inputs)[0]


def by_tails(model: LanguageModel, tree: Tree, budget: int) -> Iterator[Answers]:
    """Yield answers; the model must have a cache."""
    stems: dict[int, list[tuple[int, ...]]] = {}
    for tail in tree.tails:
        stems.setdefault(tree.parents[tail[0]], []).append(tail)
    for path in tree.paths:  # sequences that are the beginning of others have no tail
        if path[-1] in set(tree.shared):
            stems.setdefault(path[-1], [])
    for end, tails in stems.items():
        stem = _chain(tree, end)
        ids = torch.tensor([[tree.tokens[node] for node in stem]], device=model.device)
        cells = [(node, 0, at) for at, node in enumerate(stem)]
        ones = torch.ones_like(ids)
        answers, cache = _read(model, tree, cells, input_ids=ids, attention_mask=ones, use_cache=bool(tails))
        yield answers
        for batch in batches([len(tail) for tail in tails], budget):
            chains = [tails[index] for index in batch]
            ids, mask = pad([[tree.tokens[node] for node in chain] for chain in chains], filler(model), model.device)
            mask = torch.cat([ones.expand(len(chains), -1), mask], dim=-1)
            cells = [(node, row, at) for row, chain in enumerate(chains) for at, node in enumerate(chain)]
            past = _repeat(cache, len(chains))
            yield _read(model, tree, cells, input_ids=ids, attention_mask=mask, cache=past)[0]


def whole(model: LanguageModel, tree: Tree, budget: int) -> Iterator[Answers]:
    """Yield answers; any causal model will do."""
    paths = tuple(dict.fromkeys(tree.paths))
    for batch in batches([len(path) for path in paths], budget):
        chains = [paths[index] for index in batch]
        ids, mask = pad([[tree.tokens[node] for node in chain] for chain in chains], filler(model), model.device)
        cells = [(node, row, at) for row, chain in enumerate(chains) for at, node in enumerate(chain)]
        yield _read(model, tree, cells, input_ids=ids, attention_mask=mask, use_cache=False)[0]


CACHES = ("cache", "past_key_values")  # transformers calls it the first from 5.24 on, and drops the second in 5.40
ROUTES: dict[str, Route] = {"packed": packed, "tails": by_tails, "whole": whole}


def _read(
    model: LanguageModel, tree: Tree, cells: Sequence[tuple[int, int, int]], *, cache: Any = None, **inputs: Any
) -> tuple[Answers, Any]:
    """Run the model and read the wanted children of nodes that lie at ``cells`` (node, row, column)."""
    first = {node: (row, column) for node, row, column in reversed(cells)}
    parents = [node for node in first if node in tree.children]
    # One position at least, so that a pass that only fills the cache takes the same way.
    places = [first[node] for node in parents] or [cells[0][1:]]
    pairs = [(row, child) for row, node in enumerate(parents) for child in tree.children[node]]
    if cache is not None:
        inputs[_cache_word(model)] = cache
    values, output = logprobs(model, places, [(row, tree.tokens[child]) for row, child in pairs], **inputs)
    found = {child: value for (_, child), value in zip(pairs, values, strict=True)}
    return found, next((output[word] for word in CACHES if word in output), None)


def _cache_word(model: LanguageModel) -> str:
    """Return what the model calls its cache; a model that does not say is told in the old word."""
    known = inspect.signature(model.module.forward).parameters
    return next((word for word in CACHES if word in known), CACHES[-1])


def _tokens(model: LanguageModel, tree: Tree, chains: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Return ids and positions of chains of nodes, padded on the right: int64, shape (n, longest)."""
    ids, _ = pad([[tree.tokens[node] for node in chain] for chain in chains], filler(model), model.device)
    positions, _ = pad([[tree.depths[node] for node in chain] for chain in chains], 0, model.device)
    return {"input_ids": ids, "position_ids": positions}


def _additive(seen: Tensor, model: LanguageModel) -> Tensor:
    """Return 0 where ``seen`` is true and the least number elsewhere: the form that every attention takes."""
    return torch.zeros(seen.shape, dtype=model.dtype, device=seen.device).masked_fill(
        ~seen, torch.finfo(model.dtype).min
    )


def _repeat(cache: Any, count: int) -> Any:
    """Return a copy of a cache of one row for ``count`` rows."""
    own = copy.deepcopy(cache)
    own.batch_repeat_interleave(count)
    return own


def _chain(tree: Tree, node: int) -> list[int]:
    found = [node]
    while tree.parents[found[-1]] >= 0:
        found.append(tree.parents[found[-1]])
    return found[::-1]
