"""The reprogramming ledger: which cells of a crossbar an adaptation would rewrite, and at what energy.

In-memory computing keeps weights as conductances of resistive cells (ReRAM). Writing a cell costs far more energy than
reading it and wears it out, so an adaptation that leaves the programmed weights alone and trains a few digital numbers
in the periphery is worth having. That is the argument for fusing frozen LoRAs; the ledger puts numbers to it.

What it assumes: one cell for each weight, every weight of a plain LoRA written once per task, coefficients and
magnitudes held in digital registers. The energy of a write is a setting, not a measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from backbones.delta import Delta

Ledger = dict[str, int | float]

# entry -> (unit, what it says)
MEANING: Mapping[str, tuple[str, str]] = {
    "cells_written": ("cells", "rewritten for a new task by fusion: base and pool stay as they are"),
    "cells_written_lora": ("cells", "rewritten for a new task by one plain LoRA of the same rank at the same layers"),
    "cells_programmed": ("cells", "that hold the pool, written once"),
    "cells_programmed_here": ("cells", "of these, written in this run, where the pool was trained"),
    "digital_numbers": ("numbers", "trained by fusion and held outside the crossbar: coefficients and magnitudes"),
    "energy_per_cell_nj": ("nJ", "of one write; an assumption, set by energy_per_cell"),
    "energy_nj": ("nJ", "to rewrite cells for a new task by fusion"),
    "energy_lora_nj": ("nJ", "to rewrite cells for a new task by plain LoRA, under that assumption"),
}


@runtime_checkable
class Keeps(Protocol):
    """A delta that keeps a ledger."""

    def ledger(self) -> Ledger:
        """Return the entries of ``MEANING``."""
        ...


def ledger(delta: Delta) -> Ledger:
    """Return the ledger of a delta, or of the members of a stack together; empty if none keeps one.

    Args:
        delta: any delta; what has a method ``ledger`` is asked.

    Returns:
        Entry -> count or nJ, see ``MEANING``. Of several members the energy of one write is the largest, the rest is
        summed.
    """
    total: Ledger = {}
    for part in delta.modules():
        if isinstance(part, Keeps):
            for name, value in part.ledger().items():
                before = total.get(name, 0)
                total[name] = max(before, value) if name == "energy_per_cell_nj" else before + value
    return total


def notes_of(delta: Delta) -> tuple[str, ...]:
    """Return what a delta, or the members of a stack, want the user to know, such as a pool adapter of another base."""
    return tuple(note for part in delta.modules() for note in getattr(part, "notes", ()))


def entries(*, written: int, lora: int, programmed: int, here: int, digital: int, energy_per_cell: float) -> Ledger:
    """Return the ledger of one delta.

    Args:
        written: cells rewritten for a new task.
        lora: cells that a plain LoRA would rewrite.
        programmed: cells that hold frozen factors.
        here: of these, how many were written in this run.
        digital: trained numbers outside the crossbar.
        energy_per_cell: nJ for one write.
    """
    return {
        "cells_written": written,
        "cells_written_lora": lora,
        "cells_programmed": programmed,
        "cells_programmed_here": here,
        "digital_numbers": digital,
        "energy_per_cell_nj": energy_per_cell,
        "energy_nj": written * energy_per_cell,
        "energy_lora_nj": lora * energy_per_cell,
    }
