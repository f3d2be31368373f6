"""``eae-zero``: roles of event arguments from the command line, without any annotation."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backbones.cli_shell import Version, make_app, run
from backbones.core.errors import FrostlineError, unknown
from backbones.core.registry import Registry
from zeroshot.cli_options import Options, option, with_options

if TYPE_CHECKING:
    from benchmarks.passages import Passage

app = make_app()

LISTS = {  # word -> where its registry is; imported when it is asked for
    "scorers": ("zeroshot.scorers", "SCORERS"),
    "constraints": ("zeroshot.constraints", "CONSTRAINTS"),
    "ontologies": ("benchmarks.ontologies", "ONTOLOGIES"),
    "formats": ("benchmarks.passages", "FORMATS"),
    "imports": ("benchmarks.passages", "IMPORTS"),
}
Inputs = Annotated[
    list[Path], typer.Argument(help="passages: files, folders, - for standard input, or the name of a sample")
]
Out = Annotated[Path | None, typer.Option("--out", help="write JSON here (.json, or .jsonl: a document a line)")]
Force = Annotated[bool, typer.Option("--force", help="write over a file that this program did not write")]
Json = Annotated[bool, typer.Option("--json", help="print JSON lines instead of tables")]


@app.callback(invoke_without_command=True)
def top(
    list_: Annotated[str | None, option(f"list {', '.join(LISTS)}", "Options", "--list")] = None,
    version: Version = False,
) -> None:
    """Say which role each argument of an event has, with a frozen language model and global constraints."""
    if list_ is not None:
        from zeroshot.cli_view import show_registry

        show_registry(list_, registry(list_))
        raise typer.Exit


def registry(what: str) -> Registry:
    """Return the registry that ``--list what`` shows; raises FrostlineError for another word."""
    if what not in LISTS:
        raise unknown("list", what, LISTS)
    module, name = LISTS[what]
    found: Registry = getattr(import_module(module), name)
    return found


@app.command()
@with_options
def predict(
    inputs: Inputs,
    options: Options,
    json_: Json = False,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with what --out holds")] = False,
    force: Force = False,
) -> None:
    """Give every argument its role: a table for each event, or JSON."""
    from zeroshot import cli_view as view
    from zeroshot.cli_output import check_outputs, sink
    from zeroshot.cli_work import check_there, predictions

    if resume and out is None:
        raise FrostlineError("--resume goes on with a file; name it with --out.")
    check_outputs(inputs, out, options.cache, options.own_file(), force=force, resume=resume)
    check_there(inputs, options)
    with view.Screen() as screen, sink(out, to_stdout=json_, resume=resume, say=screen.say) as taker:
        for result in predictions(inputs, options, screen, taker.kept):
            taker.put(result)
            if not json_:
                view.show_result(result)


@app.command()
@with_options
def explain(
    inputs: Inputs,
    options: Options,
    event: Annotated[str | None, typer.Option(help="only the event with this id")] = None,
    entity: Annotated[str | None, typer.Option(help="only the mention with this id")] = None,
    changed: Annotated[bool, typer.Option("--changed", help="only roles that a rule changed")] = False,
) -> None:
    """Say why each argument has its role: scores, runner-up, the rules that changed it and what they cost."""
    from zeroshot import cli_view as view
    from zeroshot.cli_output import check_outputs
    from zeroshot.cli_work import check_there, explanations

    check_outputs(inputs, None, options.cache, options.own_file())
    check_there(inputs, options)
    with view.Screen() as screen:
        for lines in explanations(inputs, options, screen, event=event, entity=entity, changed=changed):
            view.show(*lines)


@app.command()
@with_options
def render(
    inputs: Inputs,
    options: Options,
    out: Annotated[Path, typer.Option(help="the page to write")] = Path("passages.html"),
    title: Annotated[str | None, typer.Option(help="title of the page")] = None,
    force: Force = False,
) -> None:
    """Write one self-contained page with texts, events and reasons; takes passages or results of predict --out."""
    from backbones.core.artifacts import write_text
    from zeroshot import cli_view as view
    from zeroshot.cli_output import check_outputs
    from zeroshot.cli_work import check_there, results_of
    from zeroshot.render import render as page

    check_outputs(inputs, out, options.cache, options.own_file(), force=force)
    check_there(inputs, options)
    with view.Screen() as screen:
        results = list(results_of(inputs, options, screen))
        write_text(out, page(results, title=title or "Event arguments"))
        screen.say(f"{len(results)} {'document' if len(results) == 1 else 'documents'} drawn in {out}")


@app.command()
@with_options
def evaluate(
    gold: Inputs,
    options: Options,
    spans: Annotated[bool, typer.Option(help="give the gold spans, or have candidates found in the text")] = True,
    types: Annotated[bool, typer.Option(help="give the entity types, or have them inferred")] = True,
    ablate: Annotated[bool, typer.Option("--ablate", help="add a row per family of constraints removed")] = False,
    baselines: Annotated[bool, typer.Option("--baselines", help="add random, majority, greedy, release")] = False,
    predicted: Annotated[Path | None, typer.Option(help="score these results instead of predicting")] = None,
    bootstrap: Annotated[int, typer.Option(help="resamples for the intervals", min=0)] = 1000,
    seed: Annotated[int, typer.Option(help="seed of resampling and of random rows")] = 0,
    json_: Json = False,
    out: Out = None,
    force: Force = False,
) -> None:
    """Compare predictions with gold roles: identification, classification, head match, with intervals."""
    from zeroshot import cli_view as view
    from zeroshot.cli_output import check_outputs, sink
    from zeroshot.cli_work import check_there, evaluation

    check_outputs(gold, out, options.cache, predicted, options.own_file(), force=force)
    check_there([*gold, *([predicted] if predicted else [])], options)
    with view.Screen() as screen, sink(out, to_stdout=json_) as taker:
        report = evaluation(
            gold, options, screen, spans=spans, types=types, ablate=ablate, baselines=baselines, predicted=predicted,
            bootstrap=bootstrap, seed=seed,
        )  # fmt: skip
        taker.put(report)
        if not json_:
            view.show_evaluation(report)


@app.command()
def convert(
    inputs: Inputs,
    to: Annotated[str, typer.Option(help="format to write, see --list formats")] = "native",
    out: Out = None,
    on_error: Annotated[str, typer.Option(help="stop or skip: what a bad document does")] = "stop",
    force: Force = False,
) -> None:
    """Write passages in another format, with offsets checked and converted."""
    from benchmarks.passages import FORMATS, losses
    from zeroshot import cli_view as view
    from zeroshot.cli_output import check_outputs, sink
    from zeroshot.cli_work import each, passages

    form = FORMATS.load(to)
    options = Options(on_error=on_error)
    check_outputs(inputs, out, None, force=force)

    def written(passage: Passage) -> object:
        for lost in losses(passage, form):
            screen.say(f"note: {passage.doc_id}: {to} has no place for {lost.words}")
        return form.write(passage)

    with view.Screen() as screen, sink(out, to_stdout=out is None, say=screen.say) as taker:
        for document in each(passages(inputs, options, screen), written, options, screen):
            taker.put(document)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the native format."""
    import json

    from benchmarks.passages import native_schema

    typer.echo(json.dumps(native_schema(), indent=2, ensure_ascii=False))


@app.command()
def lint(
    ontologies: Annotated[list[str] | None, typer.Argument(help="names or files (default: all that ship)")] = None,
) -> None:
    """Check ontologies: unreachable roles, contradictions, missing descriptions; exit code 1 if one has an error."""
    from benchmarks.ontologies import ONTOLOGIES, load_ontology
    from benchmarks.ontologies import lint as check
    from zeroshot import cli_view as view

    found = [(name, check(load_ontology(name))) for name in ontologies or ONTOLOGIES.names()]
    view.show_findings(found)
    if any(finding.severity == "error" for _, findings in found for finding in findings):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; errors of the user end with one sentence and exit code 2."""
    run(app)


if __name__ == "__main__":
    main()
