"""Argument identification, classification and head match over documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from backbones.core.errors import FrostlineError, nearest, unknown
from benchmarks.passages import Passage
from zeroshot.evaluate.bootstrap import Array, f1, interval, resampled
from zeroshot.evaluate.facts import CRITERIA, Counts, Facts, compare_documents
from zeroshot.evaluate.report import Accuracy, Confusion, Difference, Interval, Mean, Report, Row, Score


def evaluate(gold: Sequence[Passage], predicted: Sequence[Passage], *, bootstrap: int = 1000, seed: int = 0) -> Report:
    """Compare predicted roles with gold ones.

    Documents are matched by ``doc_id``, events by id, else by type and trigger. An argument is a set member: the same
    event, span and role listed twice counts once. Intervals are percentile bootstrap over documents (each passage is
    one, be it a sentence), Efron 1979.

    Args:
        gold: passages with gold roles; predicted: passages with predicted roles (see zeroshot.result.as_passage).
        bootstrap: number of resamples, 0 for no intervals; seed: of the resampling.

    Raises:
        FrostlineError: no gold roles; a doc_id twice, or missing in ``predicted``; no document in common; other text.
    """
    _check(bootstrap)
    pairs, notes = _paired(gold, predicted)
    facts = [compare_documents(wanted, got) for wanted, got in pairs]

    def around(counts: Array, figure: Callable[[Array], Array]) -> Interval | None:
        return interval(_draws(counts, figure, bootstrap, seed))

    scores = {name: _score([fact.criteria[name] for fact in facts], around) for name in CRITERIA}
    if not any(fact.clusters for fact in facts):
        scores |= dict.fromkeys(("coref_identification", "coref_classification"))  # type: ignore[arg-type]
    tables: Counter[tuple[str | None, str | None]] = sum((fact.confusion for fact in facts), Counter())
    return Report(
        documents=len(facts),
        events=sum(len(wanted.events) for wanted, _ in pairs),
        arguments=scores["classification"].gold,
        **scores,
        accuracy=_accuracy(facts, around),
        macro=_macro(facts, around),
        roles=_rows([fact.roles for fact in facts], bootstrap, seed),
        event_types=_rows([fact.types for fact in facts], bootstrap, seed),
        confusion=tuple(
            Confusion(gold=wanted, predicted=got, count=count)
            for (wanted, got), count in sorted(
                tables.items(), key=lambda item: (-item[1], item[0][0] or "", item[0][1] or "")
            )
        ),
        bootstrap=bootstrap,
        seed=seed,
        notes=notes,
    )


def compare(
    gold: Sequence[Passage],
    first: Sequence[Passage],
    second: Sequence[Passage],
    *,
    criterion: str = "classification",
    bootstrap: int = 1000,
    seed: int = 0,
) -> Difference:
    """Compare two predictions of the same documents by paired bootstrap over documents.

    Args:
        gold, first, second: as in ``evaluate``; criterion: whose F1, such as ``"head_classification"``.
        bootstrap, seed: as in ``evaluate``.

    Raises:
        FrostlineError: an unknown criterion, or as ``evaluate``.
    """
    _check(bootstrap)
    if criterion not in CRITERIA:
        raise unknown("criterion", criterion, CRITERIA)
    both = []
    for predicted in (first, second):
        pairs, _ = _paired(gold, predicted)
        both.append([compare_documents(wanted, got).criteria[criterion] for wanted, got in pairs])
    counts = np.asarray(both, dtype=np.float64).transpose(1, 0, 2)  # documents, sides, (right, predicted, gold)
    one, other = (float(value) for value in f1(counts.sum(axis=0)))
    draws = _draws(counts, lambda sums: f1(sums[:, 0]) - f1(sums[:, 1]), bootstrap, seed)
    tail = min(np.sum(draws <= 0), np.sum(draws >= 0))
    p = min(1.0, 2.0 * float(tail + 1) / (len(draws) + 1)) if len(draws) else None
    return Difference(
        criterion=criterion, first=one, second=other, difference=one - other, interval=interval(draws), p=p
    )


def blind(passage: Passage, *, spans: bool = True, types: bool = True) -> Passage:
    """Return a gold passage without its answers, to be predicted.

    Args:
        passage: with gold roles.
        spans: keep entities and which of them are arguments; False: neither, so that candidates are found in the text.
        types: keep entity types and, with them, coreference clusters; False: neither.
    """
    events = [
        event.model_copy(
            update={
                "arguments": tuple(argument.model_copy(update={"role": None}) for argument in event.arguments if spans),
                "candidates": event.candidates if spans else "auto",
            }
        )
        for event in passage.events
    ]
    entities = passage.entities if spans else ()
    if not types:
        entities = tuple(mention.model_copy(update={"type": None, "coref": None}) for mention in entities)
    constraints = passage.constraints if spans else ()
    return passage.model_copy(update={"events": tuple(events), "entities": entities, "constraints": constraints})


def _check(bootstrap: int) -> None:
    if bootstrap < 0:
        raise FrostlineError(f"bootstrap = {bootstrap}: a number of resamples, 0 for no intervals, 1000 as a rule.")


def _paired(
    gold: Sequence[Passage], predicted: Sequence[Passage]
) -> tuple[list[tuple[Passage, Passage]], tuple[str, ...]]:
    """Match documents by name, in the order of their names."""
    wanted, got = _by_name(gold, "gold"), _by_name(predicted, "predictions")
    if not any(argument.role is not None for item in gold for event in item.events for argument in event.arguments):
        raise FrostlineError(
            f"no gold roles: none of the {len(gold)} documents has an argument with a role to compare with; "
            'evaluation needs "role" in events[].arguments[].'
        )
    missing = sorted(set(wanted) - set(got))
    if len(missing) == len(wanted):
        raise FrostlineError(
            f"gold and predictions have no document in common: gold has {_few(wanted)}, predictions have {_few(got)}; "
            "documents are matched by doc_id."
        )
    if missing:
        close = nearest(missing[0], set(got) - set(wanted))
        hint = f" Did you mean {close[0]!r} in the predictions?" if close else ""
        raise FrostlineError(f"predictions lack {len(missing)} of {len(wanted)} gold documents: {_few(missing)}.{hint}")
    extra = sorted(set(got) - set(wanted))
    notes = (f"predictions of {len(extra)} documents that are not in the gold were left out: {_few(extra)}",)
    return [(wanted[name], got[name]) for name in sorted(wanted)], notes if extra else ()


def _by_name(passages: Sequence[Passage], side: str) -> dict[str, Passage]:
    counted = Counter(passage.doc_id for passage in passages)
    twice = [name for name, count in counted.items() if count > 1]
    if twice:
        raise FrostlineError(
            f"{side}: doc_id {twice[0]!r} is given {counted[twice[0]]} times; each document needs its own."
        )
    return {passage.doc_id: passage for passage in passages}


def _few(names: Sequence[str] | dict[str, Passage]) -> str:
    some = sorted(names)
    return ", ".join(map(repr, some[:3])) + (f" and {len(some) - 3} more" if len(some) > 3 else "") or "none"


Around = Callable[[Array, Callable[[Array], Array]], Interval | None]


def _draws(counts: Array, figure: Callable[[Array], Array], times: int, seed: int) -> Array:
    if len(counts) < 2:
        return np.zeros(0)
    return resampled(counts, figure, times=times, seed=seed)


def _score(counts: Sequence[Counts], around: Around) -> Score:
    table = np.asarray(counts, dtype=np.float64).reshape(-1, 3)
    return _figures(table.sum(axis=0), around(table, f1))


def _figures(sums: Array, bounds: Interval | None) -> Score:
    right, predicted, gold = (int(value) for value in sums)
    return Score(
        precision=right / predicted if predicted else 0.0,
        recall=right / gold if gold else 0.0,
        f1=float(f1(sums)),
        correct=right,
        predicted=predicted,
        gold=gold,
        interval=bounds,
    )


def _rows(tables: Sequence[dict[str, Counts]], bootstrap: int, seed: int) -> tuple[Row, ...]:
    names = sorted({name for table in tables for name in table})
    counts = np.asarray([[table.get(name, (0, 0, 0)) for name in names] for table in tables], dtype=np.float64)
    draws = _draws(counts, f1, bootstrap, seed)  # one draw for all rows
    sums = counts.sum(axis=0)
    rows = [
        Row(name=name, score=_figures(sums[at], interval(draws[:, at]) if len(draws) else None))
        for at, name in enumerate(names)
    ]
    return tuple(sorted(rows, key=lambda row: (-row.score.gold, row.name)))


def _accuracy(facts: Sequence[Facts], around: Around) -> Accuracy | None:
    if not all(fact.given for fact in facts):
        return None
    table = np.asarray([(fact.right, fact.pairs) for fact in facts], dtype=np.float64)
    right, total = (int(value) for value in table.sum(axis=0))

    def share(sums: Array) -> Array:
        return np.divide(sums[:, 0], sums[:, 1], out=np.zeros(len(sums)), where=sums[:, 1] > 0)

    return Accuracy(value=right / total, correct=right, total=total, interval=around(table, share))


def _macro(facts: Sequence[Facts], around: Around) -> Mean:
    names = sorted({name for fact in facts for name in fact.roles})
    table = np.asarray([[fact.roles.get(name, (0, 0, 0)) for name in names] for fact in facts], dtype=np.float64)
    right, predicted, gold = table.sum(axis=0).T
    precision = np.divide(right, predicted, out=np.zeros(len(names)), where=predicted > 0)
    recall = np.divide(right, gold, out=np.zeros(len(names)), where=gold > 0)

    def mean(sums: Array) -> Array:
        there = (sums[..., 1] + sums[..., 2]) > 0  # a role that a resample lacks is no part of its mean
        total: Array = f1(sums).sum(axis=-1)
        means: Array = total / np.maximum(1, there.sum(axis=-1))
        return means

    return Mean(
        precision=float(precision.mean()),
        recall=float(recall.mean()),
        f1=float(mean(table.sum(axis=0))),
        interval=around(table, mean),
    )
