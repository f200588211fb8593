"""Inverting a positive definite matrix at the speed of matrix products.

NumPy has a Cholesky factorisation but no triangular inverse; by halves it is four products.
"""

from __future__ import annotations

import numpy as np

from edge_cl.arrays import F64
from edge_cl.blas import one_thread

_SMALL = 64


def inverse_spd(A: F64) -> F64:
    """Return A⁻¹ for a symmetric positive definite A, exactly symmetric. d³ operations.

    Raises
    ------
    numpy.linalg.LinAlgError : A is not positive definite.
    """
    with one_thread():
        L = np.asarray(np.linalg.cholesky(A), np.float64)
        J = _inverse_lower(L)
        return np.asarray(J.T @ J)  # BLAS syrk: the same bits on both sides of the diagonal


def _inverse_lower(L: F64) -> F64:
    """Return L⁻¹ by [[A, 0], [B, C]]⁻¹ = [[A⁻¹, 0], [-C⁻¹ B A⁻¹, C⁻¹]]."""
    d = len(L)
    if d <= _SMALL:
        return np.asarray(np.tril(np.linalg.inv(L)))
    h = d // 2
    J = np.zeros_like(L)
    J[:h, :h] = _inverse_lower(L[:h, :h])
    J[h:, h:] = _inverse_lower(L[h:, h:])
    J[h:, :h] = -J[h:, h:] @ (L[h:, :h] @ J[:h, :h])
    return J
