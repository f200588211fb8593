"""The kernels in NumPy: their definition, and the backend where Numba is absent.

Inputs come first, then scalars, then outputs and what is updated in place. Nothing is
checked here (`edge_cl.arrays` did) and nothing is raised.
"""

from __future__ import annotations

import numpy as np

from edge_cl.arrays import F32, F64, I16, I64, U8

_FEW_ROWS = 4  # that are added one by one


def add_rows(q: I16, y: I64, sign: int, Q: F64) -> None:
    """Add sign·q[i] to row y[i] of Q in place; q (n, d) int16, y (n,) int64, Q (k, d) float64."""
    if len(q) <= _FEW_ROWS:
        for row, label in zip(q, y.tolist(), strict=True):
            Q[label] += sign * row.astype(np.float64)
        return
    seen, place = np.unique(y, return_inverse=True)
    members = np.zeros((len(seen), len(q)))
    members[place, np.arange(len(q))] = sign
    Q[seen] += members @ q.astype(np.float64)  # all sums are integers below 2^53: exact


def corrected_product(P: F64 | F32, A: F64, w: F64, rows: int, x: F64, g: F64) -> float:
    """Compute g = (P - Aᵀ diag(w) A) x, the product with a symmetric matrix plus corrections.

    Parameters
    ----------
    P : (d, d) float64 or float32, symmetric. Only the lower triangle need be read.
    A : (m, d) float64, the first `rows` rows count.
    w : (m,) float64, the sign of each row.
    x : (d,) float64.
    g : (d,) float64, output.

    Returns
    -------
    xᵀg.
    """
    g[:] = P @ x.astype(P.dtype, copy=False)
    if rows:
        g -= (w[:rows] * (A[:rows] @ x)) @ A[:rows]
    return float(x @ g)


def add_outer(g: F64, r: F64, c: float, W: F64) -> None:
    """Add c·g rᵀ to W in place; g (d,), r (k,), W (d, k), all float64."""
    W += np.outer(c * g, r)


def follow(
    P: F64 | F32,
    A: F64,
    w: F64,
    rows: int,
    x: F64,
    label: int,
    sign: float,
    least: float,
    largest: float,
    g: F64,
    W: F64,
) -> float:
    """Let the inverse P - Aᵀ diag(w) A and the weights W of ridge follow one sample, in place.

        g = (P - Aᵀ diag(w) A) x,   s = 1 + sign·xᵀg
        W ← W + sign·(g / s)(e_label - Wᵀx)ᵀ,   A[rows] ← g / √s,   w[rows] ← sign

    Parameters
    ----------
    P, A, w, rows, x, g : as for `corrected_product`; A has room for one row more.
    label : column of W, the class of x.
    sign : +1.0 to add the sample, -1.0 to take it back.
    least, largest : bounds of s. Unless s is between them, only g changes.
    W : (d, k) float64.

    Returns
    -------
    s.
    """
    s = 1.0 + sign * corrected_product(P, A, w, rows, x, g)
    if least < s < largest:
        r = -(x @ W)
        r[label] += 1.0
        add_outer(g, r, sign / s, W)
        np.multiply(g, 1.0 / np.sqrt(s), out=A[rows])
        w[rows] = sign
    return s


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
