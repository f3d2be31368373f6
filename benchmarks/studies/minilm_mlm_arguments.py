"""What a masked language model adds to the embedding scorer: chosen on GENEVA val, judged on two other sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbones.core.samples import Progress
from backbones.core.seed import numpy_generator
from benchmarks.passages import Passage, read_passages
from benchmarks.studies.arguments import CASES, Case
from zeroshot import compare
from zeroshot.evaluate import Evaluation, NamedReport, blind, evaluate_rows
from zeroshot.predict import Predictor, PredictSettings
from zeroshot.scorers.base import Scorer
from zeroshot.scorers.cache import Cached
from zeroshot.scorers.ensemble import Ensemble
from zeroshot.scorers.make import make_scorer

LM = "minilm-mlm"
PUBLISHED = "expressed"
TEMPLATES = (
    PUBLISHED,
    "{passage} The {role} of the {type} is {span}.",
    "{passage} In this {type} {span} is the {role}.",
)
WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5)
TUNED_ON = 60  # sentences of GENEVA val
JUDGED = ("wikievents", "crudeoil")


@dataclass(frozen=True)
class Found:
    """The study's figures; shares, not percent.

    Args:
        embedding: accuracy of the embedding scorer on the tuning sample; sentences, arguments: of that sample.
        alone: template -> accuracy of the masked scorer there; together: (template, weight, accuracy) of ensembles.
        template, weight: the best of those.
        sets: case -> row -> figures.
    """

    sentences: int
    arguments: int
    embedding: float
    alone: dict[str, float]
    together: list[tuple[str, float, float]]
    template: str
    weight: float
    sets: dict[str, dict[str, Any]]


def study(data: Path, cache: Path, progress: Progress) -> Found:
    """Choose template and weight on a seeded sample of GENEVA val, then compare on the sets of ``JUDGED``.

    Scores are kept in ``cache``, so that a study that is stopped goes on.
    """
    embedding: Scorer = Cached(make_scorer(["embedding"])[0], cache)
    masked: dict[str, Scorer] = {each: Cached(_masked(each), cache) for each in TEMPLATES}
    case = CASES["geneva"]
    gold = list(read_passages(data / case.file))
    chosen = sorted(numpy_generator(0, "tuning").permutation(len(gold))[:TUNED_ON])
    gold = [gold[row] for row in chosen]
    plain = _judge(case, data, gold, {"embedding": embedding}, progress).rows[0].report
    alone: dict[str, float] = {}
    together: list[tuple[str, float, float]] = []
    for template, scorer in masked.items():
        rows: dict[str, Scorer] = {"alone": scorer}
        rows |= {str(weight): Ensemble([(embedding, 1.0), (scorer, weight)]) for weight in WEIGHTS}
        found = [_share(row) for row in _judge(case, data, gold, rows, progress).rows]
        alone[template] = found[0]
        together.extend((template, weight, value) for weight, value in zip(WEIGHTS, found[1:], strict=True))
    template, weight, _ = max(together, key=lambda each: each[2])
    rows = {
        "embedding (the default)": embedding,
        "masked, published prompt": masked[PUBLISHED],
        "masked, chosen prompt": masked[template],
        f"embedding + {weight:g} x masked": Ensemble([(embedding, 1.0), (masked[template], weight)]),
    }
    sets = {name: _figures(CASES[name], data, rows, progress) for name in JUDGED}
    total = plain.arguments
    share = plain.accuracy.value if plain.accuracy else 0.0
    return Found(len(gold), total, share, alone, together, template, weight, sets)


def _masked(template: str) -> Scorer:
    from zeroshot.scorers.masked import Masked

    return Masked(lm=LM, template=template, batch_tokens=4096)


def _figures(case: Case, data: Path, scorers: Mapping[str, Scorer], progress: Progress) -> dict[str, Any]:
    evaluation = _judge(case, data, list(read_passages(data / case.file)), scorers, progress)
    first = evaluation.rows[0].report
    return {
        "title": case.title,
        "documents": first.documents,
        "arguments": first.arguments,
        "measure": "accuracy" if case.spans else "F1",
        "rows": {row.name: _row(row) for row in evaluation.rows},
    }


def _judge(
    case: Case, data: Path, passages: Sequence[Passage], scorers: Mapping[str, Scorer], progress: Progress
) -> Evaluation:
    """Evaluate scorers on the same passages, each under all constraints."""
    ontology = case.ontology if not case.ontology.endswith(".json") else str(data / case.ontology)
    settings = PredictSettings.parse(
        {"candidates": "arguments" if case.spans else "auto", "extent": case.extent, "margins": False}, case.title
    )
    spelled: list[Passage] = []

    def rows() -> Iterator[tuple[str, Any, Sequence[Passage]]]:
        for name, scorer in scorers.items():
            predictor = Predictor(scorer, ontology, settings, name=name)
            spelled[:] = [predictor.spell(passage)[0] for passage in passages]
            blinded = [blind(passage, spans=case.spans, types=case.types) for passage in spelled]
            scored = compare.prepare(predictor, blinded, progress)
            _, kind, predicted = next(iter(compare.rows(predictor, spelled, scored, progress=progress)))
            yield name, kind, predicted

    made = list(rows())
    return evaluate_rows(spelled, made)


def _share(row: NamedReport) -> float:
    report = row.report
    return report.accuracy.value if report.accuracy is not None else report.classification.f1


def _row(row: NamedReport) -> dict[str, Any]:
    report, change = row.report, row.difference
    score = report.accuracy if report.accuracy is not None else report.classification
    return {
        "value": _share(row),
        "interval": score.interval,
        "difference": None if change is None else change.difference,
        "difference interval": None if change is None else change.interval,
    }


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the page."""
    yield "## For eae-zero\n"
    yield (
        f"Prompt and weight were chosen on {found['sentences']} seeded sentences of GENEVA val ({found['arguments']} "
        "arguments, spans given), on no document of the sets below. (The embedding scorer's own settings were chosen "
        "earlier on parts of GENEVA val, PHEE dev and CrudeOil.) Scores are taken as they are (no calibration), mode "
        "`paper`. Accuracy on that sample, in percent, alone and with the embedding scorer, whose weight is 1:\n"
    )
    yield "| prompt | alone | " + " | ".join(f"x {weight:g}" for weight in WEIGHTS) + " |"
    yield "|---|" + "---:|" * (1 + len(WEIGHTS))
    for template, alone in found["alone"].items():
        values = [_percent(value) for name, _, value in found["together"] if name == template]
        yield f"| `{template}` | {_percent(alone)} | {' | '.join(values)} |"
    yield (
        f"| embedding scorer alone | {_percent(found['embedding'])} |{' |' * len(WEIGHTS)}\n\n"
        f"Chosen: `{found['template']}` with weight {found['weight']:g}.\n"
    )
    for one in found["sets"].values():
        yield f"### {one['title']}\n"
        yield f"{one['documents']} documents, {one['arguments']} arguments, all constraints.\n"
        yield f"| scorer | {one['measure']} | 95 % | difference | 95 % |\n|---|---:|---:|---:|---:|"
        for name, row in one["rows"].items():
            change = "" if row["difference"] is None else f"{100 * row['difference']:+.1f}"
            bounds = _bounds(row["interval"], "{:.1f}"), _bounds(row["difference interval"], "{:+.1f}")
            yield f"| {name} | {_percent(row['value'])} | {bounds[0]} | {change} | {bounds[1]} |"
        yield ""
    gains = [list(one["rows"].values())[-1]["difference"] for one in found["sets"].values()]
    if all(gain > 0 for gain in gains):
        yield "The ensemble helps on every set.\n"
    else:
        yield (
            "The ensemble does not help on every set, so the default of eae-zero stays the embedding scorer alone. The "
            "weight was chosen on the sample above and not changed after these sets were seen.\n"
        )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _bounds(interval: Sequence[float] | None, form: str) -> str:
    return "" if interval is None else " to ".join(form.format(100 * end) for end in interval)
