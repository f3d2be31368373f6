"""Rows that say the same of different columns of one group become one row: fewer, and a tighter relaxation.

``x[p, r] <= y`` and ``x[p, s] <= y`` are together ``x[p, r] + x[p, s] <= y``, since one role at most is chosen, and the
amount by which the sum is left is the sum of the amounts as long as a row cannot be left without its ``x``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from zeroshot.decode.fold import Folded
from zeroshot.decode.program import TOLERANCE, Ints


def merge(folded: Folded) -> Folded:
    """Merge the rows that tie a single column of one group to the same columns of one other group."""
    row, column, value = folded.row, folded.column, folded.value
    if not len(row):
        return folded
    group = folded.source.group[column]
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    size = np.diff(np.append(starts, len(row)))
    # Entries of a row are sorted by column, so its first entry is of its first group.
    head = group[starts]
    alone = (size > 1) & (group[np.minimum(starts + 1, len(row) - 1)] != head)
    rest_group = group[np.minimum(starts + 1, len(row) - 1)]
    alone &= group[starts + size - 1] == rest_group
    rest = value.copy()
    rest[starts] = 0.0
    low = np.minimum(np.minimum.reduceat(rest, starts), 0.0)
    high = np.maximum(np.maximum.reduceat(rest, starts), 0.0)
    numbers = row[starts]
    alone &= (low >= folded.lower[numbers] - TOLERANCE) & (high <= folded.upper[numbers] + TOLERANCE)
    chosen = np.flatnonzero(alone)
    if len(chosen) < 2:
        return folded
    keys: dict[tuple[object, ...], int] = {}
    target = np.arange(folded.source.rows)
    columns, values = column.astype(np.int64), value
    for index in chosen.tolist():
        a, b, number = starts[index] + 1, starts[index] + size[index], int(numbers[index])
        price = folded.source.price[number]
        bounds = (folded.lower[number], folded.upper[number], price, value[a - 1])
        key = (int(head[index]), columns[a:b].tobytes(), values[a:b].tobytes(), *map(float, bounds))
        target[number] = keys.setdefault(key, number)
    return _moved(folded, target, starts)


def _moved(folded: Folded, target: Ints, starts: Ints) -> Folded:
    """Move the first entry of each row to the row that is its target, and drop the rows that were moved."""
    gone = target != np.arange(len(target))
    if not gone.any():
        return folded
    first = np.zeros(len(folded.row), dtype=bool)
    first[starts] = True
    kept = first | ~gone[folded.row]
    row, column, value = target[folded.row[kept]], folded.column[kept], folded.value[kept]
    order = np.lexsort((column, row))
    return replace(folded, row=row[order], column=column[order], value=value[order], left=folded.left & ~gone)
