"""What a lesson of ridge is measured against: a unit of memory traffic, and two recursions.

The unit U reads half of a (d, d) float32 matrix once, and reads and writes W (d, k) float32
once, in a plain Numba kernel: no update that leaves exact weights behind can do less.

Both recursions are the textbook one, with P = (G + λI)⁻¹ stored whole:

    g = P x,   s = 1 + xᵀg,   P ← P - g gᵀ / s,   W ← W + (g / s)(y - Wᵀx)ᵀ            (1)
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numba import njit
from scipy.linalg import blas

from edge_cl.arrays import F32, F64


class Lesson(Protocol):
    """Something that takes one sample x (d,) of a class."""

    def learn(self, x: F64, label: int) -> None:
        """Learn it; the weights are exact afterwards."""


class Unit:
    """The unit U; it learns nothing."""

    def __init__(self, d: int, k: int) -> None:
        self._P = np.ones((d, d), np.float32)
        self._W = np.zeros((d, k), np.float32)

    def learn(self, x: F64, label: int) -> None:
        """See `Lesson.learn`."""
        _traffic(self._P, self._W)


class NumPyRLS:
    """(1) as it is usually written in NumPy, float64."""

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
    """(1) by BLAS on one triangle of P in float32: ssymv, ssyr, and sger for W."""

    def __init__(self, d: int, k: int, ridge: float) -> None:
        self._P = np.asfortranarray(np.eye(d, dtype=np.float32) / np.float32(ridge))
        self.W: F32 = np.zeros((d, k), np.float32, order="F")

    def learn(self, x: F64, label: int) -> None:
        """See `Lesson.learn`."""
        x32 = x.astype(np.float32)
        g = blas.ssymv(1.0, self._P, x32, lower=1)
        s = 1.0 + float(x32 @ g)
        self._P = blas.ssyr(-1.0 / s, g, lower=1, a=self._P, overwrite_a=1)
        error = -blas.sgemv(1.0, self.W, x32, trans=1)
        error[label] += 1.0
        self.W = blas.sger(1.0 / s, g, error, a=self.W, overwrite_a=1)


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
