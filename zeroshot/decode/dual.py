"""Upper bounds by Lagrangian duality: prices on rows turn the objective into losses of single columns and rows.

For any prices pi with abs(pi) <= price, the objective of an assignment is ``bound - losses of its columns - losses of
its rows``, and no loss is negative. The prices come from the linear relaxation; the bound is computed here from them,
so that the proof does not lean on the solver's arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zeroshot.decode.bundles import Terms, no_terms
from zeroshot.decode.program import Floats, Ints, Program


@dataclass(frozen=True)
class Dual:
    """An upper bound and where it is lost.

    Args:
        prices: on the rows, float64 (m,).
        terms: linear functions of the bundles, whose rows have no price.
        bound: no assignment has a greater objective.
        loss: of each column, float64 (n,), not negative, 0 for one of each group.
        conjugate: what the bound holds for each row: ``prices * upper`` where positive, ``prices * lower`` else.
        relaxed: whether the prices are those of a relaxation, not all 0.
    """

    prices: Floats
    terms: Terms
    bound: float
    loss: Floats
    conjugate: Floats
    relaxed: bool

    def on(self, program: Program, columns: Ints) -> Dual:
        """Return the bound that the same prices give for ``program``, which has only these columns of this one."""
        return dual(program, self.prices, self.terms.on(columns, len(self.loss)))


def dual(program: Program, prices: Floats | None = None, terms: Terms | None = None) -> Dual:
    """Return the bound that ``prices`` and ``terms`` give, the best of each group by itself if there are none."""
    relaxed = prices is not None
    prices = np.zeros(program.rows) if prices is None else prices
    terms = no_terms(program.rows) if terms is None else terms
    prices = np.clip(prices, -program.price, program.price)
    prices[(prices > 0) & np.isinf(program.upper)] = 0.0
    prices[(prices < 0) & np.isinf(program.lower)] = 0.0
    columns = len(program.scores)
    reduced = program.scores - np.bincount(program.column, program.value * prices[program.row], columns)
    reduced -= np.bincount(terms.column, terms.value, columns)
    top = np.maximum.reduceat(reduced, program.starts[:-1])
    conjugate = np.zeros(program.rows)
    above, below = prices > 0, prices < 0
    conjugate[above] = prices[above] * program.upper[above]
    conjugate[below] = prices[below] * program.lower[below]
    loss = np.repeat(top, np.diff(program.starts)) - reduced
    return Dual(prices, terms, float(top.sum() + conjugate.sum()), loss, conjugate, relaxed)
