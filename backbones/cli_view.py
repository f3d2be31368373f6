"""What ``backbone`` shows: tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from backbones.compose.writing import Composed


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
