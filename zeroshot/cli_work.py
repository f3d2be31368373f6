"""What the commands of ``eae-zero`` do between reading and showing: generators over passages."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from backbones.core.errors import FrostlineError
from backbones.core.reading import parse_json, read_text

if TYPE_CHECKING:
    from benchmarks.passages import Passage
    from zeroshot.cli_options import Options
    from zeroshot.cli_view import Screen
    from zeroshot.evaluate import Evaluation
    from zeroshot.predict import Predictor, Prepared
    from zeroshot.result import Result

DOCUMENTS = "documents"
WORDS = 300  # characters of a foreign error that are said
Given = TypeVar("Given")
Made = TypeVar("Made")


def paths_of(inputs: Sequence[Path]) -> list[Path]:
    """Return the files that the words mean: the name of a sample stands for its file unless such a file exists."""
    from zeroshot.samples import samples

    known = samples()
    return [known[str(path)] if str(path) in known and not path.exists() else path for path in inputs]


def check_there(inputs: Sequence[Path], options: Options) -> None:
    """Refuse options that are wrong and inputs that are not there, before anything heavy is imported.

    Raises:
        FrostlineError: see ``Options.check`` and ``read_passages``.
    """
    from benchmarks.passages import read_passages

    options.check()
    for path in paths_of(inputs):
        if options.on_error == "stop" and str(path) != "-" and not os.path.lexists(path):
            next(read_passages(path), None)  # says so, with the names that are nearest


def passages(inputs: Sequence[Path], options: Options, screen: Screen) -> Iterator[Passage]:
    """Read passages lazily; what is mended or skipped is said.

    Args:
        inputs: files, folders, ``-`` or names of samples.
        options: trigger and type of raw text, what a bad document does.
        screen: told of both.
    """
    from benchmarks.passages import read_passages

    return read_passages(
        list(paths_of(inputs)),
        trigger=options.trigger,
        event_type=options.type,
        language=options.language,
        on_error=options.on_error,  # type: ignore[arg-type]  # checked by the reader
        skipped=lambda error: screen.say(f"skipped: {error}"),
        note=lambda words: screen.say(f"note: {words}"),
    )


def each(items: Iterable[Given], work: Callable[[Given], Made], options: Options, screen: Screen) -> Iterator[Made]:
    """Yield ``work(item)``; where ``--on-error skip`` is given, an item that cannot be worked on is said and left."""
    for number, item in enumerate(items):
        try:
            try:
                screen.progress(DOCUMENTS, number, -1)
                made = work(item)
            except FrostlineError:
                raise
            except Exception as error:  # whatever the content of a document can cause, it ends that document alone
                name = getattr(item, "doc_id", None)
                words = f"{type(error).__name__}: {error}"
                raise FrostlineError(f"document {name!r} cannot be worked on: {words[:WORDS]}.") from error
        except FrostlineError as error:
            if options.on_error != "skip":
                raise
            screen.say(f"skipped: {error}")
        else:
            yield made
    screen.progress(DOCUMENTS, 0, 0)


def predictor(inputs: Sequence[Path], options: Options, screen: Screen) -> tuple[Predictor, Iterable[Passage]]:
    """Return what predicts and what it is to predict; a calibration on the corpus reads all of it first."""
    from zeroshot.predict import Predictor

    settings = options.predict_settings()
    scorer, name = options.make_scorer()
    made = Predictor(scorer, options.ontology, settings, name=name)
    found = passages(inputs, options, screen)
    if options.calibrate != "corpus":
        return made, found
    from zeroshot.scorers.calibrate import fit_corpus
    from zeroshot.scoring import requests_of

    laid = list(each(found, lambda passage: (passage, made.lay_out(passage)[0]), options, screen))
    asked = [request for _, problem in laid for group in requests_of(problem) for request in group]
    fit_corpus(scorer, [request for request in asked if request.label], screen.progress)
    return made, [passage for passage, _ in laid]


def predictions(inputs: Sequence[Path], options: Options, screen: Screen, kept: Sequence[Any] = ()) -> Iterator[Result]:
    """Predict passages one by one, but for those whose results are ``kept`` from an earlier call.

    Raises:
        FrostlineError: as reading and predicting do; results that another scorer gave.
    """
    from zeroshot.cli_output import remaining

    made, found = predictor(inputs, options, screen)
    for row in kept:
        if not isinstance(row, dict) or row.get("scorer") != made.name:
            other = row.get("scorer") if isinstance(row, dict) else None
            raise FrostlineError(
                f"--resume: the results that are there come from the scorer {other!r}, but now it is {made.name!r}; go "
                "on with the same options, or name another file."
            )
    yield from each(remaining(found, kept), lambda passage: made.predict(passage, screen.progress), options, screen)


def results_of(inputs: Sequence[Path], options: Options, screen: Screen) -> Iterator[Result]:
    """Yield the results in files that ``predict --out`` wrote, and predictions of all other inputs."""
    for path in inputs:
        held = saved_results(path, options, screen)
        yield from held if held is not None else predictions([path], options, screen)


def saved_results(path: Path, options: Options, screen: Screen) -> Iterator[Result] | None:
    """Return the results in a file of ``predict --out``, None if it holds something else."""
    from zeroshot.result import Result

    if path.suffix not in (".json", ".jsonl") or not path.is_file():
        return None
    try:
        text = read_text(path)
        held = (
            [_line(line) for line in text.split("\n") if line.strip()] if path.suffix == ".jsonl" else parse_json(text)
        )
    except (ValueError, RecursionError):
        return None  # the reader of passages says what is wrong with it
    rows = held if isinstance(held, list) else [held]
    if not any(isinstance(row, dict) and "solver" in row for row in rows):
        return None
    numbered = enumerate(rows, start=1)
    return each(numbered, lambda row: Result.parse(row[1], f"{path}, result {row[0]}"), options, screen)


def _line(text: str) -> Any:
    try:
        return parse_json(text)
    except (ValueError, RecursionError):
        return None  # said when it is parsed as a result


def explanations(
    inputs: Sequence[Path],
    options: Options,
    screen: Screen,
    *,
    event: str | None = None,
    entity: str | None = None,
    changed: bool = False,
) -> Iterator[list[str]]:
    """Yield the lines that explain each document.

    Args:
        event, entity: only pairs with these ids; changed: only pairs whose role a rule changed.

    Raises:
        FrostlineError: no document has such a pair.
    """
    from zeroshot.explain import summary

    made, found = predictor(inputs, options, screen)
    told = 0

    def explain(passage: Passage) -> list[str]:
        prepared = made.prepare(passage, screen.progress)
        decoding = made.decode(prepared)
        chosen = [
            each
            for each in made.explain(prepared, decoding)
            if event in (None, each.event) and entity in (None, each.entity) and not (changed and not each.causes)
        ]
        lines = [f"{passage.doc_id}"] if chosen else []
        for one in chosen:
            lines += [f"  {one.event}, {one.entity}:", *(f"    {line}" for line in summary(one).splitlines())]
        return lines + [f"  note: {note}" for note in prepared.notes if chosen]

    for lines in each(found, explain, options, screen):
        told += bool(lines)
        if lines:
            yield lines
    if not told and (event or entity):
        wanted = " and ".join(f"{kind} {name!r}" for kind, name in (("event", event), ("entity", entity)) if name)
        raise FrostlineError(f"no document has a pair with {wanted}; `eae-zero predict --json` shows all ids.")


def evaluation(
    inputs: Sequence[Path],
    options: Options,
    screen: Screen,
    *,
    spans: bool,
    types: bool,
    ablate: bool,
    baselines: bool,
    predicted: Path | None,
    bootstrap: int,
    seed: int,
) -> Evaluation:
    """Return the rows of an evaluation.

    Args:
        inputs: gold passages.
        spans: whether the gold spans are given; False finds candidates in the text.
        types: whether entity types are given.
        ablate, baselines: rows to add.
        predicted: results to score instead of predicting.
        bootstrap: resamples for the intervals; seed: of all that is drawn.

    Raises:
        FrostlineError: as reading and predicting do; ``predicted`` holds no results; rows that need predictions.
    """
    from zeroshot import compare
    from zeroshot.evaluate import blind, evaluate_rows
    from zeroshot.result import as_passage

    if predicted is not None:
        if ablate or baselines:
            raise FrostlineError("--predicted scores what is saved; --ablate and --baselines predict: leave one out.")
        held = saved_results(predicted, options, screen)
        if held is None:
            raise FrostlineError(f"{predicted} holds no results; write some with `eae-zero predict --out`.")
        made = [as_passage(result) for result in held]
        gold = list(passages(inputs, options, screen))
        if options.on_error == "skip":
            got = {passage.doc_id: passage for passage in made}
            gold = list(each(gold, once(lambda passage: _comparable(passage, got)), options, screen))
        return evaluate_rows(gold, [(predicted.name, "predicted", made)], bootstrap=bootstrap, seed=seed)
    if options.candidates is None:
        options = replace(options, candidates="arguments" if spans else "auto")
    model, found = predictor(inputs, options, screen)
    spelled = list(each(found, once(lambda passage: model.spell(passage)[0]), options, screen))
    if not spelled:
        raise FrostlineError("there is no document to evaluate: name files with gold roles.")
    done = 0

    def scored(passage: Passage) -> tuple[Passage, Prepared]:
        nonlocal done
        screen.progress("scoring documents", done, len(spelled))
        done += 1
        return passage, model.prepare(blind(passage, spans=spans, types=types))

    ready = list(each(spelled, scored, options, screen))
    screen.progress("scoring documents", len(spelled), len(spelled))
    documents, prepared = [passage for passage, _ in ready], [each for _, each in ready]
    made_rows = compare.rows(
        model, documents, prepared, ablations=ablate, baselines=baselines, seed=seed, progress=screen.progress
    )
    return evaluate_rows(documents, made_rows, bootstrap=bootstrap, seed=seed)


def once(work: Callable[[Passage], Made]) -> Callable[[Passage], Made]:
    """Return ``work`` for documents that each bear a name of their own."""
    seen: set[str] = set()

    def checked(passage: Passage) -> Made:
        if passage.doc_id in seen:
            raise FrostlineError(f"gold: doc_id {passage.doc_id!r} is given again; each document needs its own.")
        seen.add(passage.doc_id)
        return work(passage)

    return checked


def _comparable(passage: Passage, got: Mapping[str, Passage]) -> Passage:
    """Return a gold passage that can be compared with its prediction."""
    from zeroshot.evaluate.facts import compare_documents

    if passage.doc_id not in got:
        raise FrostlineError(f"predictions lack the gold document {passage.doc_id!r}.")
    compare_documents(passage, got[passage.doc_id])
    return passage
