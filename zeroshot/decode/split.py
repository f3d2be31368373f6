"""The independent parts of a folded programme."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from zeroshot.decode.fold import Folded
from zeroshot.decode.merge import merge
from zeroshot.decode.program import Ints, Program


@dataclass(frozen=True)
class Part:
    """A connected part: its programme, and the numbers of its groups and columns in the folded one."""

    program: Program
    groups: Ints
    columns: Ints


@dataclass(frozen=True)
class Split:
    """Parts, and the groups that no row touches."""

    parts: tuple[Part, ...]
    free: Ints


def split(folded: Folded) -> Split:
    """Return the connected parts of what is left, in the order of their first groups."""
    folded, source = merge(folded), folded.source
    possible = np.isfinite(folded.scores)
    entries = possible[folded.column]
    row, column, value = folded.row[entries], folded.column[entries], folded.value[entries]
    group = source.group[column]
    touched = np.zeros(source.groups, dtype=bool)
    touched[group] = True
    free = np.flatnonzero(folded.alive & ~touched)
    if not touched.any():
        return Split((), free)
    label, row_label = _labels(group, row, touched, source)
    # Renumber groups, columns and rows so that each part is a run.
    groups = np.flatnonzero(touched)
    groups = groups[np.argsort(label[groups], kind="stable")]
    columns = np.flatnonzero(possible & touched[source.group])
    columns = columns[np.argsort(label[source.group[columns]], kind="stable")]
    rows = np.flatnonzero(row_label >= 0)
    rows = rows[np.argsort(row_label[rows], kind="stable")]
    new_column, new_row = np.zeros(len(possible), dtype=np.int64), np.zeros(source.rows, dtype=np.int64)
    new_column[columns], new_row[rows] = np.arange(len(columns)), np.arange(len(rows))
    order = np.lexsort((new_column[column], new_row[row]))
    row, column, value = new_row[row][order], new_column[column][order], value[order]
    kinds = int(label.max()) + 1
    g = np.searchsorted(label[groups], np.arange(kinds + 1))
    c = np.searchsorted(label[source.group[columns]], np.arange(kinds + 1))
    r = np.searchsorted(row_label[rows], np.arange(kinds + 1))
    e = np.searchsorted(row, r)
    sizes = np.bincount(source.group[columns], minlength=source.groups)[groups]
    parts = []
    for k in range(kinds):
        own = rows[r[k] : r[k + 1]]
        program = Program(
            folded.scores[columns[c[k] : c[k + 1]]],
            np.concatenate(([0], np.cumsum(sizes[g[k] : g[k + 1]]))),
            row[e[k] : e[k + 1]] - r[k],
            column[e[k] : e[k + 1]] - c[k],
            value[e[k] : e[k + 1]],
            folded.lower[own],
            folded.upper[own],
            source.price[own],
        )
        parts.append(Part(program, groups[g[k] : g[k + 1]], columns[c[k] : c[k + 1]]))
    return Split(tuple(parts), free)


def _labels(group: Ints, row: Ints, touched: np.ndarray, source: Program) -> tuple[Ints, Ints]:
    """Return the number of the part of each group and of each row, -1 for those in none, by first groups."""
    total = source.groups + source.rows
    graph = coo_array((np.ones(len(row), dtype=np.int8), (group, source.groups + row)), shape=(total, total))
    _, raw = connected_components(graph, directed=False)
    names, first = np.unique(raw[: source.groups][touched], return_index=True)
    rank = np.full(total, -1)
    rank[names[np.argsort(first)]] = np.arange(len(names))
    label = np.where(touched, rank[raw[: source.groups]], -1)
    rows = np.full(source.rows, -1)
    rows[row] = label[group]
    return label, rows
