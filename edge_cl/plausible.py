"""Could these be sums of grid samples? What every set of samples obeys, checked.

For features |q| <= 2047, n_c samples a class, N in all, Q_c and G their sums:

    |Q_c| <= 2047 n_c                                                                   (1)
    Σ_c Q_c Q_cᵀ / n_c ⪯ G         the scatter within classes: Cauchy-Schwarz           (2)
    G_ii <= (2048² + d + 2) N      (2047² N of samples; the rest is for sums that were
                                   halved, see `edge_cl.halving`)                       (3)

The sums of one class alone are the same with one row: `possible(n[c:c+1], Q[c:c+1], G_c)`.
"""

from __future__ import annotations

import numpy as np

from edge_cl.arrays import F64, I64
from edge_cl.blas import one_thread

GRID_MAX = 2047  # 12 bits and a sign


def possible(n: I64, Q: F64, G: F64) -> bool:
    """Say whether n (k,), Q (k, d), G (d, d) may be sums of grid samples.

    O(d³), a third of a matrix product.
    """
    N, seen, square = int(n.sum()), n > 0, G.diagonal()
    # the diagonal of (2), and |G_ij|² <= G_ii G_jj, which follows from it
    least = (Q[seen] ** 2 / n[seen, None]).sum(axis=0) * (1 - 1e-12)
    plausible = (
        (np.abs(Q) <= GRID_MAX * n[:, None]).all()  # (1)
        and (square >= least).all()
        and (square <= largest_square(len(G)) * N).all()  # (3)
        and (np.square(G) <= np.outer(square, square * (1 + 1e-12))).all()
    )
    if not plausible or not G.any():
        return bool(plausible)
    root = Q[seen] / np.sqrt(n[seen])[:, None]
    with one_thread():
        scatter = G - root.T @ root
        scatter.flat[:: len(G) + 1] += scatter_rounding(G, len(root))
        try:
            np.linalg.cholesky(scatter)  # (2)
        except np.linalg.LinAlgError:
            return False
    return True


def largest_square(d: int) -> int:
    """Return the bound (3) on what one sample adds to G_ii."""
    return (GRID_MAX + 1) ** 2 + d + 2


def scatter_rounding(G: F64, classes: int) -> float:
    """Return a bound on the rounding, as an eigenvalue, of G - Σ_c Q_c Q_cᵀ / n_c."""
    return float(np.finfo(np.float64).eps * (len(G) + classes + 8) * G.trace())


def integers(a: F64) -> bool:
    """Say whether every entry is a finite integer."""
    return bool(np.isfinite(a).all() and (a == np.rint(a)).all())


def trace(G: F64) -> int:
    """Return tr G = Σ ‖q‖², exact where G is."""
    return sum(int(v) for v in G.diagonal().tolist())
