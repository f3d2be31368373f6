"""Reports as rows of text: one source for the terminal, Markdown and the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from backbones.pat.ledger import MEANING
from continual.metrics import Interval
from continual.report import MultiReport, Report, RunReport

# name in Summary -> (what a reader calls it, unit, one line about it)
FIGURES: dict[str, tuple[str, str, str]] = {
    "a_bar_sample": ("A_bar, sample-weighted", "%", "mean over the steps of the accuracy on all seen classes"),
    "a_bar_task": ("A_bar, task-weighted", "%", "the same, every experience counting alike"),
    "a_last_sample": ("A_last, sample-weighted", "%", "accuracy on all classes after the last step"),
    "a_last_task": ("A_last, task-weighted", "%", "the same, every experience counting alike"),
    "forgetting": ("forgetting", "points", "best accuracy on an experience minus its last"),
    "bwt": ("BWT", "points", "backward transfer: last accuracy minus the one just after learning"),
    "fwt": ("FWT", "points", "forward transfer: 0 for heads that know no future class"),
    "cdr_mean": ("category drift rate", "%", "right before the step, given to a new class after it"),
    "task_identification_last": ("experience found, last", "%", "put into a class of the right experience"),
    "task_identification_mean": ("experience found, mean", "%", "the same, mean over the steps"),
}
STEP_HEADER = ("experience", "new classes", "A_t", "A_t task", "first", "newest", "CDR", "seconds")


class Row(NamedTuple):
    """One line of a table: what is measured, its value with unit, what it means."""

    name: str
    value: str
    note: str


def table_rows(report: Report) -> list[Row]:
    """Return the figures and costs of a report; of several seeds as mean ± half width of the interval."""
    if isinstance(report, MultiReport):
        figures = report.figures
        rows = [Row(name, _spread(figures[key], unit), note) for key, (name, unit, note) in FIGURES.items()]
        seeds = ", ".join(str(run.seed) for run in report.runs)
        kind = f"mean ± half of the {report.confidence:.0%} Student-t interval"
        alone = "one seed has no interval"
        return [Row("seeds", seeds, kind if len(report.runs) > 1 else alone), *rows, *_costs(report.runs)]
    rows = [Row(name, _value(getattr(report.summary, key), unit), note) for key, (name, unit, note) in FIGURES.items()]
    return [Row("seed", str(report.seed), "class order and every random choice"), *rows, *_costs((report,))]


def step_rows(report: RunReport) -> list[tuple[str, ...]]:
    """Return one line per experience, in the columns of ``STEP_HEADER``; accuracies and CDR in percent."""
    rows = []
    for step in report.steps:
        shares = (step.a_t_sample, step.a_t_task, step.accuracy[0], step.accuracy[-1], step.cdr)
        cells = ["-" if value is None else f"{100 * value:.1f}" for value in shares]
        took = f"{sum(step.seconds.values()):.1f}"
        rows.append((str(step.index + 1), str(len(step.classes)), *cells, took))
    return rows


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; bars in cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _costs(runs: Sequence[RunReport]) -> list[Row]:
    first = runs[0].parameters
    peaks = [run.peak_memory_bytes for run in runs if run.peak_memory_bytes is not None]
    phases: dict[str, float] = {}
    for run in runs:
        for phase, seconds in run.seconds_by_phase.items():
            phases[phase] = phases.get(phase, 0.0) + seconds
    together = f" of {len(runs)} runs together" if len(runs) > 1 else ""
    rows = [
        Row("backbone parameters", f"{first.backbone:,}", "frozen"),
        Row("trainable parameters", f"{first.trainable_pat + first.trainable_head:,}", _parts(runs[0])),
        Row("stored parameters", f"{first.stored:,}", "kept from one experience to the next; no sample is"),
        Row("stored per class", f"{runs[0].bytes_per_class:,.0f} bytes", "stored bytes over classes seen"),
        Row("backbone forwards", f"{sum(run.forwards for run in runs):,}", f"samples encoded{together}"),
    ]
    rows += [Row(f"seconds: {phase}", f"{seconds:.1f}", f"wall time{together}") for phase, seconds in phases.items()]
    rows += [Row("peak memory", f"{max(peaks) / 2**20:,.0f} MiB", "resident")] if peaks else []
    return rows + _ledger(runs[0])


def _ledger(run: RunReport) -> list[Row]:
    rows = []
    for name, value in run.ledger.items():
        unit, note = MEANING.get(name, ("", ""))
        number = f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
        rows.append(Row(f"ledger: {name.replace('_', ' ')}", f"{number} {unit}".strip(), note))
    return rows


def _parts(run: RunReport) -> str:
    return f"{run.parameters.trainable_pat:,} in the PAT, {run.parameters.trainable_head:,} in the head"


def _value(share: float | None, unit: str) -> str:
    return "-" if share is None else f"{100 * share:.2f} {unit}"


def _spread(found: Interval | None, unit: str) -> str:
    if found is None or found.half_width is None:
        return _value(None if found is None else found.mean, unit)
    return f"{100 * found.mean:.2f} ± {100 * found.half_width:.2f} {unit}"
