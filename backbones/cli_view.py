"""What ``backbone`` shows: bars, remarks, tables."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from backbones import page
    from backbones.compose.writing import Composed

SHOWN_AFTER = 0.7  # seconds; shorter work needs no bar


class Bars:
    """A bar for every phase that takes longer than a moment, gone when it is done; nothing where is no terminal.

    Args:
        console: where they are drawn.
        alone: whether the bars draw themselves; else the caller shows ``drawn`` among other things.
    """

    def __init__(self, console: Console, *, alone: bool = True) -> None:
        self.console = console
        self.drawn = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._alone = alone
        self._started = False
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, float] = {}

    def progress(self, phase: str, done: int, total: int) -> None:
        """Show how far a phase is (see ``backbones.core.samples.Progress``)."""
        if not self.console.is_terminal:
            return
        now = time.monotonic()
        began = self._began.setdefault(phase, now)
        if done >= total:
            self._began.pop(phase, None)
            if phase in self._tasks:
                self.drawn.remove_task(self._tasks.pop(phase))
        elif phase in self._tasks:
            self.drawn.update(self._tasks[phase], completed=done, total=total)
        elif now - began > SHOWN_AFTER:
            if self._alone and not self._started:
                self.drawn.start()
                self._started = True
            self._tasks[phase] = self.drawn.add_task(phase, total=total, completed=done)

    def stop(self) -> None:
        """Take the bars away."""
        if self._started:
            self.drawn.stop()
            self._started = False


class Screen:
    """Bars, lines and tables of a command."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._bars = Bars(self.console)
        self.progress = self._bars.progress

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def table(self, table: page.Table) -> None:
        """Print a table, numbers to the right."""
        found = Table(title=table.caption or None, title_justify="left", box=None, header_style="bold")
        for number, name in enumerate(table.header):
            cells = [row[number] for row in table.rows]
            right = bool(cells) and all(cell[:1] in "+-−.0123456789" for cell in cells if cell)
            found.add_column(name, justify="right" if right else "left", no_wrap=right)
        for row in table.rows:
            found.add_row(*(Text(cell) for cell in row))
        self.console.print(found, highlight=False)


def show_composed(found: Composed, console: Console | None = None) -> None:
    """Print how many weights each difference changes, and how many each two of them share."""
    table = Table(box=None, header_style="bold")
    for name in ("", "difference", "weights", "share", "tensors", *(f"also in {n + 1}" for n in _numbers(found))):
        table.add_column(name, justify="left" if name in ("", "difference") else "right", no_wrap=name != "difference")
    for number, each in enumerate(found.differences):
        shared = [f"{count:,}" if other != number else "" for other, count in enumerate(found.overlaps[number])]
        tensors = str(sum(1 for _ in each.parts()))
        table.add_row(str(number + 1), each.label, f"{each.k:,}", f"{each.k / found.weights:.2%}", tensors, *shared)
    out = console or Console()
    out.print(table)
    out.print(f"written to {found.folder}; load it with: {found.usage}", highlight=False, markup=False, soft_wrap=True)


def _numbers(found: Composed) -> range:
    return range(len(found.differences))
