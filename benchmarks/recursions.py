"""What a lesson of ridge is measured against: a unit of memory traffic, and two recursions.

The unit U reads half of a (d, d) float32 matrix once, and reads and writes W (d, k) float32
once, in a plain Numba kernel: no update that leaves exact weights behind can do less.

Both recursions are the textbook one, with P = (G + λI)⁻¹ stored whole:

    g = P x,   s = 1 + xᵀg,   P ← P - g gᵀ / s,   W ← W + (g / s)(y - Wᵀx)ᵀ            (1)
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numba import njit
from scipy.linalg import blas

from edge_cl.arrays import F32, F64


class Lesson(Protocol):
    """Something that takes one sample x (d,) of a class.

    folded : whether the last lesson let rows that had waited enter a matrix.
    """

    folded: bool

    def learn(self, x: F64, label: int) -> None:
        """Learn it; the weights are exact afterwards."""


class Unit:
    """The unit U; it learns nothing."""

    folded = False

    def __init__(self, d: int, k: int) -> None:
        self._P = np.ones((d, d), np.float32)
        self._W = np.zeros((d, k), np.float32)

    def learn(self, x: F64, label: int) -> None:
        """See `Lesson.learn`."""
        _traffic(self._P, self._W)


class NumPyRLS:
    """(1) as it is usually written in NumPy, float64."""

    folded = False

    def __init__(self, d: int, k: int, ridge: float) -> None:
        self._P = np.eye(d) / ridge
        self.W: F64 = np.zeros((d, k))

    def learn(self, x: F64, label: int) -> None:
        """See `Lesson.learn`."""
        g = self._P @ x
        s = 1.0 + x @ g
        self._P -= np.outer(g, g) / s
        error = -(x @ self.W)
        error[label] += 1.0
        self.W += np.outer(g / s, error)


class BlasRLS:
    """(1) by BLAS on one triangle of P: symv, syr, and ger for W; float32 or float64."""

    folded = False

    def __init__(self, d: int, k: int, ridge: float, dtype: type[np.floating[Any]]) -> None:
        self._P: Any = np.asfortranarray(np.eye(d, dtype=dtype) / dtype(ridge))
        self.W: Any = np.zeros((d, k), dtype, order="F")
        letter = "s" if dtype == np.float32 else "d"
        self._symv, self._syr, self._gemv, self._ger = (
            getattr(blas, letter + name) for name in ("symv", "syr", "gemv", "ger")
        )

    def learn(self, x: F64, label: int) -> None:
        """See `Lesson.learn`."""
        x = x.astype(self._P.dtype, copy=False)
        g = self._symv(1.0, self._P, x, lower=1)
        s = 1.0 + float(x @ g)
        self._P = self._syr(-1.0 / s, g, lower=1, a=self._P, overwrite_a=1)
        error = -self._gemv(1.0, self.W, x, trans=1)
        error[label] += 1.0
        self.W = self._ger(1.0 / s, g, error, a=self.W, overwrite_a=1)


@njit(fastmath=True)
def _traffic(P: F32, W: F32) -> None:  # pragma: no cover
    total = np.float32(0.0)
    for i in range(P.shape[0]):
        for j in range(i + 1):
            total += P[i, j]
    step = total * np.float32(1e-12)
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            W[i, j] += step
