"""Solving with a positive definite matrix, without its inverse.

NumPy has a Cholesky factorisation A = L Lᵀ but no triangular solve; by halves, with
L = [[L₁, 0], [B, L₂]], it is matrix products:

    L y = b:     y₁ = L₁⁻¹ b₁,  y₂ = L₂⁻¹ (b₂ - B y₁)                                  (1)
    Lᵀ x = y:    x₂ = L₂⁻ᵀ y₂,  x₁ = L₁⁻ᵀ (y₁ - Bᵀ x₂)                                 (2)

d³/3 + 2 d² k operations for k columns; by way of the inverse they are 2 d³ + 2 d² k, but
in one large product: where k > d that is faster, and done.
"""

from __future__ import annotations

import numpy as np

from edge_cl.arrays import F64
from edge_cl.blas import one_thread
from edge_cl.heads.triangular import inverse_spd

_SMALL = 64


def solve_spd(A: F64, B: F64) -> F64:
    """Return A⁻¹ B (d, k) for a symmetric positive definite A (d, d).

    Raises
    ------
    numpy.linalg.LinAlgError : A is not positive definite.
    """
    with one_thread():
        if B.shape[1] > len(A):
            return np.asarray(inverse_spd(A) @ B)
        L = np.asarray(np.linalg.cholesky(A), np.float64)
        X = np.array(B, np.float64, order="C")
        _forward(L, X)
        _backward(L, X)
    return X


def _forward(L: F64, X: F64) -> None:
    """Replace X by L⁻¹ X."""
    d = len(L)
    if d <= _SMALL:
        X[:] = np.linalg.inv(L) @ X
        return
    h = d // 2
    _forward(L[:h, :h], X[:h])
    X[h:] -= L[h:, :h] @ X[:h]  # (1)
    _forward(L[h:, h:], X[h:])


def _backward(L: F64, X: F64) -> None:
    """Replace X by L⁻ᵀ X."""
    d = len(L)
    if d <= _SMALL:
        X[:] = np.linalg.inv(L.T) @ X
        return
    h = d // 2
    _backward(L[h:, h:], X[h:])
    X[:h] -= L[h:, :h].T @ X[h:]  # (2)
    _backward(L[:h, :h], X[:h])
