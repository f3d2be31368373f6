"""Acquiring relation pairs from running text by patterns: no labels, no tagger, one pass."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pydantic import Field

from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.core.settings import Settings
from backbones.lifecycle.infuse.grammar import Grammar, Pattern
from backbones.lifecycle.infuse.pairs import Pair
from backbones.lifecycle.infuse.phrases import BLOCK, Nouns, Phrases
from backbones.training.loop import Say, duration, mute

Key = tuple[str, str, str]  # head, relation, tail, folded


class Filters(Settings):
    """What an acquired pair must have.

    Args:
        min_count: sentences in which it was found.
        min_cues: different cues by which it was found.
        min_pmi: pointwise mutual information of head and tail over all that was found, in nats: pairs whose parts are
            found everywhere have little of it.
        most: pairs a relation; those found by more cues and in more sentences are kept, then the rarer heads.
        longest: characters of an example; longer sentences are not searched.
        min_noun: times a word must stand as a noun in the corpus to count as one.
    """

    min_count: int = Field(default=1, ge=1)
    min_cues: int = Field(default=1, ge=1)
    min_pmi: float = 0.0
    most: int = Field(default=2000, ge=1)
    longest: int = Field(default=300, ge=20)
    min_noun: int = Field(default=2, ge=1)


@dataclass
class Acquired:
    """Pairs, by relation and then by how often they were found, and what was left out.

    Attributes:
        pairs: what passed the filters.
        sentences: searched.
        found: mentions of pairs, before any filter.
        left_out: why -> different pairs.
    """

    pairs: list[Pair]
    sentences: int
    found: int
    left_out: dict[str, int] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Return relation -> pairs."""
        return dict(sorted(Counter(pair.relation for pair in self.pairs).items()))


@dataclass
class _Seen:
    head: str
    tail: str
    cues: Counter[str] = field(default_factory=Counter)
    example: str = ""
    cue: str = ""

    @property
    def count(self) -> int:
        return sum(self.cues.values())


def acquire(
    documents: Sequence[Sequence[str]],
    grammar: Grammar,
    filters: Filters | None = None,
    *,
    progress: Progress = silent,
    say: Say = mute,
) -> Acquired:
    """Find relation pairs in a corpus.

    Args:
        documents: sentences of each document.
        grammar: patterns and words.
        filters: what pairs must have.
        progress: told of the sentences read.
        say: told the estimate.

    Raises:
        FrostlineError: no sentence, or no pair that passes the filters.
    """
    filters = filters or Filters()
    short = (each for document in documents for each in document if len(each) <= filters.longest)
    sentences = [each.replace("\n", " ") for each in short]
    if not sentences:
        raise FrostlineError(
            f"there is no sentence of {filters.longest} characters or less in {len(documents)} documents; pass running "
            "text, or a greater longest."
        )
    nouns = Nouns(sentences, grammar.words, least=filters.min_noun, listing=grammar.listing, progress=progress)
    phrases = Phrases(nouns, grammar.words)
    seen = _search(sentences, grammar, phrases, progress, say)
    found = sum(each.count for each in seen.values())
    kept, left_out = _filtered(seen, filters)
    if not kept:
        raise FrostlineError(_nothing(sentences, len(seen), left_out, grammar, filters))
    pairs = [
        Pair(
            head=each.head,
            relation=key[1],
            tail=each.tail,
            example=each.example,
            count=each.count,
            cue=each.cue,
            cues=len(each.cues),
        )
        for key, each in kept
    ]
    return Acquired(pairs, len(sentences), found, left_out)


def matches(text: str, grammar: Grammar, phrases: Phrases) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield (head, relation, tail, cue, sentence) of every match; ``text`` has one sentence a line."""
    for literal, cue, pattern in grammar.places:
        at = text.find(literal)
        while at >= 0:
            end = at + len(literal)
            # A line's first word and a sign behind another sign are no noun phrase.
            if at and (text[at - 1].isalnum() or text[at - 1] in ".)"):
                start, stop = text.rfind("\n", 0, at) + 1, text.find("\n", end)
                stop = len(text) if stop < 0 else stop
                for left, right in _sides(text[start:at], text[end:stop], pattern, phrases):
                    head, tail = (left, right) if pattern.left == "head" else (right, left)
                    if head.casefold() != tail.casefold():
                        yield head, pattern.relation, tail, cue, text[start:stop]
            at = text.find(literal, end)


def _sides(left: str, right: str, pattern: Pattern, phrases: Phrases) -> Iterator[tuple[str, str]]:
    if pattern.names in ("right", "both") and not right[:1].isupper():
        return
    before = phrases.before(left, pattern.opening)
    if before is None or (pattern.names in ("left", "both") and not before[0].isupper()):
        return
    if pattern.lists == "right":
        for each in phrases.listed(right):
            yield before, each
        return
    after = phrases.after(right)
    if after is None or (pattern.closing and not right[after[1] :].startswith(pattern.closing)):
        return
    yield before, after[0]


def _search(
    sentences: Sequence[str], grammar: Grammar, phrases: Phrases, progress: Progress, say: Say
) -> dict[Key, _Seen]:
    seen: dict[Key, _Seen] = {}
    began = time.monotonic()
    for start in range(0, len(sentences), BLOCK):
        # Sentences that stand in a corpus several times, such as headings, say a thing once.
        text = "\n".join(dict.fromkeys(sentences[start : start + BLOCK]))
        for head, relation, tail, cue, sentence in matches(text, grammar, phrases):
            each = seen.setdefault((head.casefold(), relation, tail.casefold()), _Seen(head, tail))
            each.cues[cue] += 1
            if not each.example or len(sentence) < len(each.example):
                each.example, each.cue = sentence, cue
        if start == 0 and len(sentences) > BLOCK:
            left = (time.monotonic() - began) * (len(sentences) / BLOCK - 1)
            say(f"patterns: {len(sentences):,} sentences, about {duration(left)}")
        progress("patterns", min(start + BLOCK, len(sentences)), len(sentences))
    return seen


def _filtered(seen: dict[Key, _Seen], filters: Filters) -> tuple[list[tuple[Key, _Seen]], dict[str, int]]:
    """Return what passes, by relation and then by what speaks for it, and how much fell to each filter."""
    pmi = _pmi(seen)
    strongest: dict[tuple[str, str], tuple[int, int, str]] = {}
    for (head, relation, tail), each in seen.items():
        rank = (len(each.cues), each.count, relation)
        strongest[head, tail] = max(strongest.get((head, tail), rank), rank)
    left_out: Counter[str] = Counter()
    passed: dict[str, list[tuple[Key, _Seen]]] = {}
    for key, each in seen.items():
        head, relation, tail = key
        if strongest[head, tail][2] != relation:
            left_out["found more often in another relation"] += 1
        elif each.count < filters.min_count:
            left_out["min_count"] += 1
        elif len(each.cues) < filters.min_cues:
            left_out["min_cues"] += 1
        elif pmi[key] < filters.min_pmi:
            left_out["min_pmi"] += 1
        else:
            passed.setdefault(relation, []).append((key, each))
    heads = Counter(head for head, _, _ in seen)
    kept = []
    for relation in sorted(passed):
        ranked = sorted(passed[relation], key=lambda e: (-len(e[1].cues), -e[1].count, heads[e[0][0]], e[0]))
        kept += ranked[: filters.most]
        left_out["most"] += len(ranked) - len(ranked[: filters.most])
    return kept, {why: count for why, count in left_out.items() if count}


def _pmi(seen: dict[Key, _Seen]) -> dict[Key, float]:
    heads: Counter[str] = Counter()
    tails: Counter[str] = Counter()
    for (head, _, tail), each in seen.items():
        heads[head] += each.count
        tails[tail] += each.count
    total = sum(heads.values())
    return {key: math.log(each.count * total / (heads[key[0]] * tails[key[2]])) for key, each in seen.items()}


def _nothing(sentences: Sequence[str], found: int, left_out: dict[str, int], grammar: Grammar, filters: Filters) -> str:
    where = f"{len(sentences)} sentences"
    if found:
        why = ", ".join(f"{name} ({count})" for name, count in left_out.items())
        return f"{found} pairs were found in {where} but none passes the filters: {why}; loosen them."
    said = [cue for literal, cue, _ in grammar.places if any(literal in each for each in sentences)]
    if said:
        return (
            f"{', '.join(map(repr, said[:4]))} stands in the {where}, but between words that are not known as nouns: a "
            f"noun is a name, or a word that the corpus has {filters.min_noun} times behind a determiner such as 'the' "
            "and before a comma, say. Pass more text, or a smaller --min-noun."
        )
    cues = ", ".join(repr(cue) for _, cue, _ in grammar.places[:4])
    return (
        f"no pattern matches any of the {where} ({len(grammar.places)} cues, such as {cues}). Pass more "
        "text, or patterns for its language and domain with --patterns FILE."
    )
