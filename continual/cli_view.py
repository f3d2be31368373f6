"""What ``cil-run`` shows: progress bars, the live table of experiences, reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group
from rich.live import Live

from backbones.cli_view import Bars, Grid, OurConsole, show_registry
from backbones.core.visible import dumps, visible

__all__ = ["Screen", "plan_table", "show_pats", "show_predictions", "show_registry", "show_report"]

if TYPE_CHECKING:
    from backbones.base import Backbone
    from continual.engine import Step
    from continual.pats import PatFacts
    from continual.plan import Estimate, Plan
    from continual.report import Report, RunReport

ROWS_ON_SCREEN = 25


class Screen:
    """Progress bars under a live table of experiences; plain lines where the output is no terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or OurConsole()
        self._bars = Bars(self.console, alone=False)
        self._rows: list[tuple[str, ...]] = []
        self._live: Live | None = None
        self._header = False

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(self._group(), console=self.console, refresh_per_second=8)
            self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bars.stop()
        if self._live is not None:
            self._live.update(self._table() if self._rows else "")
            self._live.__exit__(*error)
            self._live = None

    def progress(self, phase: str, done: int, total: int) -> None:
        """Show how far a phase is (see ``backbones.core.samples.Progress``)."""
        self._bars.progress(phase, done, total)
        if self._live is not None:
            self._live.update(self._group())

    def step(self, seed: int, step: Step, report: RunReport) -> None:
        """Add the line of an experience."""
        from continual.figures_table import step_rows

        row = (str(seed), *step_rows(report)[step.index])
        self._rows.append(row)
        for note in step.notes:
            self.say(f"note: experience {step.index + 1}: {note}")
        if self._live is not None:
            self._live.update(self._group())
        else:
            if not self._header:
                self.console.print("  ".join(f"{name:>11}" for name in _columns()), highlight=False, soft_wrap=True)
                self._header = True
            self.console.print("  ".join(f"{cell:>11}" for cell in row), highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(visible(text), highlight=False, markup=False, soft_wrap=True)

    def show(self, table: Any) -> None:
        """Print a table."""
        self.console.print(table)

    def _table(self, last: int | None = None) -> Grid:
        table = Grid(None, *_columns(), right=_columns())
        for row in self._rows[-last:] if last else self._rows:
            table.add_row(*row)
        return table

    def _group(self) -> Group:
        bars = self._bars.drawn
        return Group(self._table(ROWS_ON_SCREEN), bars) if self._rows else Group(bars)


def _columns() -> tuple[str, ...]:
    from continual.figures_table import STEP_HEADER

    return ("seed", *STEP_HEADER)


def show_pats(backbone: Backbone, facts: Sequence[PatFacts]) -> None:
    """Print what every registered PAT would train on a backbone and what it touches."""
    table = Grid(f"PATs on {backbone.name}")
    for name in ("name", "trains", "identity", "merges"):
        table.add_column(name, justify="right" if name == "trains" else "left", no_wrap=True)
    table.add_column("what it is; what it touches")
    table.add_column("origin", no_wrap=True)
    for fact in facts:
        trains = "does not fit" if fact.trains is None else f"{fact.trains:,}"
        identity, merges = ("yes" if known else "no" for known in (fact.identity, fact.mergeable))
        table.add_row(fact.name, trains, identity, merges, f"{fact.summary}; touches {fact.touches}", fact.origin)
    console = OurConsole()
    console.print(table, highlight=False)
    total = f"{backbone.parameter_count:,}"
    console.print(
        f"trains: parameters with default settings, beside {total} frozen ones (another backbone: --backbone NAME); "
        "identity: whether it starts as one; merges: whether it folds into the weights. Several at once: --pat a+b",
        highlight=False,
        soft_wrap=True,
    )


def plan_table(plan: Plan, found: Estimate) -> Grid:
    """Return the plan of a run as a table."""
    settings = plan.settings
    table = Grid("plan (nothing was run)", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    rows = found.experiences
    sizes = "-".join(str(classes) for classes, _, _ in rows[:12]) + ("-..." if len(rows) > 12 else "")
    lines = {
        "benchmark": f"{settings.benchmark}: {len(plan.dataset.class_names)} classes",
        "backbone": f"{settings.backbone}: {plan.backbone.parameter_count:,} frozen parameters, "
        f"{plan.backbone.depth} blocks, {plan.backbone.width} wide",
        "preprocessing": json.dumps(plan.backbone.preprocessing.described()),
        "PAT": f"{settings.pat} {settings.pat_settings or ''}, trained on: {settings.pat_schedule} experience",
        "head": f"{settings.head} {settings.head_settings or ''}",
        "seeds": ", ".join(map(str, settings.seeds)),
        "experiences": f"{len(rows)}, classes {sizes}",
        "samples": f"{sum(r[1] for r in rows):,} training, {sum(r[2] for r in rows):,} test",
        "trainable parameters": f"{found.parameters:,} in the PAT",
        "forwards": f"{found.forwards:,.0f} (a training step counts 3; fewer if features are stored already)",
        "estimated time": f"{_duration(found.seconds)} at {found.rate:.1f} samples/s, {found.precision}, "
        f"on {plan.backbone.device}; the head comes on top",
        "estimated memory": f"{found.bytes / 2**20:,.0f} MiB beside Python and torch",
    }
    for name, value in lines.items():
        table.add_row(name, value)
    return table


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def show_report(report: Report, folder: Path) -> None:
    """Print the figures of a report and where its files are."""
    from continual.figures_table import table_rows

    console = OurConsole()
    table = Grid(report.title)
    table.add_column("figure", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("meaning")
    for row in table_rows(report):
        table.add_row(*row)
    console.print(table, highlight=False)
    words = f"report, plots and artefact: {folder} (page: {folder / 'report.html'})"
    console.print(visible(words), highlight=False, markup=False, soft_wrap=True)


def show_predictions(
    names: Sequence[str], found: list[list[tuple[str, float]]], modality: str, *, as_json: bool
) -> None:
    """Print the classes of each input; ``modality`` names the first column."""
    if as_json:
        rows = [
            {modality: name, "classes": [{"class": label, "score": score} for label, score in best]}
            for name, best in zip(names, found, strict=True)
        ]
        OurConsole().print(dumps(rows, indent=2), highlight=False, markup=False, soft_wrap=True)
        return
    table = Grid(None, modality, "class", "then")
    for name, best in zip(names, found, strict=True):
        then = ", ".join(f"{label} ({score:.3g})" for label, score in best[1:])
        table.add_row(name, f"{best[0][0]} ({best[0][1]:.3g})", then)
    OurConsole().print(table, highlight=False, soft_wrap=True)
