"""The kernels in Numba. Same names, arguments and results as `reference`.

All of them live in this file: Numba's on-disk cache does not notice a change in a
kernel that was imported from another file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from edge_cl.arrays import F64
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
def corrected_product(P: F64, A: F64, w: F64, rows: int, x: F64, g: F64) -> float:
    """See `reference.corrected_product`. Reads the lower triangle of P once."""
    d = x.shape[0]
    for i in range(d):
        g[i] = 0.0
    for i in range(d):
        xi = x[i]
        acc = 0.0
        for j in range(i):
            p = P[i, j]
            acc += p * x[j]
            g[j] += p * xi
        g[i] += acc + P[i, i] * xi
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


# Here BLAS on unpacked signs is faster than any loop over bits, so the definition serves.
sign_product = reference.sign_product
