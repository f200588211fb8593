"""The kernels in NumPy: their definition, and the backend where Numba is absent.

Inputs come first, then scalars, then outputs and what is updated in place. Nothing is
checked here (`edge_cl.arrays` did) and nothing is raised.
"""

from __future__ import annotations

import numpy as np

from edge_cl.arrays import F64, I16, U8


def corrected_product(P: F64, A: F64, w: F64, rows: int, x: F64, g: F64) -> float:
    """Compute g = (P - Aᵀ diag(w) A) x, the product with a symmetric matrix plus corrections.

    Parameters
    ----------
    P : (d, d) float64, symmetric. Only the lower triangle need be read.
    A : (m, d) float64, the first `rows` rows count.
    w : (m,) float64, the sign of each row.
    x : (d,) float64.
    g : (d,) float64, output.

    Returns
    -------
    xᵀg.
    """
    np.dot(P, x, out=g)
    if rows:
        g -= (w[:rows] * (A[:rows] @ x)) @ A[:rows]
    return float(x @ g)


def add_outer(g: F64, r: F64, c: float, W: F64) -> None:
    """Add c·g rᵀ to W in place; g (d,), r (k,), W (d, k), all float64."""
    W += np.outer(c * g, r)


def sign_product(q: I16, bits: U8, shift: int, h: I16) -> None:
    """Map grid features by a matrix of signs, ReLU, and put the result back on the grid.

    h = min(relu(q B) >> shift, 2047), rounded half up, where B (d, m) is +1 where the bit
    is set and -1 where not. Integers throughout, hence the same on every machine.

    Parameters
    ----------
    q : (n, d) int16, |q| <= 2047.
    bits : (d, m / 8) uint8; bit j % 8 of byte j // 8 (little) is column j.
    shift : right shift >= 0 that brings sums of d features back to 12 bits.
    h : (n, m) int16, output.
    """
    half = (1 << shift) >> 1
    m = h.shape[1]
    for start in range(0, m, 512):  # B is never whole in memory: m x d float32 would be
        stop = min(start + 512, m)
        signs = np.unpackbits(bits[:, start // 8 : stop // 8], axis=1, bitorder="little")
        B = signs.astype(np.float32) * 2 - 1
        total = (q.astype(np.float32) @ B).astype(np.int32)  # exact: |sum| < 2^24
        h[:, start:stop] = np.minimum((np.maximum(total, 0) + half) >> shift, 2047)
