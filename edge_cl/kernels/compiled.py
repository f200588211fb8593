"""The kernels in Numba. Same names, arguments and results as `reference`.

All of them live in this file: Numba's on-disk cache does not notice a change in a
kernel that was imported from another file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np

from edge_cl.arrays import F32, F64, I16, I64
from edge_cl.kernels import reference

_P = ParamSpec("_P")
_R = TypeVar("_R")

if TYPE_CHECKING:

    def kernel(fn: Callable[_P, _R]) -> Callable[_P, _R]:
        """Leave the type as it is."""
        return fn

else:
    from numba import njit

    # No nnan/ninf: with them isfinite() is compiled to True.
    _OPTIONS = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"contract", "reassoc", "nsz"},
    }

    def kernel(fn):
        """Compile `fn` on first use; keep the machine code on disk where there is room."""
        try:
            return njit(cache=True, **_OPTIONS)(fn)
        except RuntimeError:  # read-only file system: Numba finds no place for its cache
            return njit(**_OPTIONS)(fn)


@kernel
def add_rows(q: I16, y: I64, sign: int, Q: F64) -> None:
    """See `reference.add_rows`."""
    for i in range(q.shape[0]):
        c = y[i]
        for j in range(q.shape[1]):
            Q[c, j] += sign * np.float64(q[i, j])


@kernel
def corrected_product(P: F64 | F32, A: F64, w: F64, rows: int, x: F64, g: F64) -> float:
    """See `reference.corrected_product`. Reads the lower triangle of P once, four rows at a time.

    Each entry serves twice, for its row and for its column; four rows share the traffic of g.
    """
    d = x.shape[0]
    for i in range(d):
        g[i] = 0.0
    whole = d - d % 4
    for i in range(0, whole, 4):
        x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
        P0, P1, P2, P3 = P[i], P[i + 1], P[i + 2], P[i + 3]
        a0 = a1 = a2 = a3 = 0.0
        for j in range(i):
            p0, p1, p2, p3 = P0[j], P1[j], P2[j], P3[j]
            a0 += p0 * x[j]
            a1 += p1 * x[j]
            a2 += p2 * x[j]
            a3 += p3 * x[j]
            g[j] += (p0 * x0 + p1 * x1) + (p2 * x2 + p3 * x3)
        g[i] += a0
        g[i + 1] += a1
        g[i + 2] += a2
        g[i + 3] += a3
    for i in range(d):  # what is left: the 4 x 4 blocks on the diagonal, and the last rows
        for j in range(i - i % 4 if i < whole else 0, i):
            g[i] += P[i, j] * x[j]
            g[j] += P[i, j] * x[i]
        g[i] += P[i, i] * x[i]
    for r in range(rows):
        acc = 0.0
        for j in range(d):
            acc += A[r, j] * x[j]
        acc *= w[r]
        for j in range(d):
            g[j] -= acc * A[r, j]
    total = 0.0
    for j in range(d):
        total += x[j] * g[j]
    return total


@kernel
def add_outer(g: F64, r: F64, c: float, W: F64) -> None:
    """See `reference.add_outer`."""
    for i in range(W.shape[0]):
        f = c * g[i]
        for j in range(W.shape[1]):
            W[i, j] += f * r[j]


@kernel
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
    """See `reference.follow`. One call: between calls, Python costs what W does."""
    s = 1.0 + sign * corrected_product(P, A, w, rows, x, g)
    if not least < s < largest:
        return s
    d, k = W.shape
    r = np.zeros(k)
    whole = d - d % 4
    for i in range(0, whole, 4):  # four rows share the traffic of r
        x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
        W0, W1, W2, W3 = W[i], W[i + 1], W[i + 2], W[i + 3]
        for j in range(k):
            r[j] -= (x0 * W0[j] + x1 * W1[j]) + (x2 * W2[j] + x3 * W3[j])
    for i in range(whole, d):
        for j in range(k):
            r[j] -= x[i] * W[i, j]
    r[label] += 1.0
    add_outer(g, r, sign / s, W)
    root = 1.0 / np.sqrt(s)
    for i in range(d):
        A[rows, i] = g[i] * root
    w[rows] = sign
    return s


# Here BLAS on unpacked signs is faster than any loop over bits, so the definition serves.
sign_product = reference.sign_product
