"""Why nothing satisfies the hard rows: a smallest set of them that cannot hold together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from backbones.core.errors import FrostlineError
from zeroshot.constraints.base import Row
from zeroshot.decode.clock import Clock
from zeroshot.decode.compile import Compiled
from zeroshot.decode.fold import NoAssignmentError
from zeroshot.decode.program import Ints, Program
from zeroshot.decode.solve import NoIncumbentError, solve

SECONDS = 10.0  # for each question whether some rows can hold; one that is not answered counts as yes


class InfeasibleError(FrostlineError):
    """The hard rules cannot hold together.

    Args:
        conflict: (name of the rule, its row): rows that cannot hold together, though any one less can.
    """

    def __init__(self, conflict: Sequence[tuple[str, Row]]) -> None:
        self.conflict = tuple(conflict)
        told = list(dict.fromkeys(f"{rule}: {row.reason}" for rule, row in conflict))
        lines = "".join(f"\n  {number}. {line}" for number, line in enumerate(told, 1))
        super().__init__(
            f"no assignment keeps all hard rules. These {len(told)} cannot hold together, any one less can:{lines}\n"
            'Take one of them out, or give its rule a weight in place of "hard".'
        )


def conflict(compiled: Compiled) -> InfeasibleError:
    """Return the error that names a minimal set of conflicting hard rows (QuickXplain, Junker 2004)."""
    program = replace(compiled.program, scores=np.zeros(len(compiled.program.scores)))
    hard = np.flatnonzero(np.isinf(program.price)).tolist()

    def holds(rows: Sequence[int]) -> bool:
        try:
            solve(_with_rows(program, np.array(sorted(rows), dtype=np.int64)), Clock(SECONDS))
        except NoAssignmentError:
            return False
        except NoIncumbentError:
            return True
        return True

    least = sorted(_explain(holds, [], hard, False))
    return InfeasibleError([(compiled.rules[row], compiled.rows[row]) for row in least])


def _explain(holds: Callable[[Sequence[int]], bool], kept: list[int], rows: list[int], added: bool) -> list[int]:
    """Return the least part of ``rows`` that conflicts together with ``kept``; ``added``: whether kept has grown."""
    if added and not holds(kept):
        return []
    if len(rows) <= 1:
        return rows
    first, second = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    of_second = _explain(holds, kept + first, second, bool(first))
    of_first = _explain(holds, kept + of_second, first, bool(of_second))
    return of_first + of_second


def _with_rows(program: Program, rows: Ints) -> Program:
    """Return the programme with these rows alone (sorted)."""
    number = np.full(program.rows, -1)
    number[rows] = np.arange(len(rows))
    entries = number[program.row] >= 0
    return Program(
        program.scores,
        program.starts,
        number[program.row[entries]],
        program.column[entries],
        program.value[entries],
        program.lower[rows],
        program.upper[rows],
        program.price[rows],
    )
