"""What ``backbone`` shows: bars, remarks, tables."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from backbones.core.registry import Registry
from backbones.core.visible import visible

if TYPE_CHECKING:
    from backbones import page
    from backbones.compose.writing import Composed

SHOWN_AFTER = 0.7  # seconds; shorter work needs no bar
FIRST_LINE, SOON, LATER, MANY = 2.0, 10.0, 30.0, 6  # seconds of silence before a line; later on after so many lines


class OurConsole(Console):
    """A console whose reader may go at any time; the command line ends then as it ends for any broken pipe."""

    def on_broken_pipe(self) -> None:
        """Raise the error that rich has caught."""
        raise BrokenPipeError


@dataclass
class _Phase:
    """When it began, at which unit and after how many lines; how far it is, of how many (-1: nobody knows)."""

    began: float
    start: int
    before: int
    done: int = 0
    total: int = 0

    def words(self) -> str:
        passed = time.monotonic() - self.began
        words = f"{self.done:,}" + (f"/{self.total:,}" if self.total >= 0 else "") + f", {_clock(passed)} so far"
        if self.done > self.start and passed > 0:
            rate = (self.done - self.start) / passed
            words += f", {rate:.3g}/s" + (
                f", {_clock((self.total - self.done) / rate)} left" if self.total >= 0 else ""
            )
        return words


class Log:
    """Lines on standard error in the place of bars, for job logs: seldom, but never silent for minutes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spoke = time.monotonic()
        self._lines = 0
        self._ended = threading.Event()
        self._watch: threading.Thread | None = None
        self._phases: dict[str, _Phase] = {}  # outer ones first
        self._now = ""

    def progress(self, phase: str, done: int, total: int) -> None:
        """Take how far a phase is, and say so if nothing has been said for a while."""
        with self._lock:
            known = self._phases.setdefault(phase, _Phase(time.monotonic(), done, self._lines))
            known.done, known.total, self._now = done, total, phase
            over = done >= total >= 0  # short phases are worth a line only after a long silence
            late = over and time.monotonic() - self._spoke >= SOON
            if late or (self._lines > known.before if over else self._is_due()):
                self._say()
            if over:
                self._phases.pop(phase)
                self._now = next(reversed(self._phases), "")
            elif self._watch is None:
                self._watch = threading.Thread(target=self._heed, daemon=True)
                self._watch.start()

    def stop(self) -> None:
        """Say nothing more."""
        self._ended.set()

    def _heed(self) -> None:
        """Speak for work that reports nothing."""
        while not self._ended.wait(1.0):
            with self._lock:
                if self._is_due():
                    self._say()

    def _is_due(self) -> bool:
        pause = FIRST_LINE if not self._lines else SOON if self._lines < MANY else LATER
        now = time.monotonic()
        began = self._phases[self._now].began if self._now else now
        return now - self._spoke >= pause and (now - began >= FIRST_LINE or now - self._spoke >= SOON)

    def _say(self) -> None:
        if not self._now:
            return
        told = dict.fromkeys((next(iter(self._phases)), self._now))  # the outermost and the innermost
        words = "; ".join(f"{phase}: {self._phases[phase].words()}" for phase in told)
        self._spoke = time.monotonic()
        self._lines += 1
        with suppress(OSError, ValueError):  # standard error is closed or full
            sys.stderr.write(visible(words).replace("\n", " ") + "\n")
            sys.stderr.flush()


def _known(total: int) -> int | None:
    return total if total >= 0 else None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Bars:
    """A bar for every phase that takes longer than a moment, gone when it is done; a Log where is no terminal.

    Args:
        console: where they are drawn.
        alone: whether the bars draw themselves; else the caller shows ``drawn`` among other things.
    """

    def __init__(self, console: Console, *, alone: bool = True) -> None:
        self.console = console
        self.drawn = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._alone = alone
        self._started = False
        self._log = Log()
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, float] = {}

    def progress(self, phase: str, done: int, total: int) -> None:
        """Show how far a phase is (see ``backbones.core.samples.Progress``)."""
        if not self.console.is_terminal:
            self._log.progress(phase, done, total)
            return
        phase = visible(phase)
        now = time.monotonic()
        began = self._began.setdefault(phase, now)
        if done >= total >= 0:
            self._began.pop(phase, None)
            if phase in self._tasks:
                self.drawn.remove_task(self._tasks.pop(phase))
        elif phase in self._tasks:
            self.drawn.update(self._tasks[phase], completed=done, total=_known(total))
        elif now - began > SHOWN_AFTER:
            if self._alone and not self._started:
                self.drawn.start()
                self._started = True
            self._tasks[phase] = self.drawn.add_task(phase, total=_known(total), completed=done)

    def stop(self) -> None:
        """Take the bars away."""
        self._log.stop()
        if self._started:
            self.drawn.stop()
            self._started = False


class Grid(Table):
    """A table without lines whose cells are data: no markup, no escape sequences.

    Args:
        title: above it.
        columns: names; those in ``right`` hold numbers.
    """

    def __init__(self, title: str | None, *columns: str, right: Sequence[str] = (), **looks: Any) -> None:
        heading = None if title is None else Text(visible(title), style="table.title")
        super().__init__(title=heading, title_justify="left", box=None, header_style="bold", **looks)
        for name in columns:
            self.add_column(Text(visible(name)), justify="right" if name in right else "left", overflow="fold")

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row; strings are taken as they are, but for what acts on a terminal."""
        super().add_row(*(Text(visible(cell)) if isinstance(cell, str) else cell for cell in cells), **options)


class Screen:
    """Bars, lines and tables of a command."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or OurConsole()
        self._bars = Bars(self.console)
        self.progress = self._bars.progress

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(visible(text), highlight=False, markup=False, soft_wrap=True)

    def table(self, table: page.Table) -> None:
        """Print a table, numbers to the right."""
        found = Grid(table.caption or None)
        for number, name in enumerate(table.header):
            cells = [row[number] for row in table.rows]
            right = bool(cells) and all(cell[:1] in "+-−.0123456789" for cell in cells if cell)
            found.add_column(Text(visible(name)), justify="right" if right else "left", no_wrap=right)
        for row in table.rows:
            found.add_row(*row)
        self.console.print(found, highlight=False)


def show_composed(found: Composed, console: Console | None = None) -> None:
    """Print how many weights each difference changes, and how many each two of them share."""
    table = Grid(None)
    for name in ("", "difference", "weights", "share", "tensors", *(f"also in {n + 1}" for n in _numbers(found))):
        table.add_column(name, justify="left" if name in ("", "difference") else "right", no_wrap=name != "difference")
    for number, each in enumerate(found.differences):
        shared = [f"{count:,}" if other != number else "" for other, count in enumerate(found.overlaps[number])]
        tensors = str(sum(1 for _ in each.parts()))
        table.add_row(str(number + 1), each.label, f"{each.k:,}", f"{each.k / found.weights:.2%}", tensors, *shared)
    shown = Screen(console)
    shown.console.print(table)
    shown.say(f"written to {found.folder}; load it with: {found.usage}")


def show_registry(what: str, registry: Registry) -> None:
    """Print name, one line and origin of everything registered."""
    table = Grid(what)
    for name in ("name", "what it is", "origin"):
        table.add_column(name, no_wrap=name != "what it is")
    for entry in registry.entries():
        table.add_row(entry.name, entry.summary, entry.origin)
    OurConsole().print(table, highlight=False)


def _numbers(found: Composed) -> range:
    return range(len(found.differences))
