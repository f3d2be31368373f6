"""The table of zero-shot event arguments: three public sets, every row from one scoring of each, in one command.

    python -m benchmarks.studies.arguments --data DIR --out DIR

DIR holds ``wikievents_dev.jsonl``, ``crudeoil.json``, ``geneva_val.json`` and ``geneva_ontology.json``. Gold roles are
used for the figures alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.core.artifacts import write_text
from backbones.core.errors import FrostlineError
from benchmarks.passages import read_passages
from zeroshot import compare
from zeroshot.evaluate import Evaluation, NamedReport, blind, evaluate_rows
from zeroshot.predict import Predictor, PredictSettings
from zeroshot.scorers.calibrate import fit_corpus
from zeroshot.scorers.make import make_scorer
from zeroshot.scoring import requests_of


@dataclass(frozen=True)
class Case:
    """One set under one condition.

    Args:
        title: heading; file: in the data folder; ontology: name, or a file in the data folder.
        spans, types: what is given; extent: of found mentions, by the annotation guide of the set.
        ablations: whether rows with fewer rules are added.
    """

    title: str
    file: str
    ontology: str
    spans: bool = True
    types: bool = True
    extent: str = "bare"
    ablations: bool = False


CASES = {
    "wikievents": Case(
        "WikiEvents dev, spans and entity types given", "wikievents_dev.jsonl", "kairos", ablations=True
    ),
    "wikievents-types": Case("WikiEvents dev, spans given", "wikievents_dev.jsonl", "kairos", types=False),
    "wikievents-raw": Case(
        "WikiEvents dev, raw text and triggers", "wikievents_dev.jsonl", "kairos", spans=False, extent="head"
    ),
    "crudeoil": Case("CrudeOilNews, spans and entity types given", "crudeoil.json", "crudeoil", ablations=True),
    "crudeoil-types": Case("CrudeOilNews, spans given", "crudeoil.json", "crudeoil", types=False),
    "geneva": Case("GENEVA val, spans given (it has no entity types)", "geneva_val.json", "geneva_ontology.json"),
}


def evaluated(case: Case, data: Path, scorers: Sequence[str], calibrate: str, cache: Path | None) -> Evaluation:
    """Evaluate all rows of a case; says on standard error how far it is."""
    ontology = case.ontology if not case.ontology.endswith(".json") else str(data / case.ontology)
    settings = PredictSettings(
        candidates="arguments" if case.spans else "auto",
        extent=case.extent,
        margins=False,  # type: ignore[arg-type]
    )
    scorer, name = make_scorer(scorers, calibrate=calibrate, cache=cache)
    predictor = Predictor(scorer, ontology, settings, name=name)
    gold = [predictor.spell(passage)[0] for passage in read_passages(data / case.file)]
    passages = [blind(passage, spans=case.spans, types=case.types) for passage in gold]
    if calibrate == "corpus":
        asked = [request for each in passages for group in requests_of(predictor.lay_out(each)[0]) for request in group]
        fit_corpus(scorer, [request for request in asked if request.label])
    scored = compare.prepare(predictor, passages, _tell)
    rows = compare.rows(predictor, gold, scored, ablations=case.ablations, baselines=True, progress=_tell)
    return evaluate_rows(gold, rows)


def _tell(phase: str, done: int, total: int) -> None:
    if done and (done == total or done % 50 == 0):
        print(f"  {phase}: {done}/{total}", file=sys.stderr)


def page(found: dict[str, Evaluation], words: str) -> Iterator[str]:
    """Yield the lines of the page."""
    yield "# Zero-shot event arguments\n"
    yield (
        "No row but the oracle has seen an annotated role. Intervals are 95 % percentile bootstrap over documents "
        "(sentences where each is one), 1,000 resamples; `diff.` is the difference to the first row. `acc.` is the "
        "share of given arguments with the right role; where spans are not given, F1 of span and role, of spans alone "
        "(`ident.`), and of head words and role (`head`). Made by\n"
    )
    yield f"```sh\n{words}\n```\n"
    for name, evaluation in found.items():
        first = evaluation.rows[0].report
        given = first.accuracy is not None
        yield f"## {CASES[name].title}\n"
        yield f"{first.documents} documents, {first.events} events, {first.arguments} arguments.\n"
        yield "| row | " + ("acc." if given else "F1 | ident. | head") + " | 95 % | diff. |"
        yield "|---|" + "---:|" * (3 if given else 5)
        yield from (_line(row, given) for row in evaluation.rows)
        yield ""
        yield from (f"- {note}" for note in first.notes)
        yield ""


def _line(row: NamedReport, given: bool) -> str:
    report = row.report
    score = report.accuracy if given and report.accuracy is not None else report.classification
    value = report.accuracy.value if given and report.accuracy is not None else report.classification.f1
    open_ = "" if given else f" | {_percent(report.identification.f1)} | {_percent(report.head_classification.f1)}"
    bounds = "" if score.interval is None else " to ".join(map(_percent, score.interval))
    change = "" if row.difference is None else f"{100 * row.difference.difference:+.1f}"
    name = f"{row.name} (oracle: knows the gold)" if row.kind == "oracle" else row.name
    return f"| {name} | {_percent(value)}{open_} | {bounds} | {change} |"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="arguments.md and arguments.json")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--scorer", action="append", help="as of eae-zero; repeatable")
    parser.add_argument("--calibrate", default="none")
    parser.add_argument("--cache", type=Path, help="file that keeps scores")
    args = parser.parse_args()
    scorers = tuple(args.scorer or ("embedding",))
    found: dict[str, Evaluation] = {}
    words = "python -m benchmarks.studies.arguments --data DIR --out DIR"
    words += "".join(f" --scorer '{each}'" for each in args.scorer or ())
    words += "" if args.calibrate == "none" else f" --calibrate {args.calibrate}"
    words += "" if args.cases == ",".join(CASES) else f" --cases {args.cases}"
    try:
        for name in args.cases.split(","):
            print(name, file=sys.stderr)
            found[name] = evaluated(CASES[name], args.data, scorers, args.calibrate, args.cache)
            write_text(args.out / "arguments.md", "\n".join(page(found, words)))
            rows = {key: value.model_dump(mode="json") for key, value in found.items()}
            write_text(args.out / "arguments.json", json.dumps(rows, indent=1) + "\n")
    except (FrostlineError, KeyError) as error:
        sys.exit(f"error: {error}")
    print("\n".join(page(found, words)))


if __name__ == "__main__":
    main()
