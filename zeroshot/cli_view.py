"""What ``eae-zero`` shows: progress, tables of arguments, explanations, scores, findings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

import backbones.cli_view
from backbones.cli_view import Grid, OurConsole, show_registry
from backbones.core.visible import visible

__all__ = ["Screen", "show", "show_evaluation", "show_findings", "show_registry", "show_result"]

if TYPE_CHECKING:
    from benchmarks.ontologies.lint import Finding
    from zeroshot.evaluate import Evaluation, NamedReport
    from zeroshot.result import ArgumentResult, EventResult, Result


class Screen(backbones.cli_view.Screen):
    """Progress bars and remarks on standard error."""

    def __init__(self) -> None:
        super().__init__(OurConsole(stderr=True))


def show(*things: Any) -> None:
    """Print tables and lines to standard output."""
    console = OurConsole()
    for thing in things:
        line = isinstance(thing, str)
        console.print(visible(thing) if line else thing, highlight=False, markup=False, soft_wrap=line)


def show_result(result: Result) -> None:
    """Print one table for each event of a document, then what the user must know."""
    show(f"{result.doc_id}: ontology {result.ontology}, scorer {result.scorer}")
    spans = {mention.id: mention for mention in result.entities}
    for event in result.events:
        show(_event(event, spans, result))
    solver = result.solver
    proof = "optimal" if solver.status == "optimal" else f"{solver.status}, within {solver.gap:.3g} nats of optimal"
    show(f"decoding: {proof}, objective {solver.objective:.3f} nats, {1000 * solver.seconds:.1f} ms")
    for broken in solver.violations:
        show(f"broken at a price of {broken.cost:.2f}: {broken.reason}")
    for number, other in enumerate(result.alternatives, start=2):
        changes = ", ".join(f"{event} {entity} -> {role or 'no role'}" for event, entity, role in other.changes)
        show(f"assignment {number}: {other.objective:.3f} nats: {changes}")
    for note in result.notes:
        show(f"note: {note}")


def _event(event: EventResult, spans: dict[str, Any], result: Result) -> Grid:
    title = f"{event.id}: {event.type}, trigger {result.text[slice(*event.trigger.span)]}"
    made = Grid(title, "role", "argument", "type", "prob.", "margin", "changed by", right=("prob.", "margin"))
    for found in event.arguments:
        made.add_row(*_cells(found, spans))
    if event.rejected:
        words = ", ".join(repr(spans[found.entity].text) for found in event.rejected[:8])
        more = f" and {len(event.rejected) - 8} more" if len(event.rejected) > 8 else ""
        made.caption = Text(visible(f"no role: {words}{more}"), style="table.caption")
        made.caption_justify = "left"
    return made


def _cells(found: ArgumentResult, spans: dict[str, Any]) -> tuple[str, ...]:
    changed = ", ".join(dict.fromkeys(cause.rule for cause in found.changed_by))
    was = f"{changed} (was {found.local_role or 'no role'})" if changed else ""
    margin = "" if found.margin is None else f"{found.margin:.2f}"
    chance = f"{100 * math.exp(found.score):.0f}%"
    return found.role or "-", spans[found.entity].text or "", found.entity_type or "-", chance, margin, was


def show_evaluation(found: Evaluation) -> None:
    """Print one row for each way to predict, then the weakest roles of the first, then notes."""
    first = found.rows[0].report
    show(f"{first.documents} documents, {first.events} events, {first.arguments} gold arguments")
    given = first.accuracy is not None
    columns = ("class.", "95 %", "P", "R", *(("acc.",) if given else ("ident.", "head")), "diff.")
    made = Grid(None, "row", *columns, right=columns)
    for row in found.rows:
        made.add_row(*_row(row, given))
    roles = Grid("roles of the first row, most gold arguments first", "role", "gold", "P", "R", "F1", right=("gold",))
    for each in first.roles[:15]:
        score = each.score
        cells = (f"{100 * value:.1f}" for value in (score.precision, score.recall, score.f1))
        roles.add_row(each.name, str(score.gold), *cells)
    show(made, roles)
    words = "acc.: share of given arguments with the right role"
    if not given:
        words = "ident.: F1 of spans alone; head: of spans with roles by head words"
    show(f"class.: F1 of spans with roles, and its P and R; {words};")
    show("diff.: class. against the first row, * where its interval (see --json) excludes 0. Percent.")
    if first.bootstrap:
        show(f"95 %: bootstrap intervals over documents, {first.bootstrap} resamples, seed {first.seed}.")
    for note in dict.fromkeys(note for row in found.rows for note in row.report.notes):
        show(f"note: {note}")


def _row(row: NamedReport, given: bool) -> tuple[str, ...]:
    report = row.report
    score = report.classification
    right = "" if report.accuracy is None else f"{100 * report.accuracy.value:.1f}"
    open_ = (f"{100 * report.identification.f1:.1f}", f"{100 * report.head_classification.f1:.1f}")
    change = row.difference
    return (
        f"{row.name} (oracle)" if row.kind == "oracle" else row.name,
        f"{100 * score.f1:.1f}",
        "" if score.interval is None else "{:.1f}-{:.1f}".format(*(100 * bound for bound in score.interval)),
        f"{100 * score.precision:.1f}",
        f"{100 * score.recall:.1f}",
        *((right,) if given else open_),
        "" if change is None else f"{100 * change.difference:+.1f}{_star(change.interval)}",
    )


def _star(bounds: tuple[float, float] | None) -> str:
    """Return a star for an interval that excludes 0."""
    return "*" if bounds is not None and bounds[0] * bounds[1] > 0 else " "


def show_findings(found: Sequence[tuple[str, Sequence[Finding]]]) -> None:
    """Print what is wrong with ontologies and how to mend it."""
    for name, findings in found:
        errors = sum(finding.severity == "error" for finding in findings)
        warnings = len(findings) - errors
        show(f"{name}: {errors} {_plural('error', errors)}, {warnings} {_plural('warning', warnings)}")
        for finding in findings:
            show(f"  {finding.severity}: {finding.path}: {finding.words} {finding.fix}")


def _plural(word: str, count: int) -> str:
    return word if count == 1 else word + "s"
