"""Halving sums, so that they stay integers and stay the sums of a possible stream.

Every class keeps its mean, and the scatter within classes is halved:

    n'_c = ⌈n_c / 2⌉                                                                    (1)
    Q'_c = rint(Q_c n'_c / n_c)                                                         (2)
    C    = G / 2 + Σ_c (Q'_c Q'_cᵀ / n'_c - Q_c Q_cᵀ / (2 n_c))                         (3)
    G'   = rint(C) + diag(D),   D_i = ⌈Σ_j |rint(C) - C|_ij⌉                            (4)

To halve n, Q and G each by itself would not do. A class of one sample would be lost, or
one of five have Q/2 over n' = 2, a mean a quarter too large and off the grid; and half an
unit of rounding in Q moves Q Qᵀ / n by as much as 2047, so that the scatter
G - Σ Q Qᵀ / n, which solvers factorise, may turn indefinite. With (1)-(3) instead

    C - Σ_c Q'_c Q'_cᵀ / n'_c = (G - Σ_c Q_c Q_cᵀ / n_c) / 2                            (5)

exactly: semidefinite because that of the samples is. Rounding adds E with |E_ij| <= 1/2, and
(4) makes E + diag(D) diagonally dominant: G' - Σ Q' Q'ᵀ / n' is semidefinite again. D_i is
at most d/2 + 1, and what earlier halvings left of it halves too: less than d + 2 is added to
any G_ii, in squared grid steps, of which one sample adds 10⁴ and more.

What bounds G_ii above is kept too. With f the rounding of (2), |f| <= 1/2, and a class of n
samples with squares up to 2047² n + s, (3) gives at most

    2047² n' + s/2 + 2 |Q_i f| / n + f² / n' <= 2047² n' + s/2 + 2047 + 1/4             (6)

so s stays below 4094.5 + d + 2, and G_ii below (2048² + d + 2) N.

(1) rounds up: a class that had samples has one still, at its mean; the sums never fade to
nothing. So after many halvings, one every P samples, N <= P + k, and 2 P + k just before
one (`edge_cl.forgetting`).

Every step here is elementwise IEEE arithmetic in a fixed order or a sum of integers, no BLAS:
the same bits on any machine. O(k d²).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edge_cl.arrays import F64, I64

_BAND = 128  # rows of G at a time
_UNITS = 1 << 20


class Halved(NamedTuple):
    """Counts (k,) and class sums (k, d) before and after halving."""

    n: I64
    Q: F64
    n_after: I64
    Q_after: F64

    def of_class(self, c: int) -> Halved:
        """Return class c alone."""
        one = slice(c, c + 1)
        return Halved(self.n[one], self.Q[one], self.n_after[one], self.Q_after[one])


def halved_classes(n: I64, Q: F64) -> Halved:
    """Return (1) and (2), beside what was before; none is a view."""
    n, Q = n.copy(), Q.copy()
    after = (n + 1) // 2  # (1)
    return Halved(n, Q, after, np.rint(Q * after[:, None] / np.maximum(n, 1)[:, None]))  # (2)


def halve_products(G: F64, classes: Halved) -> None:
    """Replace G (d, d) by (4), in place; `classes` are those whose products G sums."""
    added = np.empty(len(G))
    for start in range(0, len(G), _BAND):
        rows = slice(start, start + _BAND)
        C = G[rows] / 2
        for c in np.flatnonzero(classes.n).tolist():
            n, after = float(classes.n[c]), float(classes.n_after[c])
            # over one denominator: where Q' = Q / 2 and n' = n / 2, this is 0 to the bit
            products = np.outer(classes.Q_after[c, rows], classes.Q_after[c]) * (2 * n)
            products -= np.outer(classes.Q[c, rows], classes.Q[c]) * after
            C += products / (2 * n * after)  # (3)
        G[rows] = np.rint(C)
        # in units of 2^-20, rounded up: a sum of integers is the same in any order
        errors = np.ceil(np.abs(G[rows] - C) * _UNITS).sum(axis=1)
        added[rows] = np.ceil(errors / _UNITS)
    G.flat[:: len(G) + 1] += added  # (4)


def halve_squares(squares: F64, classes: Halved) -> F64:
    """Return the diagonals (k, d) of what (3) is for each class, rounded up."""
    n = np.maximum(classes.n, 1)[:, None].astype(np.float64)
    after = np.maximum(classes.n_after, 1)[:, None].astype(np.float64)
    products = classes.Q_after**2 * (2 * n) - classes.Q**2 * after
    return np.asarray(np.ceil(squares / 2 + products / (2 * n * after)))
